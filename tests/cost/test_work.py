"""What layers cost, counted by hand on tiny networks."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from networks import NETWORKS, inputs, make
from torch import Tensor, nn

from splitimpera.cost.work import LayerWork, NetworkWork, part_work, uncosted
from splitimpera.graph.tracing import trace
from splitimpera.partition.autoencoder import Autoencoder
from splitimpera.records.graph import TensorSpec


@cache
def work_of(name):
    return NetworkWork(trace(make(name), inputs(name, 1)))


def test_a_chain_counted_by_hand():
    """3 x 8 x 8 -> conv, norm, ReLU -> 4 x 6 x 6 -> pool -> 4 x 3 x 3 -> conv, ReLU -> 6 -> mean -> linear -> 5."""
    work = work_of("Chain")
    assert work.layers == (
        LayerWork(144 * 27, (4 * 27 + 4 + 4 * 4) * 4, (192 + 144) * 4),  # norm: weight, bias, mean, variance
        LayerWork(0, 0, (144 + 36) * 4),
        LayerWork(6 * 36, (6 * 36 + 6) * 4, (36 + 6) * 4),
        LayerWork(0, 0, (6 + 6) * 4),
        LayerWork(30, 35 * 4, (6 + 5) * 4),
    )
    head, tail = work.between(0, 1), work.between(1, 5)
    assert (head.macs, head.parameters, head.weight_bytes, head.activation_bytes) == (3888, 120, 512, 336 * 4)
    assert (tail.macs, tail.parameters, tail.weight_bytes, tail.activation_bytes) == (246, 257, 257 * 4, 180 * 4)
    assert head.memory_bytes == 512 + 1344
    assert work.between(0, 1, batch=3).memory_bytes == 512 + 3 * 1344
    assert (head.is_head, head.is_tail, tail.is_head, tail.is_tail) == (True, False, False, True)
    assert (work.between(0, 5).is_head, work.between(0, 5).is_tail) == (True, True)
    assert not work.between(1, 3).is_head
    assert not work.between(1, 3).is_tail


def test_an_empty_run_holds_only_what_it_hands_on():
    nothing = work_of("Chain").between(0, 0)
    assert (nothing.layers, nothing.macs, nothing.weight_bytes) == ((), 0, 0)
    assert nothing.activation_bytes == 192 * 4


def test_a_skip_connection_keeps_its_tensor_alive():
    """While the second convolution runs there are its input, its result, and the 4 x 8 x 8 that are added later."""
    maps = 4 * 64 * 4
    work = work_of("Skip")
    assert [layer.operation for layer in work.graph.layers[:4]] == ["conv2d", "conv2d", "conv2d", "add"]
    assert work.between(0, 1).activation_bytes == 3 * 64 * 4 + maps
    assert work.between(1, 2).activation_bytes == 2 * maps
    assert work.between(2, 3).activation_bytes == 3 * maps
    assert work.between(0, len(work.nodes)).activation_bytes == 3 * maps
    assert work.layers[3].moved_bytes == 3 * maps  # two are read, one is written


def test_what_is_folded_writes_where_it_reads():
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.norm(self.conv(x)))

    work = NetworkWork(trace(Folded(), torch.randn(1, 1, 4, 4)))
    assert len(work.layers) == 1
    assert work.between(0, 1).activation_bytes == (16 + 32) * 4


def test_an_activation_whose_input_is_read_again_needs_room_of_its_own():
    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            return y.sigmoid() + y

    work = NetworkWork(trace(Both(), torch.randn(1, 10)))
    assert work.between(0, len(work.nodes)).activation_bytes == 3 * 40


def test_shared_weights_are_stored_once_and_read_twice():
    work = work_of("SharedModule")
    conv, norm, head = 3 * 27 + 3, 4 * 3, 3 * 5 + 5
    assert work.layers[0].weight_bytes == work.layers[1].weight_bytes == (conv + norm) * 4
    assert work.between(0, len(work.nodes)).weight_bytes == (conv + norm + head) * 4


@pytest.mark.parametrize("name", NETWORKS)
def test_every_cut_agrees_with_the_graph(name):
    work = work_of(name)
    last = len(work.nodes)
    for cut in work.graph.cuts:
        head, tail = work.between(0, cut.index), work.between(cut.index, last)
        assert (head.macs, tail.macs) == (cut.macs_head, cut.macs_tail)
        assert (head.parameters, tail.parameters) == (cut.parameters_head, cut.parameters_tail)
        assert min(head.activation_bytes, tail.activation_bytes) >= max(tensor.bytes for tensor in cut.tensors)
    assert len(work.layers) == last == len(work.graph.layers)


def test_an_embedding_reads_the_rows_that_are_asked_for():
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1000, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x).mean(1)

    work = NetworkWork(trace(Words(), torch.zeros(1, 5, dtype=torch.long)))
    assert work.layers[0] == LayerWork(0, 5 * 8 * 4, 5 * 8 + 5 * 8 * 4)
    assert work.between(0, 1).weight_bytes == 1000 * 8 * 4


def test_operations_without_a_cost_are_named():
    assert all(work_of(name).uncosted() == () for name in NETWORKS)

    class Spectral(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft(x).real.cumsum(1) + torch.einsum("ni,ni->n", x, x)[:, None]

    assert uncosted(trace(Spectral(), torch.randn(1, 8))) == ("cumsum", "fft_fft")


def test_halves_of_a_bottleneck_are_counted_with_the_layers_beside_them():
    """16 x 8 x 8 -> 2 x 4 x 4 -> 4 x 2 x 2, and back."""
    spec = TensorSpec("maps", (16, 8, 8))
    bottleneck = Autoencoder(spec)
    assert bottleneck.latent_shape == (4, 2, 2)
    encoder, decoder = part_work(bottleneck.encoder, spec), part_work(bottleneck.decoder, bottleneck.latent_spec)
    assert encoder.macs == decoder.macs == 2 * 16 * (16 * 9) + 4 * 4 * (2 * 9)
    assert encoder.parameters == (16 * 9 * 2 + 2) + 2 * 2 + (2 * 9 * 4 + 4) + 2 * 4
    assert encoder.activation_bytes == (16 * 64 + 2 * 16) * 4
    work = work_of("Chain")
    head = work.between(0, 1, encoder=encoder, leaving=64.0)
    assert head.macs == 3888 + encoder.macs
    assert head.weight_bytes == 512 + encoder.weight_bytes
    assert head.activation_bytes == encoder.activation_bytes  # the larger of the two, which do not run at once
    assert (head.is_head, head.leaving, len(head.bottleneck_parts)) == (True, 64.0, 2)
    assert work.between(1, 5, decoder=decoder, arriving=64.0).is_tail


@pytest.mark.parametrize("batch_dim", [0, 1])
def test_halves_for_tokens_wherever_the_frames_are_stacked(batch_dim):
    spec = TensorSpec("tokens", (17, 8), batch_dim=batch_dim, channel_dim=1)
    bottleneck = Autoencoder(spec, ratio=8)
    made = bottleneck.latent_spec
    assert part_work(bottleneck.encoder, spec).macs >= 8 * made.shape[1]  # the class token's layer at the least
    assert part_work(bottleneck.decoder, made).parameters == sum(p.numel() for p in bottleneck.decoder.parameters())
