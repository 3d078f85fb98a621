"""Election: Campaign, Proclaim, Leader, Observe, Resign.

One rule: the leader is whose key under ``name/`` has the smallest create revision, and every act of a leader is a
transaction guarded by the create revision that it names. Failures are UNKNOWN with etcd's text (see ``lock``).

Atoll's own candidates (``store.election``) write the same keys, so either kind can follow the other.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from atoll.access.checks import Use
from atoll.errors import AtollError, Reason
from atoll.planes.coordination.frontends.etcd.errors import internal_status_of
from atoll.planes.coordination.frontends.etcd.node import Node, Refused, decoded, stream_route, task_route
from atoll.planes.coordination.frontends.etcd.queue import Place, Queue
from atoll.resources.accounts import Right
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.store import api, etcd_messages
from atoll.wire.etcd import messages
from atoll.wire.grpc.status import Status


class Election:
    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> dict[str, Route]:
        return dict(
            [
                task_route("Election.Campaign", self.campaign, internal_status_of),
                task_route("Election.Proclaim", self.proclaim, internal_status_of),
                task_route("Election.Leader", self.leader, internal_status_of),
                task_route("Election.Resign", self.resign, internal_status_of),
                stream_route("Election.Observe", self.observe),
            ]
        )

    async def campaign(self, call: Call, request: Any) -> bytes:
        """Returns once elected. A candidate that stands already changes its value."""
        queue = Queue(self._node, call)
        place = await queue.join(request.name, request.lease, request.value)
        elected = False
        try:
            if place.value != request.value:
                await self._set_value(queue, place.key, place.revision, place.lease, request.value)
            elected = place.is_first or await queue.wait(place) > 0
        finally:
            if not elected:
                queue.leave_soon(place)
        if not elected:
            raise _not_leader()  # its lease ended while it waited; etcd says success
        leader = messages.LeaderKey(name=place.name, key=place.key, rev=place.revision, lease=place.lease)
        body: bytes = messages.CampaignResponse(leader=leader).SerializeToString()
        return self._node.header(place.header_revision) + body

    async def proclaim(self, call: Call, request: Any) -> bytes:
        leader = _leader_key(request)
        queue = Queue(self._node, call)
        result = await self._set_value(queue, leader.key, leader.rev, leader.lease, request.value)
        return self._node.header(result.revision)

    async def leader(self, call: Call, request: Any) -> bytes:
        result = await Queue(self._node, call).decide(_first_of(request.name))
        if not result.kvs:
            raise Refused(Status.UNKNOWN, "election: no leader")
        return self._response(result.revision, result.kvs[0])

    async def resign(self, call: Call, request: Any) -> bytes:
        """Resigning what is not held (any more) is no error."""
        leader = _leader_key(request)
        place = Place(leader.name, leader.key, leader.lease, leader.rev, 0, b"", False)
        result = await Queue(self._node, call).leave(place)
        return self._node.header(result.revision)

    async def observe(self, call: Call) -> None:
        """Sends every leader's every value, beginning with the present one; ends only with the call."""
        request = decoded("Election.Observe", await call.receive() or b"")
        prefix = request.name + b"/"
        gate = self._node.gate
        try:
            gate.authority.require(gate.user_of(call), [Use(prefix, api.prefix_end(prefix), Right.READ)])
            async with aclosing(self._leaders(request.name)) as leaders:
                async for revision, kv in leaders:
                    await call.send(self._response(revision, kv))
        except AtollError as error:
            call.fail(*internal_status_of(error))

    async def _leaders(self, name: bytes) -> AsyncGenerator[tuple[int, api.KeyValue], None]:
        """(store revision, the leader's key) at every change that a reader of the newest state can see."""
        store, prefix = self._node.store, name + b"/"
        while True:
            found = await store.range(_first_of(name))
            if found.kvs:
                leader = found.kvs[0]
                yield found.revision, leader
                watch = api.Watch(leader.key, b"", found.revision + 1)
            else:
                watch = api.Watch(prefix, api.prefix_end(prefix), found.revision + 1, no_delete=True)
            try:
                async with aclosing(store.watch(watch)) as batches:
                    async for batch in batches:
                        if batch.events and not found.kvs:
                            break  # somebody stands: look who is first
                        for event in itertools.takewhile(_is_put, batch.events):
                            yield batch.revision, event.kv
                        if not all(map(_is_put, batch.events)):
                            break
            except AtollError as error:
                if error.reason is not Reason.COMPACTED:
                    raise  # otherwise: the newest leader is read again

    async def _set_value(self, queue: Queue, key: bytes, revision: int, lease: int, value: bytes) -> Any:
        same = api.Compare(key, api.Target.CREATE, api.Relation.EQUAL, revision)
        result = await queue.decide(api.Txn((same,), (api.Put(key, value, lease),)))
        if not result.succeeded:
            raise _not_leader()
        return result

    def _response(self, revision: int, kv: api.KeyValue) -> bytes:
        body: bytes = messages.LeaderResponse(kv=etcd_messages.key_value_message(kv)).SerializeToString()
        return self._node.header(revision) + body


def _first_of(name: bytes) -> api.Range:
    prefix = name + b"/"
    return api.Range(
        prefix,
        api.prefix_end(prefix),
        limit=1,
        sort_order=api.SortOrder.ASCEND,
        sort_target=api.SortTarget.CREATE,
    )


def _leader_key(request: Any) -> Any:
    if not request.HasField("leader"):
        raise Refused(Status.UNKNOWN, '"leader" field must be provided')
    return request.leader


def _is_put(event: api.Event) -> bool:
    return not event.is_delete


def _not_leader() -> Refused:
    return Refused(Status.UNKNOWN, "election: not leader")
