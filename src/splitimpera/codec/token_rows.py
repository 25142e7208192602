"""Codecs of windows of tokens: what has tokens, and the codec for another number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from splitimpera.codec.constants import Constants
from splitimpera.codec.elements import is_floating
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec


def are_tokens(specs: Sequence[TensorSpec]) -> bool:
    """Whether all floating-point tensors of a cut are (tokens, channels)."""
    return all(len(spec.shape) == 2 and spec.channel_dim == 1 for spec in specs if is_floating(spec))


def check_tokens(name: str, specs: Sequence[TensorSpec]) -> None:
    """Raises CodecError for a codec that looks at the token before where there is none: other than (tokens, channels).

    Args:
        name: Of the codec.
        specs: What crosses.
    """
    for spec in specs:
        if not are_tokens([spec]):
            raise CodecError(
                f"'{name}': +before fills with the token before, and this has no tokens: its shape is {spec.shape} with"
                f" channels along dimension {spec.channel_dim}, (tokens, channels) is expected",
                where=spec.name,
                hint="take +mean, or cut between blocks of a network of tokens",
            )


def for_tokens(constants: Constants, tokens: int) -> Constants:
    """Constants that were calibrated on windows, for so many tokens: their ranges are those of all tokens.

    Args:
        constants: Of tensors whose first side are the tokens.

    Raises:
        CodecError: a tensor has no tokens, or a constant differs from token to token.

    >>> from splitimpera.records.graph import TensorSpec
    >>> window = Constants("float16", (TensorSpec("blocks.0", (256, 128), channel_dim=1),))
    >>> for_tokens(window, 1).specs[0].shape
    (1, 128)
    """
    specs = []
    for index, spec in enumerate(constants.specs):
        if not spec.shape:
            raise CodecError("what crosses has no tokens", where=spec.name)
        for key, array in constants.arrays.items():
            own = key.startswith(f"{index}.") and not key.endswith(".counts")
            if own and array.ndim == len(spec.shape) and array.shape[0] != 1:
                raise CodecError(
                    f"the constant '{key}' differs from token to token",
                    where=constants.name,
                    hint="take one range for the tensor, one for each channel (':channel') or each token (':token')",
                )
        specs.append(replace(spec, shape=(tokens, *spec.shape[1:])))
    return replace(constants, specs=tuple(specs))
