"""The line before a lock or an election: who stands where, and how one waits for one's turn.

One rule: whoever holds the key with the smallest create revision under ``name/`` is first. A newcomer waits only
for the key with the largest create revision below its own, and looks again when that one goes. Keys and order are
those of etcd's own client library, so that its locks and elections and these stand in the same line.

One difference: when the turn comes, the caller's own key is read again. etcd 3.4 returns success although a
lease that ended meanwhile took the key away.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, NamedTuple

from atoll.errors import AtollError, Reason
from atoll.planes.coordination.frontends.etcd.node import Node
from atoll.runtime import loop
from atoll.runtime.grpc_call import Call
from atoll.store import api

LEASE_TTL_S = 60
"""The time of a lease that is made for a caller who names none; nobody keeps it alive (as in etcd)."""


class Place(NamedTuple):
    """A key in a line. ``revision``: its create revision; ``header_revision``: of the transaction that found it."""

    name: bytes
    key: bytes
    lease: int
    revision: int
    header_revision: int
    value: bytes
    is_first: bool


class Queue:
    """The calls that locks and elections are made of, with the permissions of one call."""

    def __init__(self, node: Node, call: Call) -> None:
        self._node = node
        self._call = call

    async def decide(self, request: api.Operation, unheard: api.Done | None = None) -> Any:
        """The result of ``request`` under the caller's permissions. Raises ``AtollError``.

        ``unheard`` gets the outcome instead if the call was cancelled before it came.
        """
        answer: loop.Future[Any] = loop.new_future()

        def done(outcome: api.Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)
            elif unheard is not None:
                unheard(outcome)

        self._node.gate.decide(self._call, request, done)
        outcome = await answer
        if isinstance(outcome, AtollError):
            raise outcome
        return outcome

    async def join(self, name: bytes, lease: int, value: bytes) -> Place:
        """Stand at the end of the line of ``name``, or where ``lease`` stands in it already."""
        if not lease:
            self._node.gate.user_of(self._call)
            lease = (await self._node.store.lease_grant(LEASE_TTL_S)).lease
        prefix = name + b"/"
        key = prefix + b"%x" % lease
        first = api.Range(
            prefix,
            api.prefix_end(prefix),
            limit=1,
            sort_order=api.SortOrder.ASCEND,
            sort_target=api.SortTarget.CREATE,
        )
        absent = api.Compare(key, api.Target.CREATE, api.Relation.EQUAL, 0)

        def unheard(outcome: api.Outcome) -> None:
            if isinstance(outcome, api.TxnResult) and outcome.succeeded:
                self._leave_soon(key, outcome.revision)

        result = await self.decide(
            api.Txn((absent,), (api.Put(key, value, lease), first), (api.Range(key), first)), unheard
        )
        mine, firsts = result.results
        revision = result.revision if result.succeeded else mine.kvs[0].create_revision
        kept = value if result.succeeded else mine.kvs[0].value
        is_first = not firsts.kvs or firsts.kvs[0].create_revision == revision
        return Place(name, key, lease, revision, result.revision, kept, is_first)

    async def wait(self, place: Place) -> int:
        """Until nobody stands before ``place``; the store's revision then, or 0 if the place was lost meanwhile."""
        prefix = place.name + b"/"
        before = api.Range(
            prefix,
            api.prefix_end(prefix),
            limit=1,
            sort_order=api.SortOrder.DESCEND,
            sort_target=api.SortTarget.CREATE,
            max_create_revision=place.revision - 1,
        )
        while True:
            others, mine = await self._node.read(before, api.Range(place.key))
            if not mine.kvs or mine.kvs[0].create_revision != place.revision:
                return 0
            if not others.kvs:
                return others.revision
            await self._gone(others.kvs[0], others.revision)

    async def leave(self, place: Place) -> api.TxnResult:
        """Take the key out of the line, unless it is another's by now."""
        same = api.Compare(place.key, api.Target.CREATE, api.Relation.EQUAL, place.revision)
        result: api.TxnResult = await self.decide(api.Txn((same,), (api.Delete(place.key),)))
        return result

    def leave_soon(self, place: Place) -> None:
        """``leave`` for a call that was cancelled: nobody is there to be told."""
        self._leave_soon(place.key, place.revision)

    def _leave_soon(self, key: bytes, revision: int) -> None:
        same = api.Compare(key, api.Target.CREATE, api.Relation.EQUAL, revision)
        self._node.gate.submit(api.Txn((same,), (api.Delete(key),)), _forgotten)

    async def _gone(self, kv: api.KeyValue, revision: int) -> None:
        """Until ``kv``, as read at ``revision``, is deleted. May return early: the caller looks again."""
        try:
            watch = api.Watch(kv.key, b"", revision + 1, no_put=True)
            async with aclosing(self._node.store.watch(watch)) as batches:
                async for batch in batches:
                    if batch.events:
                        return
        except AtollError as error:
            if error.reason is not Reason.COMPACTED:
                raise


def _forgotten(_outcome: api.Outcome) -> None:
    """The lease, or whoever revokes it, takes the key away if this could not."""
