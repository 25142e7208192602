"""A server's and a device's part of a language model: steps to tokens, tokens to what crosses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from splitimpera.bundle.manifest import PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError, CodecError, LinkError
from splitimpera.deploy.halves import ReceivingHalf
from splitimpera.deploy.machine_layers import Layers
from splitimpera.deploy.messages import Status
from splitimpera.deploy.token_past import Past
from splitimpera.deploy.token_programs import TokenCodec, TokenProgram, language_of, token_program
from splitimpera.deploy.token_room import TokenRoom
from splitimpera.deploy.token_steps import PLACE, TOKEN, Piece, Step, largest_step

if TYPE_CHECKING:
    from splitimpera.bundle.language_entry import LanguageEntry


@dataclass(frozen=True)
class Stepped:
    """What became of a step.

    Attributes:
        said: The token, or from which position on the cache lacks tokens.
        further: The step that follows without anybody asking, where the server writes on by itself; None: nothing does.
        decode_s, run_s: What codec and program took.
    """

    status: Status
    said: bytes = b""
    further: bytes | None = None
    decode_s: float = 0.0
    run_s: float = 0.0


@dataclass(frozen=True, eq=False)
class TokenServerHalf(ReceivingHalf):
    """What the last machine of a plan does with steps: decode, run its blocks behind their past, name the next token.

    Attributes:
        program: Its blocks with the head.
        tokens: The hop's codec for any number of tokens.
        room: Where keys and values are kept.
    """

    program: TokenProgram
    tokens: TokenCodec
    room: TokenRoom
    language: LanguageEntry

    @cached_property
    def batches(self) -> bool:
        """Each step has a past of its own length: they are run one by one."""
        return False

    @cached_property
    def remembers(self) -> bool:
        """Nothing but the room does."""
        return False

    def largest_bytes(self, window_bytes: int) -> int:
        """No step is larger, where no payload of a window of tokens is larger than so many bytes."""
        (crossing,) = self.hop.tensors
        windows = -(-self.language.context // max(crossing.shape[0], 1))
        return largest_step(self.language.context, windows * window_bytes)

    def warm_up(self) -> None:
        """See `ReceivingHalf`."""
        self.program.warm_up()

    def step(self, data: bytes, client: Hashable) -> Stepped:
        """Take a step of a client; what it claims is held to the context, and to what its cache holds."""
        begun_s = perf_counter()
        try:
            step = Step.from_bytes(data, self.language.context)
        except LinkError:
            return Stepped(Status.DAMAGED)
        request = self.hop.number, step.request
        if step.over:
            self.room.drop(client, request)
            return Stepped(Status.OK)
        if step.writes > 1 and not self.program.takes_ids:
            return Stepped(Status.DAMAGED)
        held = self.room.held(client, request)
        if held < step.first:
            return Stepped(Status.LACKING, PLACE.pack(held))
        try:
            x = np.concatenate([self.tokens.decode(piece.data, piece.tokens) for piece in step.pieces])
        except CodecError:
            return Stepped(Status.DAMAGED)
        if self.program.takes_ids and not ((x >= 0) & (x < self.language.vocabulary)).all():
            return Stepped(Status.DAMAGED)
        decode_s = perf_counter() - begun_s
        try:
            past = self.room.past(client, request, step.first)
        except LookupError:  # it went meanwhile
            return Stepped(Status.LACKING, PLACE.pack(0))
        try:
            logits, kept = self.program(x, past)
        except BaseException:
            self.room.drop(client, request)
            raise
        self.room.keep(client, request, kept)
        token = int(logits[-1].argmax())
        run_s = perf_counter() - begun_s - decode_s
        said = TOKEN.pack(token) if step.writes else b""
        return Stepped(Status.OK, said, self._further(step, token), decode_s, run_s)

    def _further(self, step: Step, token: int) -> bytes | None:
        if step.writes < 2 or token == self.language.end:
            return None
        piece = Piece(1, self.tokens.encode(np.array([token], np.int64)))
        return replace(step, first=step.stop, writes=step.writes - 1, pieces=(piece,)).to_bytes()


def token_server_half(bundle: Bundle, plan: PlanEntry, room: TokenRoom, threads: int = 1) -> TokenServerHalf:
    """The server's part of a plan.

    Raises:
        BundleError: its files are not what was exported, or one request's cache has no place in the room.
    """
    if not plan.hops:
        raise BundleError(f"plan '{plan.id}' runs on the device alone, there is nothing to serve")
    language, hop = language_of(bundle), plan.hops[-1]
    program = token_program(bundle, bundle.manifest.chain(plan, 1), threads)
    needed = language.cache_bytes(program.blocks)
    if needed > room.most_bytes:
        raise BundleError(
            f"the keys and values of one request take up to {needed} bytes, all together may take {room.most_bytes}",
            hint="allow more by --cache-memory",
        )
    specs = tuple(entry.spec for entry in hop.tensors)
    codec = TokenCodec(bundle, hop)
    return TokenServerHalf(plan, hop, codec.window, Layers(specs, specs, None), program, codec, room, language)


@dataclass(eq=False)
class Reading:
    """A request on the device: what its blocks know, and what has crossed so far.

    Attributes:
        past: Keys and values of the blocks here.
        pieces: What was coded, with the position of the first token of each; kept, for the server may lack it.
        read: How many tokens went through.
        head_s, encode_s: What the blocks here and the codec took for the latest ones.
    """

    past: Past | None = None
    pieces: list[tuple[int, Piece]] = field(default_factory=list)
    read: int = 0
    head_s: float = 0.0
    encode_s: float = 0.0

    def since(self, position: int) -> tuple[int, tuple[Piece, ...]]:
        """The pieces from the one on that holds a position, and where that begins."""
        place = max((at for at, (first, _) in enumerate(self.pieces) if first <= position), default=0)
        return self.pieces[place][0], tuple(piece for _, piece in self.pieces[place:])


@dataclass(frozen=True, eq=False)
class TokenDeviceHalf:
    """What the device does with tokens: run its blocks, encode what crosses.

    Attributes:
        program: Its blocks; None: it has none, and ids cross.
        tokens: The codec; None: the plan runs here alone.
    """

    plan: PlanEntry
    language: LanguageEntry
    program: TokenProgram | None
    tokens: TokenCodec | None

    @property
    def writes_on(self) -> bool:
        """Whether the server writes token after token without being asked, as it can where ids cross."""
        return self.program is None

    def warm_up(self) -> None:
        """Run it once: an engine's first run takes longer."""
        if self.program is not None:
            self.program.warm_up()

    def read(self, reading: Reading, ids: Sequence[int]) -> int | None:
        """Read more tokens of a request; returns the next one where all blocks are here, else adds a piece."""
        begun_s = perf_counter()
        crossing: Array = np.array(ids, np.int64)
        if self.program is not None:
            crossing, reading.past = self.program(crossing, reading.past)
        run_s = perf_counter()
        reading.head_s = run_s - begun_s
        reading.read += len(ids)
        if self.tokens is None:
            return int(crossing[-1].argmax())
        piece = Piece(len(ids), self.tokens.encode(crossing))
        reading.pieces.append((reading.read - len(ids), piece))
        reading.encode_s = perf_counter() - run_s
        return None


def token_device_half(bundle: Bundle, plan: PlanEntry, threads: int = 1) -> TokenDeviceHalf:
    """The device's part of a plan.

    Raises:
        BundleError: its files are not what was exported.
    """
    chain = bundle.manifest.chain(plan, 0)
    program = token_program(bundle, chain, threads) if chain else None
    codec = TokenCodec(bundle, plan.hops[0]) if plan.hops else None
    return TokenDeviceHalf(plan, language_of(bundle), program, codec)
