"""An undercomplete autoencoder for a cut: what the device sends is its latent, not the network's own tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitimpera.errors import CutError
from splitimpera.records import Cut, TensorSpec


class Bottleneck(nn.Module):
    """The autoencoder of I-SPLIT (Cunico et al., ICPR 2022), for the one tensor that crosses a cut.

    For C x H x W maps the encoder is two convolutions of 3 x 3 and stride 2 with BatchNorm and ReLU, C -> f -> 2 f
    channels with f = max(1, round(C / 8)); the decoder is the transposed mirror, without a final activation. The latent
    has 2 f x ceil(H / 4) x ceil(W / 4) elements, 64 times fewer where 8 divides C and 4 divides H and W. A vector
    (K,) has no positions to merge: it gets one linear layer each way and a latent of 2 f elements. Ours: vectors, and
    a latent of any number of channels.

    Args:
        spec: the tensor, as it belongs to one frame.
        latent_channels: channels of the latent; None: 2 f.

    `encoder` takes (N, *spec.shape) and returns the latent (N, *latent_shape); `decoder` takes that back to
    (N, *spec.shape) exactly, odd and 1 x 1 maps included.

    Raises:
        CutError: the tensor is neither maps nor a vector of floats, or fewer than one latent channel is asked for.
    """

    def __init__(self, spec: TensorSpec, latent_channels: int | None = None) -> None:
        super().__init__()
        check_layout(spec)
        if latent_channels is not None and latent_channels < 1:
            raise CutError(f"a latent has 1 channel or more, not {latent_channels}", where="latent_channels")
        channels = spec.shape[spec.channel_dim]
        sizes = tuple(size for dim, size in enumerate(spec.shape) if dim != spec.channel_dim)
        narrow = max(1, round(channels / 8))
        latent = latent_channels or 2 * narrow
        halves = tuple(-(-size // 2) for size in sizes)
        quarters = tuple(-(-size // 2) for size in halves)
        self.latent_shape = (latent, *quarters)
        """Shape of the latent for one frame."""
        if sizes:
            narrow = max(narrow, -(-latent // 2))  # a wider latent is no use behind a narrower layer
            encoder = [*_down(channels, narrow), *_down(narrow, latent)]
            decoder = [*_up(latent, narrow, quarters, halves), nn.BatchNorm2d(narrow), nn.ReLU()]
            decoder += _up(narrow, channels, halves, sizes)
        else:
            encoder = [nn.Linear(channels, latent), nn.BatchNorm1d(latent), nn.ReLU()]
            decoder = [nn.Linear(latent, channels)]
        if spec.channel_dim:
            encoder.insert(0, _MoveChannels(spec.channel_dim + 1, 1))
            decoder.append(_MoveChannels(1, spec.channel_dim + 1))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(x))
        return decoded


def bottleneck_for(cut: Cut, latent_channels: int | None = None) -> Bottleneck:
    """An untrained bottleneck for a cut.

    Raises:
        CutError: several tensors cross, or the one that does has no layout that a bottleneck is made for.
    """
    return Bottleneck(single_tensor(cut), latent_channels)


def single_tensor(cut: Cut) -> TensorSpec:
    """The one tensor that crosses; CutError where there are several."""
    if not cut.single:
        raise CutError(
            f"{len(cut.tensors)} tensors cross cut {cut.index} ({cut.name}), a bottleneck takes one",
            hint="choose a cut where a single tensor crosses",
        )
    return cut.tensors[0]


def check_layout(spec: TensorSpec) -> None:
    """CutError unless `spec` is maps (three dimensions) or a vector, of floats, a frame a row."""
    if spec.batch_dim != 0 or len(spec.shape) not in (1, 3) or not spec.dtype.startswith(("float", "bfloat")):
        raise CutError(
            f"'{spec.name}' is {spec.dtype} {spec.shape}, a bottleneck takes maps (C, H, W) or vectors (K,) of floats",
            hint="choose another cut",
        )


class _MoveChannels(nn.Module):
    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target = source, target

    def forward(self, x: Tensor) -> Tensor:
        return torch.movedim(x, self.source, self.target)


def _down(channels: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]


def _up(channels: int, out: int, sizes: tuple[int, ...], wanted: tuple[int, ...]) -> list[nn.Module]:
    """A transposed convolution makes 2 n - 1 positions of n; the rest of what is wanted, 0 or 1, is output padding."""
    missing = tuple(want - (2 * size - 1) for size, want in zip(sizes, wanted, strict=True))
    return [nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=(missing[0], missing[1]))]
