"""How a cluster picks one of its endpoints.

Rule: as a DestinationRule says; where it says nothing, the less busy one of two that are picked at random, as in Istio.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.type.v3 import percent_pb2

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Face
from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.outbound import localities
from atoll.planes.mesh.policy.compiler.outbound.targets import Spread
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.destination_rule import (
    ConsistentHash,
    LoadBalancer,
    LocalityLb,
    TrafficPolicy,
    Warmup,
)

Cluster = cluster_pb2.Cluster

_SIMPLE = {
    None: Cluster.LEAST_REQUEST,
    "UNSPECIFIED": Cluster.LEAST_REQUEST,
    "PASSTHROUGH": Cluster.LEAST_REQUEST,
    "LEAST_REQUEST": Cluster.LEAST_REQUEST,
    "LEAST_CONN": Cluster.LEAST_REQUEST,
    "ROUND_ROBIN": Cluster.ROUND_ROBIN,
    "RANDOM": Cluster.RANDOM,
}
_RING_MAX = 8_388_608  # Envoy's bound


def set_balancer(cluster: Any, balancer: LoadBalancer) -> None:
    """``simple: PASSTHROUGH`` comes here only where nothing was dialled that could be passed through."""
    if balancer.consistentHash is not None:
        _set_hash(cluster, balancer.consistentHash)
    else:
        cluster.lb_policy = _SIMPLE[balancer.simple]
    if balancer.warmup is not None:
        _set_warmup(cluster, balancer.warmup)


def _set_hash(cluster: Any, said: ConsistentHash) -> None:
    if said.maglev is not None:
        cluster.lb_policy = Cluster.MAGLEV
        cluster.maglev_lb_config.table_size.value = said.maglev.tableSize
        return
    cluster.lb_policy = Cluster.RING_HASH
    if said.ringHash is not None:
        cluster.ring_hash_lb_config.minimum_ring_size.value = said.ringHash.minimumRingSize
        cluster.ring_hash_lb_config.maximum_ring_size.value = _RING_MAX


def _set_warmup(cluster: Any, said: Warmup) -> None:
    """A new endpoint gets more and more; only these two balancers can do it."""
    slow = Cluster.SlowStartConfig(slow_start_window=messages.duration(said.duration))
    if said.minimumPercent is not None:
        slow.min_weight_percent.CopyFrom(percent_pb2.Percent(value=said.minimumPercent))
    if said.aggression is not None:
        slow.aggression.default_value = said.aggression
        slow.aggression.runtime_key = "atoll.warmup.aggression"
    if cluster.lb_policy == Cluster.ROUND_ROBIN:
        cluster.round_robin_lb_config.slow_start_config.CopyFrom(slow)
    elif cluster.lb_policy == Cluster.LEAST_REQUEST:
        cluster.least_request_lb_config.slow_start_config.CopyFrom(slow)


def spread_for(policy: TrafficPolicy, client: Client, face: Face, policies: Policies) -> Spread | None:
    """How localities count for ``client``; None: they do not. Fail-over needs outlier detection to know what is down,
    unless it is asked for by name.
    """
    said = policy.loadBalancer.localityLbSetting if policy.loadBalancer is not None else None
    if said is not None and said.enabled is False:
        return None
    for each in said.distribute if said is not None and face.localities else ():
        if localities.matches(each.from_, client.locality):
            return Spread(client.locality, shares=tuple(each.to.items()))
    asked = said is not None and said.enabled is True
    if not asked and policy.outlierDetection is None:
        return None
    by_label = said is not None and bool(said.failoverPriority)
    if not face.localities and not by_label:
        return None
    return _failover(said or LocalityLb(), client, policies.workload(client).labels)


def _failover(said: LocalityLb, client: Client, labels: Mapping[str, str]) -> Spread:
    by_label = []
    for each in said.failoverPriority:
        name, equals, value = each.partition("=")
        own = localities.label_of((dict(labels), client.locality), name)
        by_label.append((name, value if equals else own))
    failover = tuple((each.from_, each.to) for each in said.failover)
    return Spread(client.locality, failover=failover, labels=tuple(by_label))
