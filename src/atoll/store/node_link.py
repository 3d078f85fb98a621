"""One connection between two nodes: messages behind their length, the first one ``Hello`` in either direction.

Rule: a message that does not parse, or comes from another cluster, ends the connection. Sending waits for room, so
that a peer that reads slowly costs one message and no queue.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from atoll.errors import AtollError, Code, ProtocolFault
from atoll.runtime import rng
from atoll.runtime.streams import Stream
from atoll.wire.nodes import messages
from atoll.wire.nodes.messages import Hello, Message, Proof

HELLO_S_MAX = 3.0
LENGTH_BYTES = 4


class NodeLink:
    """``peer`` is known after ``greet``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""

    async def greet(self, mine: Hello, secret: str) -> Hello:
        """Say hello and hear it, and prove to each other to know ``secret``, which itself is never sent: whoever can
        reach the port, or got hold of the address, learns nothing. Raises UNAVAILABLE for a connection that ends,
        INVALID for a stranger.
        """
        mine = msgspec.structs.replace(mine, cluster=fingerprint(secret), nonce=rng.new_token())
        await self.send(mine)
        theirs = await self.receive(HELLO_S_MAX)
        if not isinstance(theirs, Hello):
            raise AtollError(Code.INVALID, "a node did not say hello")
        if theirs.cluster != mine.cluster or theirs.format > messages.FORMAT:
            text = f"a node of cluster {theirs.cluster!r}, format {theirs.format}; this is {mine.cluster!r}"
            raise AtollError(Code.INVALID, text)
        await self.send(Proof(_code(secret, mine, theirs.nonce)))
        proof = await self.receive(HELLO_S_MAX)
        expected = _code(secret, theirs, mine.nonce)
        if not isinstance(proof, Proof) or not hmac.compare_digest(proof.code, expected):
            raise AtollError(Code.INVALID, "a node that does not know the secret of this cluster")
        return theirs

    async def send(self, message: Message) -> None:
        """Raises UNAVAILABLE."""
        data = messages.encode(message)
        try:
            await self._stream.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
        except OSError as error:
            raise _ended(error) from error

    async def receive(self, within_s: float | None = None) -> Message | None:
        """The next message; None: the peer has closed. Raises UNAVAILABLE, and INVALID for what is no message."""
        head = await self._exactly(LENGTH_BYTES, within_s)
        if head is None:
            return None
        size_bytes = int.from_bytes(head, "big")
        if size_bytes > messages.MESSAGE_BYTES_MAX:
            raise AtollError(Code.INVALID, f"a node sent a message of {size_bytes} bytes")
        data = await self._exactly(size_bytes, within_s)
        try:
            return None if data is None else messages.decode(data)
        except ProtocolFault as fault:
            raise AtollError(Code.INVALID, fault.detail) from fault

    def cut(self) -> None:
        self._stream.cut()

    async def _exactly(self, count: int, within_s: float | None) -> bytes | None:
        pieces, have = [self._buffer], len(self._buffer)
        while have < count:
            try:
                piece = await self._stream.read(within_s)
            except OSError as error:  # TimeoutError among them
                raise _ended(error) from error
            if not piece:
                return None
            pieces.append(piece)
            have += len(piece)
        joined = b"".join(pieces)
        self._buffer = joined[count:]
        return joined[:count]


def fingerprint(secret: str) -> str:
    """Names the cluster without giving its secret away."""
    return hashlib.blake2b(secret.encode(), digest_size=6, person=b"atoll-cluster").hexdigest()


def _code(secret: str, prover: Hello, challenge: str) -> bytes:
    """A message that is sent back to its sender proves nothing: who proves is in it, and nobody links with itself."""
    said = "\n".join((challenge, prover.nonce, prover.who.node, str(prover.who.incarnation)))
    return hmac.digest(secret.encode(), said.encode(), "sha256")


def _ended(error: OSError) -> AtollError:
    return AtollError(Code.UNAVAILABLE, f"the link ended: {error or type(error).__name__}", retry_after_s=1.0)
