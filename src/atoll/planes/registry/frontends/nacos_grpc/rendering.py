"""Services as gRPC clients read them: encoded once for all who are given the same list.

Rule: the JSON of the hosts lives as long as the list stays the same, the body of a push as long as its answer; what is
different for each subscriber is the request's id alone, which the envelope puts in front.
"""

from __future__ import annotations

import msgspec

from atoll.planes.registry.model.naming import Hosts, ServiceInfo
from atoll.resources import instance as instances
from atoll.resources.instance import Instance
from atoll.resources.service import ServiceKey
from atoll.wire.nacos import answers, service_info
from atoll.wire.nacos.service_info import Head, Host

CACHE_MS = 10_000

_PUSH = "nacos-grpc push"
_HOSTS = "nacos hosts"


def hosts_json(key: ServiceKey, selected: Hosts) -> bytes:
    """The JSON list of the hosts."""
    found: bytes | None = selected.memo.get(_HOSTS)
    if found is None:
        grouped = key.grouped
        found = service_info.hosts(host(key, grouped, each) for each in selected.hosts)
        selected.memo[_HOSTS] = found
    return found


def host(key: ServiceKey, grouped: str, instance: Instance) -> Host:
    metadata = instance.metadata
    plain = not metadata
    return Host(
        instance_id=instances.id_text(key, instance),
        ip=instance.ip,
        port=instance.port,
        weight=instance.weight,
        healthy=instance.healthy,
        enabled=instance.enabled,
        ephemeral=instance.ephemeral,
        cluster_name=instance.cluster,
        service_name=grouped,
        metadata=metadata,
        instance_heart_beat_interval=service_info.BEAT_INTERVAL_MS
        if plain
        else instances.beat_time_ms(instance, instances.BEAT_INTERVAL, service_info.BEAT_INTERVAL_MS),
        instance_heart_beat_time_out=service_info.BEAT_TIMEOUT_MS
        if plain
        else instances.beat_time_ms(instance, instances.BEAT_TIMEOUT, service_info.BEAT_TIMEOUT_MS),
        ip_delete_timeout=service_info.DELETE_TIMEOUT_MS
        if plain
        else instances.beat_time_ms(instance, instances.DELETE_TIMEOUT, service_info.DELETE_TIMEOUT_MS),
        instance_id_generator=metadata.get(instances.ID_GENERATOR, "simple"),
    )


def info_json(info: ServiceInfo, clusters: str) -> bytes:
    """``clusters`` as the client spelled them."""
    head = Head(
        name=info.key.name,
        group=info.key.group,
        clusters=clusters,
        cache_ms=CACHE_MS,
        last_ref_time_ms=info.last_ref_time_ms,
        protected=info.protected,
    )
    return service_info.service_info(head, hosts_json(info.key, info.selected))


def push_body(info: ServiceInfo, namespace: str, clusters: str) -> bytes:
    """A NotifySubscriberRequest without its request id. ``namespace`` and ``clusters`` as the client spelled them."""
    kept = info.hosts_memo.get(_PUSH)
    if kept is None or kept[0] is not info:
        kept = (info, {})
        info.hosts_memo[_PUSH] = kept
    bodies: dict[tuple[str, str], bytes] = kept[1]
    body = bodies.get((namespace, clusters))
    if body is None:
        request = answers.NotifySubscriberRequest(
            namespace, info.key.name, info.key.group, msgspec.Raw(info_json(info, clusters))
        )
        body = bodies[namespace, clusters] = answers.encode(request)
    return body
