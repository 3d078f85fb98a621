"""The other nodes, as a plane sees them: who is there, and questions that all of them answer.

Rule: an answer from every node that can be reached in time, this one included; who does not answer is left out, and a
caller that needs to say so compares with ``members``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

from atoll.errors import AtollError, Code

Handler: TypeAlias = Callable[[bytes], Awaitable[bytes]]
AskOthers: TypeAlias = Callable[[str, bytes, float], Awaitable[Mapping[str, bytes]]]


class Member(msgspec.Struct, frozen=True):
    """One node of the cluster. Addresses are ``host:port`` as other machines reach them; empty: not served."""

    node: str
    incarnation: int
    nodes: str = ""
    nacos: str = ""
    nacos_grpc: str = ""
    release: str = ""
    feature_level: int = 0


class Peers:
    """``me`` is this node's own record."""

    def __init__(self, me: Member) -> None:
        self.me = me
        self._members: Mapping[str, Member] = {me.node: me}
        self._handlers: dict[str, Handler] = {}
        self._ask_others: AskOthers | None = None

    @property
    def node_id(self) -> str:
        return self.me.node

    def members(self) -> list[Member]:
        """All nodes with a record, this one included, by id; as they were last seen while the store is away."""
        return [self._members[node] for node in sorted(self._members)]

    def be(self, me: Member) -> None:
        """This node's own record from now on."""
        self.me = me
        self._members = {**self._members, me.node: me}

    def take(self, members: Mapping[str, Member]) -> None:
        """All records, by node."""
        self._members = {**members, self.me.node: self.me}

    def reach(self, ask_others: AskOthers) -> None:
        """Ask the others by this."""
        self._ask_others = ask_others

    def on_ask(self, kind: str, handler: Handler) -> None:
        """``handler(body)`` answers questions of ``kind`` from this node and others; one handler a kind."""
        if kind in self._handlers:
            raise ValueError(f"questions of kind {kind!r} have a handler already")
        self._handlers[kind] = handler

    async def ask_all(self, kind: str, body: bytes, within_s: float = 1.0) -> Mapping[str, bytes]:
        """Each node's answer by node id."""
        others = await self._ask_others(kind, body, within_s) if self._ask_others is not None else {}
        return {**others, self.me.node: await self.answer(kind, body)}

    async def answer(self, kind: str, body: bytes) -> bytes:
        """This node's own answer. Raises NOT_FOUND where it has no handler for ``kind``."""
        handler = self._handlers.get(kind)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            raise AtollError(Code.NOT_FOUND, f"no such question: {kind!r}; this node answers: {known}")
        return await handler(body)
