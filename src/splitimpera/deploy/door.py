"""Who is let in, and what a server knows of each client."""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest
from time import monotonic

from splitimpera.codec.framing import VERSION
from splitimpera.core.array_types import Array
from splitimpera.deploy.admission import RateLimit
from splitimpera.deploy.halves import ServerHalf
from splitimpera.deploy.messages import Answers, Hello, Reason, Refusal
from splitimpera.deploy.serving_bundles import SHORT_ID, ServedBundle, ServedBundles
from splitimpera.deploy.sessions import Session

TEXT = 200
FLOOR_TEXT = "this plan is cut before the privacy floor, nothing of it is taken"


@dataclass(frozen=True)
class Door:
    """What a client has to know; `bundles`: those that are here."""

    bundles: ServedBundles

    def asked(
        self, hello: Hello, number: int, token: bytes, known: ServedBundle | None = None
    ) -> ServedBundle | Refusal:
        """The bundle of a client that is let in, or why it is not.

        Args:
            number: Of the hop that it wants to send to.
            token: What it has to say; empty: nothing.
            known: The bundle of a client that was let in before; it may greet other plans of that.
        """
        # who it is before anything else, so that nobody else learns what is here
        if token and not compare_digest(hello.token, token):
            return Refusal(Reason.TOKEN, "the token is not the one that is expected")
        if not hello.lowest <= VERSION <= hello.highest:
            return Refusal(Reason.VERSION, f"version {VERSION} is spoken here")
        served = self.bundles.get(hello.bundle.hex())
        if known is not None and served is not known:
            return Refusal(Reason.PROTOCOL, "a session is for one bundle")
        if served is None:
            several = "the bundle here is" if len(self.bundles.open) == 1 else "the bundles here are"
            return Refusal(Reason.BUNDLE, f"{several} {self.bundles.ids}"[:TEXT])
        if served.draining and known is None:
            leaving = f"the bundle {served.id[:SHORT_ID]} is being replaced by {self.bundles.newest.id[:SHORT_ID]}"
            return Refusal(Reason.BUNDLE, leaving)
        if number in served.below:
            return Refusal(Reason.FLOOR, FLOOR_TEXT)
        if number not in served.halves:
            return Refusal(Reason.PLAN, f"the plans here are {served.names}"[:TEXT])
        if hello.answers is not None and served.bundle.manifest.answers != "direct":
            return Refusal(Reason.PROTOCOL, "answers of this bundle come back along the way")
        if hello.answers is Answers.TAKEN and not isinstance(served.halves[number], ServerHalf):
            return Refusal(Reason.PLAN, "this plan does not end here; direct answers come from its last machine")
        return served


@dataclass(eq=False)
class Peer:
    """A client.

    Attributes:
        secure: Whether what it sends is encrypted.
        served: The bundle that it is here for; None before it is welcomed.
        number: The hop that it greeted for, last.
        limit: How many frames a second it may send; None: as many as it likes.
        answers, key: Whether it wants direct answers or takes them, and under which key; None and empty: neither.
        previous: Of each hop its frame before, as it was decoded, for codecs that fill with it; by number.
    """

    session: Session
    token: bytes
    secure: bool = False
    served: ServedBundle | None = None
    number: int = 0
    limit: RateLimit | None = None
    answers: Answers | None = None
    key: bytes = field(default=b"", repr=False)
    previous: dict[int, tuple[Array, ...]] = field(default_factory=dict)
    since_s: float = field(default_factory=monotonic)
    frames: int = 0
