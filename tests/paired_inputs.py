"""Small networks of two inputs with data for them, as a user's file has them."""

from __future__ import annotations

import torch
from torch import nn

COUNT, SIDE = 60, 8


def arrays():
    """Pictures uint8 (N, H, W, 3), and what goes with each, (N, 5)."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (COUNT, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    return pictures, torch.randn(COUNT, 5, generator=generator)


class Joining(nn.Module):
    """Logits of three classes, from a picture and a vector; after `join` a single tensor crosses."""

    def __init__(self):
        super().__init__()
        self.conv, self.beside = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(5, 8)
        self.join, self.last = nn.Conv1d(4, 8, 1), nn.Linear(64, 3)

    def forward(self, picture, vector):
        seen = nn.functional.adaptive_avg_pool2d(self.conv(picture).relu(), 2).flatten(1)
        both = torch.cat([seen, self.beside(vector).relu()], 1).reshape(-1, 4, 8)
        return self.last(self.join(both).relu().flatten(1))


class Tinted(nn.Module):
    """Logits of two classes a pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.tint, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 4), nn.Conv2d(4, 2, 1)

    def forward(self, vector, picture):
        return self.last((self.conv(picture) + self.tint(vector)[:, :, None, None]).relu())


class Tokens(nn.Module):
    """Logits of three classes, from the numbers of words and which of them count; the third input is never used."""

    def __init__(self):
        super().__init__()
        self.embedding, self.last = nn.Embedding(10, 6), nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        counts = attention_mask[..., None].float()
        return self.last((self.embedding(input_ids) * counts).sum(1) / counts.sum(1))


def seeded(kind):
    torch.manual_seed(3)
    return kind().eval()


def joining():
    """Whose classes are about as frequent as each other."""
    network, (pictures, vectors) = seeded(Joining), arrays()
    with torch.no_grad():
        network.last.weight *= 8
        network.last.bias -= network(pictures.permute(0, 3, 1, 2) / 255, vectors).mean(0)
    return network


def tinted():
    return seeded(Tinted)


def tokens():
    return seeded(Tokens)


def pairs():
    """Labelled as the network does."""
    pictures, vectors = arrays()
    with torch.no_grad():
        return (pictures, vectors), joining()(pictures.permute(0, 3, 1, 2) / 255, vectors).argmax(1)


def by_name():
    pictures, vectors = arrays()
    return {"picture": pictures, "vector": vectors}, None


def words():
    ids = torch.randint(0, 10, (COUNT, 7), generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids, "attention_mask": (torch.arange(7) < 4).expand(COUNT, 7).long()}, torch.arange(COUNT) % 3


def words_and_more():
    inputs, labels = words()
    return inputs | {"token_type_ids": torch.zeros(COUNT, 7, dtype=torch.int64)}, labels


def vectors_alone():
    return arrays()[1], torch.arange(COUNT) % 3


def other_way_round():
    (pictures, vectors), labels = pairs()
    return (vectors, pictures), labels
