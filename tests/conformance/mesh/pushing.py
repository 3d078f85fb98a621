"""A dumb xDS server: the state of the world to one client, over grpcio, telling what the client refused.

Rule: nothing of Atoll's own protocol code is in it, so that what a real Envoy says of compiled resources is not a matter of
ours. One snapshot at a time; ``push`` returns when the client has answered to everything that it asked for.

It listens at a Unix socket, so that the client may be in a network namespace of its own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2

from atoll.wire.xds.snapshot import EMPTY, Snapshot, Type
from tests.waiting import wait_until

ANSWER_WITHIN_S = 60.0
_REFUSED = (("", "refused"),)  # no resources are that: whatever comes next is sent
_WILDCARD = (Type.CLUSTER, Type.LISTENER)


@dataclass
class _Asked:
    """One type on the stream. ``sent``: nonce of the newest response, ``answered`` that of the newest answer."""

    names: frozenset[str] = frozenset()
    sent: str = ""
    answered: str = ""
    content: tuple[tuple[str, str], ...] = ()


@dataclass
class Refusal:
    type: Type
    text: str


@dataclass
class _Stream:
    outbox: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    asked: dict[Type, _Asked] = field(default_factory=dict)


class AdsServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._lock = threading.Lock()
        self._snapshot: Snapshot = EMPTY
        self._stream: _Stream | None = None
        self._count = 0
        self._refused: list[Refusal] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{socket}")

    def start(self) -> AdsServer:
        self._server.start()
        return self

    def stop(self) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.outbox.put(None)
        self._server.stop(1).wait()

    def push(self, snapshot: Snapshot) -> list[Refusal]:
        """Let the client have ``snapshot``; what it refused of it."""
        with self._lock:
            self._snapshot = snapshot
            self._refused = []
            if self._stream is not None:
                for kind in Type:
                    self._send(self._stream, kind)
        wait_until(self._is_settled, ANSWER_WITHIN_S, f"answers to a snapshot: {self._standing()}")
        with self._lock:
            return list(self._refused)

    # ------------------------------------------------------------------------------------------ the stream

    def StreamAggregatedResources(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        stream = _Stream()
        with self._lock:
            self._stream = stream
        threading.Thread(target=self._read, args=(stream, requests), daemon=True).start()
        while True:
            response = stream.outbox.get()
            if response is None:
                return
            yield response

    def _read(self, stream: _Stream, requests: Iterator[Any]) -> None:
        try:
            for request in requests:
                with self._lock:
                    self._on_request(stream, request)
        except grpc.RpcError:
            stream.outbox.put(None)

    def _on_request(self, stream: _Stream, request: Any) -> None:
        try:
            kind = Type(request.type_url)
        except ValueError:
            return
        asked = stream.asked.setdefault(kind, _Asked())
        if request.response_nonce and request.response_nonce == asked.sent:
            asked.answered = asked.sent
            if request.HasField("error_detail"):
                self._refused.append(Refusal(kind, request.error_detail.message))
                asked.content = _REFUSED
        names = frozenset(request.resource_names)
        if names != asked.names or not asked.sent:
            asked.names = names
            asked.content = ()
            self._send(stream, kind)

    def _send(self, stream: _Stream, kind: Type) -> None:
        """The type's resources that were asked for, unless they are what was sent last."""
        asked = stream.asked.get(kind)
        if asked is None or (kind not in _WILDCARD and not asked.names):
            return  # who wants nothing of a type any more does not answer either
        found = [one for one in self._snapshot.of(kind).values() if self._is_wanted(kind, asked, one.name)]
        content = tuple((one.name, one.version) for one in found)
        clusters = kind is Type.ENDPOINTS and self._sent_clusters_changed(stream)
        if content == asked.content and asked.sent and not clusters:
            return
        self._count += 1
        asked.sent, asked.content = str(self._count), content
        bodies = [any_pb2.Any(type_url=kind.value, value=one.body) for one in found]
        stream.outbox.put(
            discovery_pb2.DiscoveryResponse(
                version_info=asked.sent, nonce=asked.sent, type_url=kind.value, resources=bodies
            )
        )

    def _sent_clusters_changed(self, stream: _Stream) -> bool:
        """A cluster that was updated asks for its endpoints again, with the same names."""
        clusters, endpoints = stream.asked.get(Type.CLUSTER), stream.asked.get(Type.ENDPOINTS)
        return bool(clusters and endpoints and int(clusters.sent or 0) > int(endpoints.sent or 0))

    def _is_wanted(self, kind: Type, asked: _Asked, name: str) -> bool:
        return kind in _WILDCARD or name in asked.names

    def _is_settled(self) -> bool:
        with self._lock:
            if self._stream is None:
                return False
            if self._refused:
                return True
            asked: Mapping[Type, _Asked] = self._stream.asked
            wildcards = all(kind in asked and asked[kind].sent for kind in _WILDCARD)
            answered = all(
                each.answered == each.sent or (kind not in _WILDCARD and not each.names)
                for kind, each in asked.items()
            )
            named = all(
                not self._snapshot.of(kind)
                or (kind in asked and asked[kind].names >= set(self._snapshot.of(kind)))
                for kind in (Type.ENDPOINTS, Type.ROUTE)
            )
            return wildcards and answered and named

    def _standing(self) -> str:
        with self._lock:
            if self._stream is None:
                return "no client came"
            return ", ".join(
                f"{kind.name} sent {each.sent} answered {each.answered} names {sorted(each.names)[:5]}"
                for kind, each in self._stream.asked.items()
            )


def bootstrap(node: Mapping[str, Any], socket: Path) -> dict[str, Any]:
    """Of an Envoy that gets everything from an ``AdsServer``."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        options: {
            "@type": f"type.googleapis.com/{options}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    ads = {"ads": {}, "resource_api_version": "V3"}
    cluster = {
        "name": "ads",
        "type": "STATIC",
        "typed_extension_protocol_options": http2,
        "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    services = [{"envoy_grpc": {"cluster_name": "ads"}}]
    config = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services}
    return {
        "node": dict(node),
        "dynamic_resources": {"ads_config": config, "cds_config": ads, "lds_config": ads},
        "static_resources": {"clusters": [cluster]},
    }
