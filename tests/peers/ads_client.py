"""A client of aggregated discovery over grpcio, driven by a test message by message, or left to follow by itself.

Rule: nothing of Atoll's protocol code is in it. ``follow`` asks as Envoy does and accepts everything.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import struct_pb2

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
WITHIN_S = 10.0


class AdsClient:
    """One stream on a connection of its own; ``metadata`` of its node, which only the first request has."""

    def __init__(
        self, port: int, node: str, metadata: Mapping[str, Any] | None = None, *, delta: bool = True
    ) -> None:
        self.delta = delta
        self.error: grpc.RpcError | None = None
        self.ended = threading.Event()
        self._node = discovery_pb2.DiscoveryRequest().node
        self._node.id = node
        if metadata:
            self._node.metadata.CopyFrom(struct_pb2.Struct())
            self._node.metadata.update(metadata)
        self._first = True
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[Any] = queue.SimpleQueue()
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self._channel)
        method = stub.DeltaAggregatedResources if delta else stub.StreamAggregatedResources
        self._call = method(iter(self._out.get, None))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def __enter__(self) -> AdsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, type_url: str, *, node: str = "", error: str | None = None, **fields: Any) -> None:
        """A request with these fields of it."""
        kind = discovery_pb2.DeltaDiscoveryRequest if self.delta else discovery_pb2.DiscoveryRequest
        message = kind(type_url=type_url, **fields)
        if error is not None:
            message.error_detail.message = error
        if self._first or node:
            message.node.CopyFrom(self._node)
            message.node.id = node or self._node.id
        self._first = False
        self._out.put(message)

    def hear(self, within_s: float = WITHIN_S) -> Any:
        """The next response; fails where none comes in time or the stream ends."""
        try:
            message = self._in.get(timeout=within_s)
        except queue.Empty:
            raise AssertionError(f"no response in {within_s} s") from None
        assert message is not None, f"the stream ended: {self.error}"
        return message

    def silent(self, for_s: float = 0.3) -> bool:
        """Whether nothing comes for so long."""
        try:
            return self._in.get(timeout=for_s) is None
        except queue.Empty:
            return True

    def accept(self, message: Any, names: Sequence[str] = ()) -> None:
        if self.delta:
            self.say(message.type_url, response_nonce=message.nonce)
        else:
            self.say(
                message.type_url,
                response_nonce=message.nonce,
                version_info=message.version_info,
                resource_names=names,
            )

    def refuse(self, message: Any, text: str) -> None:
        self.say(message.type_url, response_nonce=message.nonce, error=text)

    def status(self) -> grpc.StatusCode:
        """How the stream ended."""
        assert self.ended.wait(WITHIN_S), "the stream goes on"
        assert self.error is not None
        code: grpc.StatusCode = self.error.code()
        return code

    def details(self) -> str:
        self.status()
        assert self.error is not None
        return str(self.error.details())

    def close(self) -> None:
        self._out.put(None)
        self._call.cancel()
        self._channel.close()
        self._thread.join()

    def _read(self) -> None:
        try:
            for message in self._call:
                self._in.put(message)
        except grpc.RpcError as error:
            self.error = error
        self.ended.set()
        self._in.put(None)
