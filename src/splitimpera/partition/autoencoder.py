"""An undercomplete autoencoder for a tensor: what the device sends is its latent, not the network's own tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isqrt, prod

import torch
from torch import Tensor, nn

from splitimpera.core.errors import CutError
from splitimpera.records.graph import TensorSpec


class Autoencoder(nn.Module):
    """The autoencoder of I-SPLIT (Cunico et al., ICPR 2022), for one tensor that crosses a cut.

    For C x H x W maps the encoder is two convolutions of 3 x 3 and stride 2 with BatchNorm and ReLU, C -> f -> 2 f
    channels with f = max(1, round(C / 8)); the decoder is the transposed mirror, without a final activation. The latent
    has 2 f x ceil(H / 4) x ceil(W / 4) elements, 64 times fewer where 8 divides C and 4 divides H and W. What follows
    is ours.

    - Another ratio: the latent gets more or fewer channels at the same positions. Only where these would be more than
      the tensor itself has, fewer positions are merged: one stride of 2, or none.
    - Small maps: along a side of 1 the kernel is 1, and no layer between is smaller than the latent; in maps of 2 x 2
      or 1 x 1 the papers' f channels would be, and the other half of the latent would say nothing new.
    - A vector (K,) gets one linear layer each way.
    - Tokens (T, C): those that form a square are maps, and the latent merges neighbours among them; up to two tokens in
      front of them (class, distillation), or five (class and registers), get one linear layer each way and are never
      merged. Where no square is found, neighbours in the sequence are merged; likewise for (C, T).

    Args:
        spec: the tensor, as it belongs to one frame.
        latent_channels: channels of the latent; None: 2 f.
        ratio: elements of the tensor / elements of the latent, 1 or more, in place of `latent_channels`. The latent is
            never larger than asked for.

    `encoder` takes the tensor as it crosses, frames stacked at `spec.batch_dim`, and returns the latent
    (N, *latent_shape), none of it negative; `decoder` takes that back to the tensor's shape exactly.

    Raises:
        CutError: the tensor is of another layout; fewer than one latent channel is asked for, or would remain.
    """

    def __init__(self, spec: TensorSpec, latent_channels: int | None = None, ratio: float | None = None) -> None:
        super().__init__()
        layout = _Layout.of(spec)
        latent, strides = _latent(spec, layout, latent_channels, ratio)
        stages = layout.stages(strides)
        encoder, decoder = _layers(layout.channels, latent, stages, strides)
        shape = (latent, *stages[-1])
        if layout.tokens:
            shape = (layout.leading + prod(stages[-1]), latent)
            into = back = None
            if layout.leading:
                into, back = (_PerToken(*layers) for layers in _linear(layout.channels, latent))
            encoder = [_Tokens(encoder, into, layout.leading, stages[0])]
            decoder = [_Tokens(decoder, back, layout.leading, stages[-1])]
        elif layout.sequence:
            shape = shape[:2]
            encoder, decoder = ([_AddSide(), *layers, _DropSide()] for layers in (encoder, decoder))
        elif spec.channel_dim:
            encoder.insert(0, _Move(spec.channel_dim + 1, 1))
            decoder.append(_Move(1, spec.channel_dim + 1))
        if spec.batch_dim:
            encoder.insert(0, _Move(spec.batch_dim, 0))
            decoder.append(_Move(0, spec.batch_dim))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self.latent_shape: tuple[int, ...] = shape
        """Shape of the latent for one frame."""
        self.latent_spec = TensorSpec(f"{spec.name}.latent", shape, spec.dtype, channel_dim=1 if layout.tokens else 0)

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(x))
        return decoded


def fits(spec: TensorSpec) -> bool:
    """Whether a tensor has a layout that an autoencoder is made for."""
    floating = spec.dtype.startswith(("float", "bfloat"))
    return spec.batch_dim is not None and 1 <= len(spec.shape) <= 3 and spec.elements > 0 and floating


def check_layout(spec: TensorSpec) -> None:
    """CutError where a tensor has no layout that an autoencoder is made for."""
    _Layout.of(spec)


def check_ratio(ratio: float) -> None:
    """CutError where a latent would have more elements than its tensor."""
    if not ratio >= 1:
        raise CutError(f"a latent has no more elements than its tensor: {ratio} is below 1", where="ratio")


def too_large(ratio: float, what: str, largest: float) -> CutError:
    """What to raise where a ratio leaves no channel, with the largest that would."""
    hint = f"the largest possible here is {floor(largest * 100) / 100:g}"
    return CutError(f"a ratio of {ratio:g} leaves no channel of {what}", where="ratio", hint=hint)


def least_elements(spec: TensorSpec) -> int:
    """Elements of the smallest latent of a tensor: one channel at the fewest positions."""
    return _Layout.of(spec).positions(_STRIDES[0])


@dataclass(frozen=True)
class _Layout:
    """What a tensor consists of: `channels`, and positions that form maps of `sizes`; none for a vector.

    `leading` tokens stand in front of the maps; `sequence`: the maps are one wide, and the tensor lacks that dimension.
    """

    channels: int
    sizes: tuple[int, ...]
    leading: int = 0
    tokens: bool = False
    sequence: bool = False

    @classmethod
    def of(cls, spec: TensorSpec) -> _Layout:
        if not fits(spec):
            mixed = ", frames mixed with another dimension" if spec.batch_dim is None else ""
            raise CutError(
                f"'{spec.name}' is {spec.dtype} {spec.shape}{mixed}; a bottleneck takes maps (C, H, W), "
                "tokens (T, C) or vectors (K,) of floats, frame by frame",
                hint="choose another cut",
            )
        channels = spec.shape[spec.channel_dim]
        sizes = tuple(size for dim, size in enumerate(spec.shape) if dim != spec.channel_dim)
        if len(sizes) != 1:
            return cls(channels, sizes)
        if spec.channel_dim == 0:
            return cls(channels, (sizes[0], 1), sequence=True)
        for leading in (0, 1, 2, 5):
            side = isqrt(max(0, sizes[0] - leading))
            if side and side * side == sizes[0] - leading:
                return cls(channels, (side, side), leading, tokens=True)
        return cls(channels, (sizes[0], 1), tokens=True)

    def stages(self, strides: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
        """Sizes of the maps in front of the encoder, between its layers and after it."""
        between = tuple(ceil(size / strides[0]) for size in self.sizes)
        return self.sizes, between, tuple(ceil(size / strides[1]) for size in between)

    def positions(self, strides: tuple[int, int]) -> int:
        return self.leading + prod(self.stages(strides)[-1])


_STRIDES = ((2, 2), (2, 1), (1, 1))


def _latent(
    spec: TensorSpec, layout: _Layout, latent_channels: int | None, ratio: float | None
) -> tuple[int, tuple[int, int]]:
    """Channels of the latent, and the strides of the encoder's layers."""
    if latent_channels is not None and ratio is not None:
        raise CutError("latent_channels and ratio are both given", hint="give one of them", where="ratio")
    if latent_channels is not None and latent_channels < 1:
        raise CutError(f"a latent has 1 channel or more, not {latent_channels}", where="latent_channels")
    if ratio is None:
        return latent_channels or 2 * max(1, round(layout.channels / 8)), _STRIDES[0]
    check_ratio(ratio)
    choices = [
        (floor(spec.elements / ratio / layout.positions(strides) + 1e-9), strides)  # 64 may be 63.999...
        for strides in _STRIDES
    ]
    if choices[0][0] < 1:
        raise too_large(ratio, f"'{spec.name}' {spec.shape}", spec.elements / layout.positions(_STRIDES[0]))
    choices = [choice for choice in choices if choice[0] >= 1]
    return next((choice for choice in choices if choice[0] <= layout.channels), choices[-1])


