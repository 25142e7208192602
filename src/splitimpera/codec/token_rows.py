"""The codec of a window of tokens, for another number of tokens."""

from __future__ import annotations

from dataclasses import replace

from splitimpera.codec.constants import Constants
from splitimpera.core.errors import CodecError


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
