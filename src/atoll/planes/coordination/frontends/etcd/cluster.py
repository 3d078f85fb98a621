"""Cluster: the one member there is.

One rule: an embedded store has no second member, so every call that would change the membership is UNIMPLEMENTED
and says what to do instead.
"""

from __future__ import annotations

from typing import Any

from atoll.planes.coordination.frontends.etcd.node import Node, callback_route
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.wire.etcd import messages
from atoll.wire.grpc.status import Status

ONE_MEMBER = (
    "etcdserver: an embedded store has exactly one member; for more, run an etcd cluster and move there with"
    " `atoll store migrate`"
)


class Cluster:
    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> dict[str, Route]:
        fixed = ("MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote")
        return dict(
            [
                callback_route("Cluster.MemberList", self.member_list),
                *(callback_route(f"Cluster.{name}", self.refuse) for name in fixed),
            ]
        )

    def member_list(self, call: Call, request: Any) -> None:
        identity = self._node.identity
        member = messages.Member(ID=identity.member_id, name=identity.name, clientURLs=identity.client_urls)
        body: bytes = messages.MemberListResponse(members=[member]).SerializeToString()
        call.reply(self._node.header(0) + body)

    def refuse(self, call: Call, request: Any) -> None:
        call.fail(Status.UNIMPLEMENTED, ONE_MEMBER)
