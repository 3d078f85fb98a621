"""Lease: Grant, Revoke, KeepAlive, TimeToLive, Leases.

One rule: a keep-alive of a lease that is gone is no error; its answer says TTL 0, and the stream goes on.
"""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError
from atoll.planes.coordination.frontends.etcd.node import Node, callback_route, decoded, stream_route
from atoll.resources.accounts import Right
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.store import api
from atoll.wire.etcd import messages


class Lease:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._gate = node.gate

    def routes(self) -> dict[str, Route]:
        return dict(
            [
                callback_route("Lease.LeaseGrant", self.grant),
                callback_route("Lease.LeaseRevoke", self.revoke),
                callback_route("Lease.LeaseTimeToLive", self.time_to_live),
                callback_route("Lease.LeaseLeases", self.leases),
                stream_route("Lease.LeaseKeepAlive", self.keep_alive),
            ]
        )

    def grant(self, call: Call, message: Any) -> None:
        self._gate.user_of(call)

        def make(result: api.LeaseResult) -> bytes:
            body: bytes = messages.LeaseGrantResponse(ID=result.lease, TTL=result.ttl_s).SerializeToString()
            return self._node.header(result.revision) + body

        self._gate.submit(api.LeaseGrant(message.TTL, message.ID), self._node.answer(call, make))

    def revoke(self, call: Call, message: Any) -> None:
        """Deletes the lease's keys, so it needs WRITE on each of them."""
        user = self._gate.user_of(call)
        reply = self._node.answer(call, lambda result: self._node.header(result.revision))

        def checked(outcome: api.Outcome) -> None:
            if isinstance(outcome, AtollError):
                reply(outcome)
            else:
                self._gate.submit(api.LeaseRevoke(message.ID), reply)

        if self._gate.authority.is_admin(user):
            self._gate.submit(api.LeaseRevoke(message.ID), reply)
        else:
            self._gate.require_lease(user, message.ID, Right.WRITE, checked)

    def time_to_live(self, call: Call, message: Any) -> None:
        """Anybody may ask for the time; the keys are for those who may read them all."""

        def make(result: api.LeaseResult) -> bytes:
            body: bytes = messages.LeaseTimeToLiveResponse(
                ID=result.lease, TTL=result.ttl_s, grantedTTL=result.granted_ttl_s, keys=result.keys
            ).SerializeToString()
            return self._node.header(result.revision) + body

        reply = self._node.answer(call, make)
        if message.keys and self._gate.authority.enabled:
            self._gate.require_lease(self._gate.user_of(call), message.ID, Right.READ, reply)
        else:
            self._gate.submit(api.LeaseTimeToLive(message.ID, message.keys), reply)

    def leases(self, call: Call, message: Any) -> None:
        def make(result: api.LeaseListResult) -> bytes:
            leases = [messages.LeaseStatus(ID=lease) for lease in result.leases]
            body: bytes = messages.LeaseLeasesResponse(leases=leases).SerializeToString()
            return self._node.header(result.revision) + body

        self._gate.submit(api.LeaseList(), self._node.answer(call, make))

    async def keep_alive(self, call: Call) -> None:
        store, header = self._node.store, self._node.header
        async for data in call.messages():
            lease = decoded("Lease.LeaseKeepAlive", data).ID
            result = await store.lease_keep_alive(lease)
            answer = messages.LeaseKeepAliveResponse(ID=lease, TTL=max(result.ttl_s, 0))
            await call.send(header(result.revision) + answer.SerializeToString())
