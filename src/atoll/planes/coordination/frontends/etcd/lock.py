"""Lock: hold a name until unlocked or until the lease ends.

One rule: the key that proves the lock is ``name/`` and the lease in lower-case hexadecimal; a call that is
cancelled while it waits takes its key back. Failures are UNKNOWN with etcd's text, as etcd's own lock service,
which is a client of its own server, lets them through.
"""

from __future__ import annotations

from typing import Any

from atoll.planes.coordination.frontends.etcd.errors import internal_status_of
from atoll.planes.coordination.frontends.etcd.node import Node, Refused, task_route
from atoll.planes.coordination.frontends.etcd.queue import Queue
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.store import api
from atoll.wire.etcd import messages
from atoll.wire.grpc.status import Status


class Lock:
    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> dict[str, Route]:
        return dict(
            [
                task_route("Lock.Lock", self.lock, internal_status_of),
                task_route("Lock.Unlock", self.unlock, internal_status_of),
            ]
        )

    async def lock(self, call: Call, request: Any) -> bytes:
        """Returns once the lock is held."""
        queue = Queue(self._node, call)
        place = await queue.join(request.name, request.lease, b"")
        revision = place.header_revision
        held = place.is_first
        try:
            if not held:
                revision = await queue.wait(place)
                held = revision > 0
        finally:
            if not held:
                queue.leave_soon(place)
        if not held:
            raise Refused(Status.UNKNOWN, "mutex: session is expired")  # etcd 3.5's words; 3.4 says success
        body: bytes = messages.LockResponse(key=place.key).SerializeToString()
        return self._node.header(revision) + body

    async def unlock(self, call: Call, request: Any) -> bytes:
        """Unlocking what is not locked is no error."""
        result = await Queue(self._node, call).decide(api.Delete(request.key))
        return self._node.header(result.revision)
