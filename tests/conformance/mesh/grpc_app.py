"""A proxyless gRPC application, as a program: calls what standard input says, by gRPC's own xDS client.

Rule: one JSON object a line, both ways; nothing here knows what the control plane is meant to say. A program of its own
because gRPC reads its bootstrap once a process, and keeps what it learnt for all channels of it.

    {"do": "call", "target": "xds:///reviews:9080", "method": "/atoll.test.Echo/Say", "metadata": [["user", "jason"]],
     "count": 20, "within_s": 5, "secure": false}                 -> {"answers": [{"code": 0, ...}, ...]}
    {"do": "serve", "port": 9080, "name": "v1", "secure": true}   -> {"port": 9080}

``secure``: the credentials of the xDS control plane (certificates by its providers), plaintext where it sends none.
``roots``: a file of certificates; TLS of a server outside the mesh. ``authority``: instead of the target's.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent import futures
from typing import Any

import grpc
from grpc import experimental

_CHANNELS: dict[tuple[str, str, bool, str], grpc.Channel] = {}
_SERVERS: list[grpc.Server] = []
_THREADS = 8


def same(message: bytes) -> bytes:
    return message


def channel(asked: dict[str, Any]) -> grpc.Channel:
    """One for each kind of call, kept: what it learnt of the mesh and its connections stay."""
    target, authority, secure = asked["target"], asked.get("authority", ""), asked.get("secure", False)
    key = target, authority, secure, asked.get("roots", "")
    if key not in _CHANNELS:
        options = (("grpc.default_authority", authority),) if authority else ()
        credentials = experimental.insecure_channel_credentials()
        if "roots" in asked:
            with open(asked["roots"], "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
        if secure:
            credentials = grpc.xds_channel_credentials(credentials)
        _CHANNELS[key] = grpc.secure_channel(target, credentials, options)
    return _CHANNELS[key]


def call(asked: dict[str, Any]) -> dict[str, Any]:
    """``parallel``: so many calls are under way at a time."""
    one = channel(asked)
    with futures.ThreadPoolExecutor(asked.get("parallel", 1)) as pool:
        return {"answers": list(pool.map(lambda _: _one_call(one, asked), range(asked.get("count", 1))))}


def _one_call(one: grpc.Channel, asked: dict[str, Any]) -> dict[str, Any]:
    method = one.unary_unary(asked["method"], request_serializer=same, response_deserializer=same)
    metadata = tuple(map(tuple, asked.get("metadata", ())))
    message = asked.get("message", "").encode()
    began_s = time.monotonic()
    try:
        content, rpc = method.with_call(message, metadata=metadata, timeout=asked.get("within_s", 5.0))
    except grpc.RpcError as error:
        took_s = time.monotonic() - began_s
        return {"code": error.code().value[0], "text": error.details(), "took_s": took_s, "headers": {}}
    took_s = time.monotonic() - began_s
    headers = {name: str(value) for name, value in (*rpc.initial_metadata(), *rpc.trailing_metadata())}
    return {"code": 0, "echo": json.loads(content), "took_s": took_s, "headers": headers}


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self._name = name

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        headers = {name: str(value) for name, value in details.invocation_metadata}
        echo = {"backend": self._name, "protocol": "grpc", "path": details.method, "headers": headers}

        def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
            peers = [each.decode() for each in context.peer_identities() or ()]
            return json.dumps(echo | {"body": message.decode(), "peers": peers}).encode()

        return grpc.unary_unary_rpc_method_handler(answer, same, same)


def serve(asked: dict[str, Any]) -> dict[str, Any]:
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), (_Echo(asked["name"]),), xds=True)
    address = f"127.0.0.1:{asked['port']}"
    if asked.get("secure", False):
        server.add_secure_port(address, grpc.xds_server_credentials(grpc.insecure_server_credentials()))
    else:
        server.add_insecure_port(address)
    server.start()
    _SERVERS.append(server)
    return {"port": asked["port"]}


def main() -> None:
    does = {"call": call, "serve": serve}
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(does[asked["do"]](asked)), flush=True)


if __name__ == "__main__":
    main()
