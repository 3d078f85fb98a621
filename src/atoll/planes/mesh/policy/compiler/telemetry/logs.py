"""Access logs: one line of JSON a request or connection, in a file of the proxy's machine or to an OpenTelemetry collector.

Rule: both say the same under the same names. ``route_name`` has the version of the document that routed the request, so
that what a change did is seen in the traffic itself; ``peer`` is the identity that TLS proved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf import struct_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.telemetry import collector
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.telemetry import COMPARISON, LogFilter

FIELDS: Mapping[str, str] = {
    "start_time": "%START_TIME%",
    "authority": "%REQ(:AUTHORITY)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "grpc_status": "%GRPC_STATUS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_service_time_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "user_agent": "%REQ(USER-AGENT)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "route_name": "%ROUTE_NAME%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_host": "%UPSTREAM_HOST%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "audited": "%DYNAMIC_METADATA(envoy.common:access_log_hint)%",
}
STDOUT = "/dev/stdout"
_STDOUT = "envoy.access_loggers.stdout"
_FILE, _COLLECTOR = "envoy.access_loggers.file", "envoy.access_loggers.open_telemetry"
_Filter, _Comparison = accesslog_pb2.AccessLogFilter, accesslog_pb2.ComparisonFilter


def to_file(path: str, condition: LogFilter | None) -> Any:
    fields = struct_pb2.Struct()
    fields.update(FIELDS)
    line = substitution_format_string_pb2.SubstitutionFormatString(json_format=fields, omit_empty_values=True)
    if path == STDOUT:  # which may be a socket, and cannot be opened as a file then
        return _log(_STDOUT, stream_pb2.StdoutAccessLog(log_format=line), condition)
    return _log(_FILE, file_pb2.FileAccessLog(path=path, log_format=line), condition)


def to_collector(client: Client, condition: LogFilter | None) -> Any:
    config = logs_service_pb2.OpenTelemetryAccessLogConfig(
        common_config={
            "log_name": "atoll",
            "grpc_service": collector.grpc_service(),
            "transport_api_version": "V3",
        },
        resource_attributes=_attributes({"service.name": collector.service_name(client)}),
        attributes=_attributes(FIELDS),
    )
    return _log(_COLLECTOR, config, condition)


def condition_of(expression: str) -> Any:
    """Envoy's filter of ``a && b || c``: ``&&`` binds closer."""
    alternatives = [
        _joined("and_filter", [_compared(part) for part in re.split(r"&&", one)])
        for one in re.split(r"\|\|", expression)
    ]
    return _joined("or_filter", alternatives)


def _log(name: str, config: Any, condition: LogFilter | None) -> Any:
    return accesslog_pb2.AccessLog(
        name=name,
        typed_config=messages.packed(config),
        filter=None if condition is None else condition_of(condition.expression),
    )


def _joined(field: str, filters: list[Any]) -> Any:
    if len(filters) == 1:
        return filters[0]
    return _Filter(**{field: {"filters": filters}})


def _compared(text: str) -> Any:
    found = COMPARISON.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no comparison: the document was not checked")
    how, number = found["how"], int(found["number"])
    if how == "<" and number == 0:
        how, number = ">", _LARGEST  # nothing is below zero
    operator, value = {
        ">=": (_Comparison.GE, number),
        "<=": (_Comparison.LE, number),
        "==": (_Comparison.EQ, number),
        "!=": (_Comparison.NE, number),
        ">": (_Comparison.GE, number + 1),
        "<": (_Comparison.LE, number - 1),
    }[how]
    comparison = _Comparison(
        op=operator, value=base_pb2.RuntimeUInt32(default_value=value, runtime_key="atoll.never_set")
    )
    if found["what"] == "response.code":
        return _Filter(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=comparison))
    return _Filter(duration_filter=accesslog_pb2.DurationFilter(comparison=comparison))


_LARGEST = 0xFFFF_FFFE


def _attributes(said: Mapping[str, str]) -> Mapping[str, Any]:
    """An OpenTelemetry ``KeyValueList``."""
    return {"values": [{"key": name, "value": {"string_value": said[name]}} for name in sorted(said)]}
