"""Limits of a cluster: how much of it may be in use, how long connections live, and which endpoints are left out.

Rule: as a DestinationRule says. Where it says nothing there is no limit on connections and requests (Envoy's own would
be 1024, unannounced), but one on retries: a budget, so that an outage is not made worse by trying again.
"""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, outlier_detection_pb2
from envoy.type.v3 import percent_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.resources.mesh.documents.destination_rule import (
    HttpPool,
    OutlierDetection,
    RetryBudget,
    TcpPool,
    TrafficPolicy,
)

_UNLIMITED = 4_294_967_295
_ALL = 100  # percent

Thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds


def circuit_breakers(policy: TrafficPolicy) -> Any:
    pool = policy.connectionPool
    tcp = (pool.tcp if pool is not None else None) or TcpPool()
    http = (pool.http if pool is not None else None) or HttpPool()
    limits = Thresholds(
        max_connections=messages.uint32(tcp.maxConnections or _UNLIMITED),
        max_pending_requests=messages.uint32(http.http1MaxPendingRequests or _UNLIMITED),
        max_requests=messages.uint32(http.http2MaxRequests or _UNLIMITED),
        track_remaining=True,
    )
    if http.maxRetries is not None and policy.retryBudget is None:
        limits.max_retries.value = http.maxRetries
    else:
        budget = policy.retryBudget or RetryBudget()
        limits.retry_budget.budget_percent.CopyFrom(percent_pb2.Percent(value=budget.percent))
        limits.retry_budget.min_retry_concurrency.value = budget.minRetryConcurrency
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[limits])


def outlier_detection(said: OutlierDetection) -> Any:
    """Success rates are not looked at, as in Istio; what is counted is what the document names, and five 5xx in a row
    where it names nothing. One endpoint can be left out however few there are.
    """
    result = outlier_detection_pb2.OutlierDetection(
        enforcing_success_rate=messages.uint32(0),
        split_external_local_origin_errors=said.splitExternalLocalOriginErrors,
        always_eject_one_host=messages.boolean(True),
    )
    _count(result, "consecutive_5xx", said.consecutive5xxErrors)
    _count(result, "consecutive_gateway_failure", said.consecutiveGatewayErrors)
    if said.splitExternalLocalOriginErrors:
        _count(result, "consecutive_local_origin_failure", said.consecutiveLocalOriginFailures)
        result.enforcing_local_origin_success_rate.value = 0
    if said.interval is not None:
        result.interval.CopyFrom(messages.duration(said.interval))
    if said.baseEjectionTime is not None:
        result.base_ejection_time.CopyFrom(messages.duration(said.baseEjectionTime))
    if said.maxEjectionPercent is not None:
        result.max_ejection_percent.value = said.maxEjectionPercent
    return result


def _count(result: Any, name: str, in_a_row: int | None) -> None:
    """0 turns the count off."""
    if in_a_row is None:
        return
    getattr(result, f"enforcing_{name}").value = _ALL if in_a_row else 0
    if in_a_row:
        getattr(result, name).value = in_a_row
