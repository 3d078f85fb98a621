"""A proxy's config dump (``/config_dump?include_eds`` of Envoy's admin interface) as a ``Config``.

Rule: what the proxy *uses* is taken: active resources, not those that warm or failed. Extensions whose messages Atoll does
not know are kept by their place alone, as ``google.protobuf.Empty``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import descriptor_pool, empty_pb2, json_format

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model.snapshot import Type
from atoll.planes.mesh.policy.explain.config import Config, of_messages

DUMP_BYTES_MAX = 64 * 1_048_576
_EMPTY = f"type.googleapis.com/{empty_pb2.Empty.DESCRIPTOR.full_name}"
_NESTING_MAX = 100

KINDS: Mapping[Type, Any] = {
    Type.CLUSTER: Cluster,
    Type.ENDPOINTS: ClusterLoadAssignment,
    Type.LISTENER: Listener,
    Type.ROUTE: RouteConfiguration,
}


class Dumped(msgspec.Struct, frozen=True):
    """One resource as the proxy shows it. ``dynamic``: it came by xDS."""

    type: Type
    name: str
    body: Mapping[str, Any]
    version: str = ""
    dynamic: bool = True


def resources(dump: bytes) -> list[Dumped]:
    """The active resources of a dump. Raises INVALID for what is none."""
    if len(dump) > DUMP_BYTES_MAX:
        raise AtollError(
            Code.EXHAUSTED, f"a config dump may have {DUMP_BYTES_MAX} bytes; this has {len(dump)}"
        )
    try:
        parsed = msgspec.json.decode(dump, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise _no_dump(str(error)) from error
    configs = parsed.get("configs")
    if not isinstance(configs, list):
        raise _no_dump("it has no field 'configs'")
    return [found for section in configs for found in _section(section)]


def of_dump(dump: bytes) -> Config:
    """Raises INVALID for what is no config dump."""
    return of_messages(message(each) for each in resources(dump))


def message(dumped: Dumped) -> Any:
    known = _known(dumped.body, 0)
    try:
        return json_format.ParseDict(known, KINDS[dumped.type](), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise _no_dump(f"{dumped.type.name.lower()} {dumped.name}: {error}") from error


def _no_dump(why: str) -> AtollError:
    text = f"this is not what /config_dump?include_eds of Envoy's admin interface gives: {why}"
    return AtollError(Code.INVALID, text)


def _section(section: Any) -> Iterator[Dumped]:
    if not isinstance(section, dict):
        raise _no_dump("a section is not an object")
    for field, kind, dynamic, path in _PLACES:
        for entry in section.get(field, ()):
            holder = _at(entry, path[:-1])
            body = _at(holder, path[-1:])
            if isinstance(body, dict):
                yield Dumped(kind, _name(kind, body), _bare(body), _version(holder), dynamic)


# Where active resources are in the sections of a dump: field, type, whether they came by xDS, path in the entry.
_PLACES: tuple[tuple[str, Type, bool, tuple[str, ...]], ...] = (
    ("static_clusters", Type.CLUSTER, False, ("cluster",)),
    ("dynamic_active_clusters", Type.CLUSTER, True, ("cluster",)),
    ("static_listeners", Type.LISTENER, False, ("listener",)),
    ("dynamic_listeners", Type.LISTENER, True, ("active_state", "listener")),
    ("static_route_configs", Type.ROUTE, False, ("route_config",)),
    ("dynamic_route_configs", Type.ROUTE, True, ("route_config",)),
    ("static_endpoint_configs", Type.ENDPOINTS, False, ("endpoint_config",)),
    ("dynamic_endpoint_configs", Type.ENDPOINTS, True, ("endpoint_config",)),
)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _version(holder: Any) -> str:
    return str(holder.get("version_info", "")) if isinstance(holder, dict) else ""


def _name(kind: Type, body: Mapping[str, Any]) -> str:
    return str(body.get("cluster_name" if kind is Type.ENDPOINTS else "name", ""))


def _bare(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "@type"}


def _known(value: Any, depth: int) -> Any:
    if depth > _NESTING_MAX:
        raise _no_dump(f"it nests deeper than {_NESTING_MAX}")
    if isinstance(value, list):
        return [_known(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    url = value.get("@type")
    if url is not None and not _findable(str(url)):
        return {"@type": _EMPTY}
    return {name: _known(each, depth + 1) for name, each in value.items()}


def _findable(url: str) -> bool:
    try:
        descriptor_pool.Default().FindMessageTypeByName(url.rpartition("/")[2])
    except KeyError:
        return False
    return True
