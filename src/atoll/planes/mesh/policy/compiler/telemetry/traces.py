"""Traces: spans of the proxy's HTTP connection managers, to the OpenTelemetry collector.

Rule: a request that a caller has decided to trace is traced; of the others a share. The application passes the context
on (``traceparent``), the proxy cannot know which of its calls belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.telemetry import collector
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.telemetry import CustomTag

PROVIDER = "envoy.tracers.opentelemetry"
_Tag = custom_tag_pb2.CustomTag
_ROUTE = _Tag(tag="mesh.route", value="%ROUTE_NAME%")
_PEER = _Tag(tag="mesh.peer", value="%DOWNSTREAM_PEER_URI_SAN%")


def tracing(client: Client, percent: float, tags: Mapping[str, CustomTag]) -> Any:
    config = opentelemetry_pb2.OpenTelemetryConfig(
        grpc_service=collector.grpc_service(), service_name=collector.service_name(client)
    )
    return http_connection_manager_pb2.HttpConnectionManager.Tracing(
        random_sampling=percent_pb2.Percent(value=percent),
        overall_sampling=percent_pb2.Percent(value=100),
        client_sampling=percent_pb2.Percent(value=100),
        custom_tags=[*(_tag(name, tags[name]) for name in sorted(tags)), _ROUTE, _PEER],
        provider=http_tracer_pb2.Tracing.Http(name=PROVIDER, typed_config=messages.packed(config)),
    )


def _tag(name: str, said: CustomTag) -> Any:
    if said.literal is not None:
        return _Tag(tag=name, literal=_Tag.Literal(value=said.literal.value))
    if said.environment is not None:
        found = said.environment
        return _Tag(tag=name, environment=_Tag.Environment(name=found.name, default_value=found.defaultValue))
    if said.header is None:
        raise ValueError(f"tag {name} says nothing: the document was not checked")
    return _Tag(
        tag=name, request_header=_Tag.Header(name=said.header.name, default_value=said.header.defaultValue)
    )
