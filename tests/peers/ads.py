"""A control plane of tests: serves the resources that it is given, over ADS by state of the world, to whoever asks.

Rule: deliberately dumb and not Atoll's: what a test of the launcher needs from a control plane is that it answers, that it
can be changed, stopped and started again, and that it remembers what was refused. By grpcio, with the messages of xds-protos.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_URL = "type.googleapis.com/envoy.config."
KINDS = {
    f"{_URL}cluster.v3.Cluster": (cluster_pb2.Cluster, "name"),
    f"{_URL}endpoint.v3.ClusterLoadAssignment": (endpoint_pb2.ClusterLoadAssignment, "cluster_name"),
    f"{_URL}listener.v3.Listener": (listener_pb2.Listener, "name"),
    f"{_URL}route.v3.RouteConfiguration": (route_pb2.RouteConfiguration, "name"),
}
INSIDE = (router_pb2, http_connection_manager_pb2)  # what is packed in them must be known to be parsed
THREADS_MAX = 16
STOP_WITHIN_S = 5.0

Resource = Mapping[str, Any]


class Ads:
    """``port`` 0 lets the system choose; the same port is taken again after ``stop`` and ``start``."""

    def __init__(self, *resources: Resource, port: int = 0) -> None:
        self.port = port
        self.refused: list[str] = []
        self.nodes: list[Any] = []
        self._version = 0
        self._resources: dict[str, dict[str, Any]] = {}
        self._streams: list[queue.Queue[Any]] = []
        self._server: Any = None
        self.serve(*resources)

    def serve(self, *resources: Resource) -> None:
        """From now on these, and no others. Each names its ``@type``."""
        found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        for each in resources:
            kind = str(each["@type"])
            message, key = KINDS[kind]
            body = json_format.ParseDict({k: v for k, v in each.items() if k != "@type"}, message())
            found[kind][getattr(body, key)] = body
        self._resources = found
        self._version += 1
        for stream in list(self._streams):
            stream.put("changed")

    def start(self) -> Ads:
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        service, method = METHOD.strip("/").split("/")
        self._server = grpc.server(ThreadPoolExecutor(THREADS_MAX))
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {method: handler})]
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()
        return self

    def stop(self) -> None:
        for stream in list(self._streams):
            stream.put(None)
        if self._server is not None:
            self._server.stop(0).wait(STOP_WITHIN_S)

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        inbox: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=_read, args=(requests, inbox), daemon=True).start()
        self._streams.append(inbox)
        asked: dict[str, tuple[str, ...]] = {}
        try:
            while (event := inbox.get()) is not None:
                if event == "changed":
                    for kind in KINDS:
                        if kind in asked:
                            yield self._answer(kind, asked[kind])
                    continue
                if event.node.id:
                    self.nodes.append(event.node)
                if event.HasField("error_detail"):
                    self.refused.append(event.error_detail.message)
                names = tuple(sorted(event.resource_names))
                if asked.get(event.type_url) != names and event.type_url in KINDS:
                    asked[event.type_url] = names
                    yield self._answer(event.type_url, names)
        finally:
            self._streams.remove(inbox)

    def _answer(self, kind: str, names: tuple[str, ...]) -> Any:
        found = self._resources[kind]
        chosen = [found[name] for name in names if name in found] if names else list(found.values())
        response = discovery_pb2.DiscoveryResponse(
            version_info=str(self._version), type_url=kind, nonce=str(self._version)
        )
        for each in chosen:
            response.resources.add().Pack(each)
        return response


def _read(requests: Iterator[Any], inbox: queue.Queue[Any]) -> None:
    """Up to the end of the stream, however it comes."""
    try:
        for request in requests:
            inbox.put(request)
    except grpc.RpcError:
        pass
    inbox.put(None)