def _layers(
    channels: int, latent: int, stages: tuple[tuple[int, ...], ...], strides: tuple[int, int]
) -> tuple[list[nn.Module], list[nn.Module]]:
    """The layers of encoder and decoder for maps of `stages` sizes, or for vectors."""
    if not stages[0]:
        return _linear(channels, latent)
    hidden = max(1, round(channels / 8), ceil(latent / 2), ceil(latent * prod(stages[2]) / prod(stages[1])))
    encoder = [*_down(channels, hidden, stages[0], strides[0]), *_down(hidden, latent, stages[1], strides[1])]
    decoder = [_up(latent, hidden, stages[2], stages[1], strides[1]), nn.BatchNorm2d(hidden), nn.ReLU()]
    decoder.append(_up(hidden, channels, stages[1], stages[0], strides[0]))
    return encoder, decoder


def _linear(channels: int, latent: int) -> tuple[list[nn.Module], list[nn.Module]]:
    return [nn.Linear(channels, latent), nn.BatchNorm1d(latent), nn.ReLU()], [nn.Linear(latent, channels)]


class _Move(nn.Module):
    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target = source, target

    def forward(self, x: Tensor) -> Tensor:
        return torch.movedim(x, self.source, self.target)


class _AddSide(nn.Module):
    """(N, C, T) -> (N, C, T, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., None]


class _DropSide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 0]


class _PerToken(nn.Sequential):
    """The same layers for every token of (N, T, C)."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        for layer in self:
            rows = layer(rows)
        return rows.reshape(*x.shape[:2], -1)


class _Tokens(nn.Module):
    """Hands the tokens of (N, T, C) to `maps` as (N, C, *sizes), the leading ones to a module of their own."""

    def __init__(
        self, maps: Sequence[nn.Module], first: nn.Module | None, leading: int, sizes: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.maps, self.first = nn.Sequential(*maps), first
        self.leading, self.sizes = leading, sizes

    def forward(self, x: Tensor) -> Tensor:
        rest = x[:, self.leading :].transpose(1, 2)
        rest = rest.reshape(*rest.shape[:2], *self.sizes)
        made: Tensor = self.maps(rest).flatten(2).transpose(1, 2)
        return made if self.first is None else torch.cat([self.first(x[:, : self.leading]), made], 1)


def _down(channels: int, out: int, sizes: tuple[int, ...], stride: int) -> list[nn.Module]:
    kernels, strides = _kernels(sizes, stride)
    padding = (kernels[0] // 2, kernels[1] // 2)
    return [nn.Conv2d(channels, out, kernels, strides, padding), nn.BatchNorm2d(out), nn.ReLU()]


def _up(channels: int, out: int, sizes: tuple[int, ...], wanted: tuple[int, ...], stride: int) -> nn.Module:
    """A transposed convolution makes (n - 1) stride + 1 positions of n; what is missing is output padding."""
    kernels, strides = _kernels(wanted, stride)
    padding = (kernels[0] // 2, kernels[1] // 2)
    missing = [want - (size - 1) * by - 1 for size, want, by in zip(sizes, wanted, strides, strict=True)]
    return nn.ConvTranspose2d(channels, out, kernels, strides, padding, output_padding=(missing[0], missing[1]))


def _kernels(sizes: tuple[int, ...], stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kernel and stride along each side of maps; a side of 1 has no neighbours."""
    height, width = ((3, stride) if size > 1 else (1, 1) for size in sizes)
    return (height[0], width[0]), (height[1], width[1])
