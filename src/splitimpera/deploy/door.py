"""Who is let in, and what a server knows of each client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from time import monotonic

from splitimpera.bundle.opened import Bundle
from splitimpera.codec.framing import VERSION
from splitimpera.core.array_types import Array
from splitimpera.deploy.halves import ServerHalf
from splitimpera.deploy.messages import Hello, Reason, Refusal
from splitimpera.deploy.sessions import Session


@dataclass(frozen=True)
class Door:
    """What a client has to know.

    Attributes:
        halves: What is served, by the number of the hop.
    """

    bundle: Bundle
    halves: Mapping[int, ServerHalf]

    def refusal(self, hello: Hello, number: int, token: bytes) -> Refusal | None:
        """Why a client is not let in; None: it is.

        Args:
            number: Of the hop that it wants to send to.
            token: What it has to say; empty: nothing.
        """
        here = bytes.fromhex(self.bundle.manifest.bundle)
        # who it is before anything else, so that nobody else learns what is here
        if token and not compare_digest(hello.token, token):
            return Refusal(Reason.TOKEN, "the token is not the one that is expected")
        if not hello.lowest <= VERSION <= hello.highest:
            return Refusal(Reason.VERSION, f"version {VERSION} is spoken here")
        if hello.bundle != here:
            return Refusal(Reason.BUNDLE, f"the bundle here is {here.hex()[:16]}")
        if number not in self.halves:
            names = ", ".join(half.plan.id for half in self.halves.values())
            return Refusal(Reason.PLAN, f"the plans here are {names}"[:200])
        return None


@dataclass(eq=False)
class Peer:
    """A client.

    Attributes:
        half: What runs its frames; None before it is welcomed.
        held: How many of its frames wait or are run.
        previous: Its frame before, as it was decoded, for codecs that fill with it.
    """

    session: Session
    token: bytes
    half: ServerHalf | None = None
    held: int = 0
    previous: tuple[Array, ...] | None = None
    since_s: float = field(default_factory=monotonic)
    frames: int = 0
