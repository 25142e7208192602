"""The programs of a language model, with keys and values that go in and come out; codecs for any number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from splitimpera.bundle.language_entry import LanguageEntry
from splitimpera.bundle.manifest import HopEntry
from splitimpera.bundle.opened import Bundle, read_arrays
from splitimpera.bundle.segments import SegmentEntry
from splitimpera.codec.codecs import codec_from
from splitimpera.codec.constants import Constants
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError, CodecError
from splitimpera.deploy.inference import Program, load_program
from splitimpera.deploy.token_past import Past, no_past
from splitimpera.records.traffic import Codec

CODECS_KEPT = 64


@dataclass(frozen=True, eq=False)
class TokenProgram:
    """A machine's blocks, as one program.

    Attributes:
        language: What it keeps to.
        blocks: How many it has.
        takes_ids: Whether ids come in, not hidden states.
        last: Whether logits come out.
    """

    program: Program
    language: LanguageEntry
    blocks: int
    takes_ids: bool
    last: bool

    def __call__(self, x: Array, past: Past | None) -> tuple[Array, Past]:
        """Read tokens behind others.

        Args:
            x: Ids (n,) int64, or hidden states (n, width) float32.
            past: Keys and values of those before; None: there are none.

        Returns:
            logits (n, vocabulary) or hidden states (n, width), and keys and values of all, in the memory of `past`.
        """
        if past is None:
            past = no_past(self.language.context, self.language.kept_shape(self.blocks))
        positions = np.arange(past.tokens, past.tokens + len(x), dtype=np.int64)
        y, keys, values = self.program((x[None], positions, *past.filled))
        width = self.language.vocabulary if self.last else self.language.width
        if y.shape != (1, len(x), width) or len(keys) != len(x):
            raise BundleError("a program returns other tensors than the manifest says")
        try:
            return y[0], past.with_more(keys, values)
        except ValueError as failure:
            raise BundleError(f"a program returns other tensors than the manifest says: {failure}") from None

    def warm_up(self) -> None:
        """Run it with a few tokens, and one behind them: an engine's first run takes longer."""
        x: Array = np.zeros(3, np.int64) if self.takes_ids else np.zeros((3, self.language.width), np.float32)
        x = x[: self.language.context - 1]
        _, past = self(x, None)
        self(x[:1], past)


def token_program(bundle: Bundle, chain: Sequence[SegmentEntry], threads: int) -> TokenProgram:
    """The one program of a machine's layers.

    Raises:
        BundleError: they are several, or its file is not what was exported.
    """
    language = language_of(bundle)
    if len(chain) != 1:
        raise BundleError("a language model's machine runs one program", hint="export the bundle again")
    (segment,) = chain
    program = load_program(segment.engine, bundle.read(segment.file), threads)
    blocks = language.blocks_at(segment.end) - language.blocks_at(segment.start)
    last = segment.end == bundle.manifest.last
    return TokenProgram(program, language, blocks, segment.start == 0, last)


def language_of(bundle: Bundle) -> LanguageEntry:
    """What a bundle says of its language model.

    Raises:
        BundleError: it is none.
    """
    language = bundle.manifest.language
    if language is None:
        raise BundleError("this bundle is no language model's", hint="'splitimpera infer --input' runs its frames")
    return language


class TokenCodec:
    """The codec of a hop for any number of tokens: its constants are those of a window, and hold for each token alike.

    Raises:
        BundleError: it is not there, or its constants differ between the positions of a window.
    """

    def __init__(self, bundle: Bundle, hop: HopEntry) -> None:
        self.window = bundle.codec(hop)
        """For as many tokens as the design had."""
        arrays = {} if hop.constants is None else read_arrays(bundle.read(hop.constants))
        self._constants = Constants(hop.codec, tuple(entry.spec for entry in hop.tensors), hop.packet_bytes, arrays)
        self._of = lru_cache(CODECS_KEPT)(self._made)
        try:
            self._of(1)
        except CodecError as failure:
            raise BundleError(
                f"the codec '{hop.codec}' cannot code one token: {failure.problem}",
                hint="take one whose constants are those of channels or of all values",
            ) from None

    def _made(self, tokens: int) -> Codec:
        specs = tuple(replace(spec, shape=(tokens, *spec.shape[1:])) for spec in self._constants.specs)
        return codec_from(replace(self._constants, specs=specs), specs)

    def encode(self, crossing: Array) -> bytes:
        """The payload of some tokens: ids (n,) or hidden states (n, width)."""
        return self._of(len(crossing)).encode([crossing]).data

    def decode(self, data: bytes, tokens: int) -> Array:
        """What crossed of so many tokens.

        Raises:
            CodecError: this is no payload of theirs.
        """
        (crossing,) = self._of(tokens).decode(data)
        return crossing
