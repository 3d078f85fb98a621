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
        self._me = me
        self._handlers: dict[str, Handler] = {}

    @property
    def node_id(self) -> str:
        return self._me.node

    def members(self) -> list[Member]:
        """All nodes with a record, this one included, by id."""
        return [self._me]

    def on_ask(self, kind: str, handler: Handler) -> None:
        """``handler(body)`` answers questions of ``kind`` from this node and others; one handler a kind."""
        if kind in self._handlers:
            raise ValueError(f"questions of kind {kind!r} have a handler already")
        self._handlers[kind] = handler

    async def ask_all(self, kind: str, body: bytes, within_s: float = 1.0) -> Mapping[str, bytes]:
        """Each node's answer by node id."""
        return {self._me.node: await self.answer(kind, body)}

    async def answer(self, kind: str, body: bytes) -> bytes:
        """This node's own answer. Raises NOT_FOUND where it has no handler for ``kind``."""
        handler = self._handlers.get(kind)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            raise AtollError(Code.NOT_FOUND, f"no such question: {kind!r}; this node answers: {known}")
        return await handler(body)
