"""Which endpoints of a cluster may be chosen, by health, priority and panic, as its load assignment says.

Rule: it knows the health that the control plane told (EDS), not what one proxy found out by itself (outlier ejection,
active checks), and says so. The arithmetic is Envoy's: docs of "Priority levels" and "Panic threshold".
"""

from __future__ import annotations

from typing import Any

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import DEGRADED, HEALTHY, UNKNOWN, HealthStatus

from atoll.resources.mesh.explanations import Candidate

_PANIC_PERCENT = 50.0
_OVERPROVISIONING = 140


class Balance(msgspec.Struct, frozen=True):
    """``flags`` set: nothing can be chosen."""

    candidates: tuple[Candidate, ...]
    why: str
    flags: str = ""

    @property
    def refused(self) -> bool:
        return bool(self.flags)


class _Level(msgspec.Struct, frozen=True):
    """One priority: how much of what it should carry it can, in percent; ``usable`` in percent of its hosts."""

    hosts: int
    availability: float
    usable: float


def balance(cluster: Any, assignment: Any) -> Balance:
    """``assignment``: the cluster's ``ClusterLoadAssignment``."""
    hosts = [(group, each) for group in assignment.endpoints for each in group.lb_endpoints]
    if not hosts:
        return Balance((), "it has no endpoints", "UH")
    levels = _levels(assignment)
    panic = _panic_percent(cluster)
    total = min(100.0, sum(level.availability for level in levels.values()))
    loads = _loads(levels, total)
    panicking = {
        number for number, level in levels.items() if total < 100.0 and level.usable < panic and level.hosts
    }
    if total == 0.0 and not panicking:
        found = tuple(_candidate(group, each, _unhealthy(each)) for group, each in hosts)
        return Balance(found, "none of its endpoints is healthy", "UH")
    if total == 0.0:
        loads = {number: 100.0 * level.hosts / len(hosts) for number, level in levels.items()}
    found = tuple(_candidate(group, each, _excluded(group, each, loads, panicking)) for group, each in hosts)
    usable = sum(not each.excluded for each in found)
    return Balance(found, _why(cluster, found, usable, sorted(panicking)), "" if usable else "UH")


def _levels(assignment: Any) -> dict[int, _Level]:
    factor = assignment.policy.overprovisioning_factor.value or _OVERPROVISIONING
    numbers = sorted({group.priority for group in assignment.endpoints})
    levels = {}
    for number in numbers:
        mine = [
            each for group in assignment.endpoints if group.priority == number for each in group.lb_endpoints
        ]
        usable = sum(not _unhealthy(each) for each in mine)
        availability = min(100.0, factor * usable / len(mine)) if mine else 0.0
        levels[number] = _Level(len(mine), availability, 100.0 * usable / len(mine) if mine else 0.0)
    return levels


def _loads(levels: dict[int, _Level], total: float) -> dict[int, float]:
    """How much of the traffic each priority gets, in percent."""
    remaining, loads = 100.0, {}
    for number, level in levels.items():
        share = min(remaining, 100.0 * level.availability / total) if total else 0.0
        loads[number] = share
        remaining -= share
    return loads


def _panic_percent(cluster: Any) -> float:
    common = cluster.common_lb_config
    return float(
        common.healthy_panic_threshold.value if common.HasField("healthy_panic_threshold") else _PANIC_PERCENT
    )


def _unhealthy(endpoint: Any) -> str:
    if endpoint.health_status in (UNKNOWN, HEALTHY, DEGRADED):
        return ""
    return f"it is {HealthStatus.Name(endpoint.health_status).lower()}"


def _excluded(group: Any, endpoint: Any, loads: dict[int, float], panicking: set[int]) -> str:
    if loads[group.priority] <= 0:
        return f"priority {group.priority} waits until those before it are not healthy enough"
    return "" if group.priority in panicking else _unhealthy(endpoint)


def _candidate(group: Any, endpoint: Any, excluded: str) -> Candidate:
    where = group.locality
    return Candidate(
        address=address_text(endpoint.endpoint.address),
        locality="/".join(part for part in (where.region, where.zone, where.sub_zone) if part),
        priority=group.priority,
        weight=endpoint.load_balancing_weight.value or 1,
        excluded=excluded,
    )


def address_text(address: Any) -> str:
    kind = address.WhichOneof("address")
    if kind == "pipe":
        return str(address.pipe.path)
    if kind == "socket_address":
        return f"{address.socket_address.address}:{address.socket_address.port_value}"
    return str(address.envoy_internal_address.server_listener_name)


def _why(cluster: Any, found: tuple[Candidate, ...], usable: int, panicking: list[int]) -> str:
    policy = Cluster.LbPolicy.Name(cluster.lb_policy).lower().replace("_", " ")
    text = f"{usable} of {len(found)} endpoints may be chosen, by {policy}"
    if panicking:
        text += f"; fewer than {_panic_percent(cluster):g} % are healthy (panic): health is disregarded"
    if cluster.HasField("outlier_detection"):
        text += "; the proxy may have ejected some of them for their errors"
    return text
