"""An OpenTelemetry collector for tests: takes traces and logs over OTLP (gRPC) and keeps them.

The messages that come with xds-protos are of an older OTLP, whose ``instrumentation_library_spans`` are today's
``scope_spans``: the same field of the same shape under another name.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

_SERVICE = "opentelemetry.proto.collector.{0}.v1.{1}Service"


class Collector:
    """``spans`` and ``records``: as they came, each with the attributes of its resource as ``resource.NAME``."""

    def __init__(self) -> None:
        self.spans: list[dict[str, str]] = []
        self.records: list[dict[str, str]] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        traces: Any = trace_service_pb2
        logs: Any = logs_service_pb2
        self._add("trace", "Trace", traces.ExportTraceServiceRequest, self._on_spans)
        self._add("logs", "Logs", logs.ExportLogsServiceRequest, self._on_logs)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Collector:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop(0).wait()

    def _add(self, folder: str, name: str, request: Any, take: Any) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            take, request_deserializer=request.FromString, response_serializer=lambda _: b""
        )
        service = _SERVICE.format(folder, name)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Export": handler}),)
        )

    def _on_spans(self, request: Any, context: Any) -> None:
        for group in request.resource_spans:
            about = _named(group.resource.attributes, "resource.")
            for scope in group.instrumentation_library_spans:
                for span in scope.spans:
                    identity = {"name": span.name, "trace_id": span.trace_id.hex()}
                    self.spans.append(about | _named(span.attributes) | identity)

    def _on_logs(self, request: Any, context: Any) -> None:
        for group in request.resource_logs:
            about = _named(group.resource.attributes, "resource.")
            for scope in group.instrumentation_library_logs:
                self.records += [about | _named(record.attributes) for record in scope.logs]


def _named(attributes: Any, prefix: str = "") -> dict[str, str]:
    return {prefix + each.key: str(each.value.string_value) for each in attributes}
