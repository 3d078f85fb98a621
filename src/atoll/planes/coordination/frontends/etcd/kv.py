"""KV: Range, Put, DeleteRange, Txn, Compact. The hot path of the API: callbacks, no coroutine, one pass.

One rule: this module translates; the gate asks for permission, the store decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atoll.planes.coordination.frontends.etcd.node import Node, callback_route
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.store import api, etcd_messages
from atoll.wire.etcd import messages

_RangeResponse = messages.RangeResponse
_PutResponse = messages.PutResponse


class Kv:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._gate = node.gate

    def routes(self) -> dict[str, Route]:
        return dict(
            [
                callback_route("KV.Range", self.range),
                callback_route("KV.Put", self.put),
                callback_route("KV.DeleteRange", self.delete_range),
                callback_route("KV.Txn", self.txn),
                callback_route("KV.Compact", self.compact),
            ]
        )

    def range(self, call: Call, message: Any) -> None:
        self._decide(call, etcd_messages.range_of(message), self._range_response)

    def put(self, call: Call, message: Any) -> None:
        self._decide(call, etcd_messages.put_of(message), self._put_response)

    def delete_range(self, call: Call, message: Any) -> None:
        self._decide(call, etcd_messages.delete_of(message), self._delete_response)

    def txn(self, call: Call, message: Any) -> None:
        self._decide(call, etcd_messages.txn_of(message), self._txn_response)

    def compact(self, call: Call, message: Any) -> None:
        """History is forgotten before the answer; ``physical`` therefore changes nothing."""
        self._gate.authority.require_known(self._gate.user_of(call))
        request = api.Compact(message.revision, message.physical)
        self._gate.submit(request, self._node.answer(call, lambda result: self._node.header(result.revision)))

    def _decide(self, call: Call, request: api.Operation, make: Callable[[Any], bytes]) -> None:
        self._gate.decide(call, request, self._node.answer(call, make))

    def _range_response(self, result: api.RangeResult) -> bytes:
        body: bytes = etcd_messages.range_response(result, None).SerializeToString()
        return self._node.header(result.revision) + body

    def _put_response(self, result: api.PutResult) -> bytes:
        header = self._node.header(result.revision)
        if result.prev is None:
            return header
        body: bytes = etcd_messages.put_response(result, None).SerializeToString()
        return header + body

    def _delete_response(self, result: api.DeleteResult) -> bytes:
        body: bytes = etcd_messages.delete_response(result, None).SerializeToString()
        return self._node.header(result.revision) + body

    def _txn_response(self, result: api.TxnResult) -> bytes:
        body: bytes = etcd_messages.txn_response(result, None).SerializeToString()
        return self._node.header(result.revision) + body
