"""The nodes of the cluster over the registry's own API: who is there, and under which addresses."""

from __future__ import annotations

from atoll.planes.registry.frontends.rest.door import Call, Door, administering, get
from atoll.resources.naming_api import MemberShown
from atoll.runtime.http_api import Endpoint
from atoll.store.peers import Peers


class MembersApi:
    def __init__(self, peers: Peers, door: Door) -> None:
        self._peers = peers
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        every = get("/v1/members", "The nodes of the cluster.", self.every, list[MemberShown])
        return [self._door.guarded(administering, every)]

    async def every(self, call: Call) -> list[MemberShown]:
        return [
            MemberShown(
                node=each.node,
                me=each.node == self._peers.node_id,
                nodes=each.nodes,
                nacos=each.nacos,
                nacos_grpc=each.nacos_grpc,
                release=each.release,
            )
            for each in self._peers.members()
        ]
