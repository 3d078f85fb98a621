"""Resources as the Nacos HTTP API shows them; for answers that are not asked for a thousand times a second.

Rule: shapes only. Times are milliseconds or Java's date text, ids are texts (they do not fit a JavaScript number).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from atoll.access.grants import Resource, service
from atoll.planes.registry.model.naming import ServiceInfo
from atoll.resources import instance as instances
from atoll.resources.instance import Instance
from atoll.resources.service import Cluster, HealthChecker, Selector, ServiceKey
from atoll.wire.nacos import service_info
from atoll.wire.nacos.service_info import Host

_HOSTS = "nacos-http"


def host(key: ServiceKey, each: Instance) -> Host:
    found = each.metadata
    plain = not found
    return Host(
        instance_id=instances.id_text(key, each),
        ip=each.ip,
        port=each.port,
        weight=each.weight,
        healthy=each.healthy,
        enabled=each.enabled,
        ephemeral=each.ephemeral,
        cluster_name=each.cluster,
        service_name=key.grouped,
        metadata=found,
        instance_heart_beat_interval=5_000
        if plain
        else instances.beat_time_ms(each, instances.BEAT_INTERVAL, service_info.BEAT_INTERVAL_MS),
        instance_heart_beat_time_out=15_000
        if plain
        else instances.beat_time_ms(each, instances.BEAT_TIMEOUT, service_info.BEAT_TIMEOUT_MS),
        ip_delete_timeout=30_000
        if plain
        else instances.beat_time_ms(each, instances.DELETE_TIMEOUT, service_info.DELETE_TIMEOUT_MS),
        instance_id_generator=found.get(instances.ID_GENERATOR, "simple"),
    )


def hosts_json(info: ServiceInfo) -> bytes:
    """Encoded once for as long as the hosts stay the same."""
    found = info.hosts_memo.get(_HOSTS)
    if found is None:
        key = info.key
        found = info.hosts_memo[_HOSTS] = service_info.hosts(host(key, each) for each in info.hosts)
    encoded: bytes = found
    return encoded


def head(info: ServiceInfo, cache_ms: int) -> service_info.Head:
    return service_info.Head(
        name=info.key.grouped,
        group=info.key.group,
        clusters=info.clusters,
        cache_ms=cache_ms,
        last_ref_time_ms=info.last_ref_time_ms,
        protected=info.protected,
    )


def checker(each: HealthChecker) -> dict[str, Any]:
    if each.kind == "HTTP":
        return {
            "type": "HTTP",
            "path": each.path,
            "headers": each.headers,
            "expectedResponseCode": each.expected_response_code,
        }
    if each.kind == "MYSQL":  # its password is for the prober alone
        return {"type": "MYSQL", "user": each.user, "pwd": "", "cmd": each.command}
    return {"type": each.kind}


def selector(each: Selector) -> dict[str, Any]:
    if each.kind == "none":
        return {"type": "none", "contextType": "NONE"}
    return {"type": each.kind, "expression": each.expression, "labels": []}


def cluster(name: str, each: Cluster) -> dict[str, Any]:
    return {
        "serviceName": name,
        "name": each.name,
        "healthChecker": checker(each.checker),
        "defaultPort": 80,
        "defaultCheckPort": each.check_port,
        "useIPPort4Check": each.use_instance_port,
        "metadata": dict(each.metadata),
    }


def page(number: int, size: int, total: int, items: Iterable[Any]) -> dict[str, Any]:
    return {
        "totalCount": total,
        "pageNumber": number,
        "pagesAvailable": -(-total // size),
        "pageItems": list(items),
    }


def slice_of(items: list[Any], number: int, size: int) -> list[Any]:
    start = (number - 1) * size
    return items[start : start + size]


def date(seconds: float) -> str:
    """Java's date as Nacos's JSON has it."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def resource_of(key: ServiceKey) -> Resource:
    """The service as permissions know it."""
    return service(key.namespace, key.group, key.name)
