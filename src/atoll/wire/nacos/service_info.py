"""Instances and service infos as JSON: the one shape of them for HTTP, gRPC and UDP.

Rule: nothing is null, every field is always there (clients of all ages read them unasked); hosts are encoded once and
put into as many answers as ask for the same.

Source: Nacos 2.4, ``Instance`` and ``ServiceInfo``; ``dom``, which 1.x clients read, is added over HTTP v1 alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

BEAT_INTERVAL_MS = 5_000
BEAT_TIMEOUT_MS = 15_000
DELETE_TIMEOUT_MS = 30_000

_ENCODER = msgspec.json.Encoder()


class Host(msgspec.Struct, rename="camel", kw_only=True):
    """One instance. ``service_name`` is grouped, ``G@@s``. Times in milliseconds."""

    instance_id: str
    ip: str
    port: int
    weight: float
    healthy: bool
    enabled: bool
    ephemeral: bool
    cluster_name: str
    service_name: str
    metadata: Mapping[str, str]
    instance_heart_beat_interval: int = BEAT_INTERVAL_MS
    instance_heart_beat_time_out: int = BEAT_TIMEOUT_MS
    ip_delete_timeout: int = DELETE_TIMEOUT_MS
    instance_id_generator: str = "simple"


class Head(msgspec.Struct, kw_only=True):
    """Everything but the hosts. ``name`` is bare over gRPC and grouped over HTTP."""

    name: str
    group: str
    clusters: str
    cache_ms: int
    last_ref_time_ms: int
    protected: bool


class _ServiceInfo(msgspec.Struct, rename="camel", kw_only=True):
    name: str
    group_name: str
    clusters: str
    cache_millis: int
    hosts: msgspec.Raw
    last_ref_time: int
    checksum: str = ""
    all_i_ps: bool = msgspec.field(default=False, name="allIPs")
    reach_protection_threshold: bool
    valid: bool = True


class _OldServiceInfo(_ServiceInfo, rename="camel", kw_only=True):
    """What 1.x and Node clients read besides."""

    dom: str
    use_specified_url: bool = msgspec.field(default=False, name="useSpecifiedURL")
    env: str = ""
    metadata: Mapping[str, str] = {}


def hosts(listed: Iterable[Host]) -> bytes:
    """The JSON of a list of hosts."""
    return _ENCODER.encode(list(listed))


def service_info(head: Head, hosts_json: bytes) -> bytes:
    return _ENCODER.encode(_ServiceInfo(**_fields(head, hosts_json)))


def old_service_info(head: Head, hosts_json: bytes) -> bytes:
    """With the fields of 1.x."""
    return _ENCODER.encode(_OldServiceInfo(dom=head.name, **_fields(head, hosts_json)))


def _fields(head: Head, hosts_json: bytes) -> dict[str, Any]:
    return {
        "name": head.name,
        "group_name": head.group,
        "clusters": head.clusters,
        "cache_millis": head.cache_ms,
        "hosts": msgspec.Raw(hosts_json),
        "last_ref_time": head.last_ref_time_ms,
        "reach_protection_threshold": head.protected,
    }
