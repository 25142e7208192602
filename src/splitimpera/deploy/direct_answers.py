"""At the last machine of a plan: answers that go directly to the device, past the machines in the middle.

A device that wants them opens a session here that takes answers alone, under a key that it has drawn, and says the same
key in its session with the first server. Machines in the middle carry it on, so that the sessions by which frames come
here bear it, too. What is answered there goes to the session of that key, and a short word along the way frees the
frame on all machines. Where no such session is open, the answer itself goes along the way.

A key is known to the device and to the machines that its frames pass; who does not know it gets nothing by it. There is
one session a key, and no more of them than there may be clients: each is a client, let in as all others are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from splitimpera.codec.framing import Kind
from splitimpera.deploy.door import Peer
from splitimpera.deploy.messages import Answers, Hello, Reason, Refusal, Response, Status

Send = Callable[[Peer, Kind, int, int, bytes], bool]
"""Sends a client a message: its kind, the number of the hop, that of the frame, the message; False: it could not."""


class DirectAnswers:
    """The sessions of a server that take answers, and which way each answer goes.

    Args:
        send: Takes what is said.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._taking: dict[bytes, Peer] = {}

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._taking)

    def greeted(self, client: Peer, hello: Hello) -> Refusal | None:
        """A client greets that is let in otherwise: what it says of answers holds from its first hello on.

        Returns:
            why it is turned away; None: it is not.
        """
        if client.served is not None:
            same = (hello.answers, hello.key) == (client.answers, client.key)
            return None if same else Refusal(Reason.PROTOCOL, "a session has one key for answers, from its beginning")
        if hello.answers is Answers.TAKEN:
            if hello.key in self._taking:
                return Refusal(Reason.PROTOCOL, "another session takes the answers of this key")
            self._taking[hello.key] = client
        client.answers, client.key = hello.answers, hello.key
        return None

    def leave(self, client: Peer) -> None:
        """A client is gone."""
        if self._taking.get(client.key) is client:
            del self._taking[client.key]

    def respond(self, client: Peer, number: int, frame: int, response: Response) -> None:
        """Answer a frame: directly where that is wanted, and can be; else along the way."""
        there = self._there(client) if response.status is Status.OK and response.onward is None else None
        if there is not None and self._send(there, Kind.RESPONSE, number, frame, response.to_bytes()):
            response = replace(response, status=Status.DIRECT, tensors=b"")
        self._send(client, Kind.RESPONSE, number, frame, response.to_bytes())

    def _there(self, client: Peer) -> Peer | None:
        """Who takes a client's answers; None: it has them itself."""
        there = self._taking.get(client.key) if client.answers is Answers.WANTED else None
        return there if there is not None and there.served is client.served else None
