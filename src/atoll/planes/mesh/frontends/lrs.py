"""Load reporting over gRPC, a stream beside that of discovery (LRS).

Rule: a client is told once how often and of what to report, everything; what it then says is summed up by ``Loads``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError

from atoll.errors import AtollError, Code
from atoll.planes.mesh.frontends.xds import HELLO_S_MAX, Visitors
from atoll.planes.mesh.service.loads import Load, Loads
from atoll.runtime import loop
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route, streaming
from atoll.wire.xds.messages import node_of

PATH = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"


class Lrs:
    """``interval_s``: between two reports."""

    def __init__(self, loads: Loads, visitors: Visitors, interval_s: float = 10.0) -> None:
        self._loads = loads
        self._visitors = visitors
        interval = duration_pb2.Duration()
        interval.FromMilliseconds(int(interval_s * 1_000))
        answer = lrs_pb2.LoadStatsResponse(send_all_clusters=True, load_reporting_interval=interval)
        self._answer: bytes = answer.SerializeToString()

    @property
    def routes(self) -> Mapping[str, Route]:
        return {PATH: streaming(self._serve)}

    async def _serve(self, call: Call) -> None:
        async with loop.bounded(HELLO_S_MAX, "the first request of a stream of load reports"):
            message = await call.receive()
        if message is None:
            return
        first = _read(message)
        node = node_of(first.node)
        self._visitors.client(call.peer, node)
        self._loads.open(node.id)
        try:
            self._loads.report(node.id, _loads(first))
            await call.send(self._answer)
            async for message in call.messages():
                self._loads.report(node.id, _loads(_read(message)))
        finally:
            self._loads.close(node.id)


def _read(message: bytes) -> Any:
    try:
        return lrs_pb2.LoadStatsRequest.FromString(message)
    except DecodeError as error:
        raise AtollError(Code.INVALID, f"not a LoadStatsRequest: {error}") from error


def _loads(request: Any) -> dict[tuple[str, str], Load]:
    loads: dict[tuple[str, str], Load] = {}
    for cluster in request.cluster_stats:
        if cluster.total_dropped_requests:
            loads[cluster.cluster_name, ""] = Load(dropped=cluster.total_dropped_requests)
        for said in cluster.upstream_locality_stats:
            place = said.locality
            where = "/".join(part for part in (place.region, place.zone, place.sub_zone) if part)
            load = Load(
                said.total_successful_requests,
                said.total_error_requests,
                said.total_issued_requests,
                said.total_requests_in_progress,
            )
            loads.setdefault((cluster.cluster_name, where), Load()).add(load)
    return loads
