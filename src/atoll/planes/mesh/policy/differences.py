"""In what a proxy's running configuration differs from the one that is intended for it.

Rule: both sides are compared as what they mean, never as bytes: fields that have their defaults, the order of endpoints and
what the proxy shows as ``[redacted]`` make no difference. Only what comes by xDS is compared; a bootstrap is the
launcher's.

Load assignments are compared by address: Envoy's dump has them from its host sets, without the fields it has no use for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from google.protobuf import json_format

from atoll.planes.mesh.model.snapshot import Resource, Snapshot, Type
from atoll.planes.mesh.policy.explain import dump
from atoll.planes.mesh.policy.explain.balancing import address_text
from atoll.resources.mesh.explanations import Difference

DIFFERENCES_MAX = 500
_VALUE_CHARS_MAX = 200
_REDACTED = "[redacted]"
_ABSENT = "(absent)"


def differences(intended: Snapshot, dumped: Sequence[dump.Dumped]) -> list[Difference]:
    """At most ``DIFFERENCES_MAX`` of them, in the order of types and names."""
    found: list[Difference] = []
    asked = _by_eds(dumped)
    for kind in Type:
        actual = {each.name: each for each in dumped if each.type is kind and each.dynamic}
        if kind is Type.ENDPOINTS:
            actual = {name: each for name, each in actual.items() if name in asked}
        wanted = intended.of(kind)
        for name in sorted({*wanted, *actual}):
            if name in intended.on_demand and name not in actual:
                continue  # clusters, and their endpoints of the same name, for which it has not asked yet
            found.extend(_resource(kind, name, wanted.get(name), actual.get(name)))
            if len(found) >= DIFFERENCES_MAX:
                return found[:DIFFERENCES_MAX]
    return found


def _by_eds(dumped: Sequence[dump.Dumped]) -> frozenset[str]:
    """Names under which clusters ask for their endpoints; Envoy shows the endpoints of all other clusters as well."""
    return frozenset(
        each.body.get("eds_cluster_config", {}).get("service_name") or each.name
        for each in dumped
        if each.type is Type.CLUSTER and each.body.get("type") == "EDS"
    )


def _resource(
    kind: Type, name: str, wanted: Resource | None, actual: dump.Dumped | None
) -> Iterator[Difference]:
    label = kind.name.lower()
    documents = wanted.documents if wanted is not None else ()
    if wanted is None:
        yield Difference(label, name, "", _ABSENT, "present")
        return
    if actual is None:
        yield Difference(label, name, "", "present", _ABSENT, documents)
        return
    if kind is not Type.ENDPOINTS and wanted.version and wanted.version == actual.version:
        return
    sides = (dump.KINDS[kind].FromString(wanted.body), dump.message(actual))
    before, after = (_endpoints(each) if kind is Type.ENDPOINTS else _plain(each) for each in sides)
    for path, value, other in _compared((), before, after):
        yield Difference(label, name, ".".join(path), _text(value), _text(other), documents)


def _plain(message: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def _endpoints(assignment: Any) -> Mapping[str, Any]:
    found = {}
    for group in assignment.endpoints:
        where = group.locality
        locality = "/".join(part for part in (where.region, where.zone, where.sub_zone) if part)
        for each in group.lb_endpoints:
            status = HealthStatus.Name(each.health_status)
            found[address_text(each.endpoint.address)] = {
                "priority": group.priority,
                "locality": locality,
                "weight": each.load_balancing_weight.value or 1,
                "health": "HEALTHY" if status == "UNKNOWN" else status,
            }
    return found


_Path = tuple[str, ...]


def _compared(path: _Path, wanted: Any, actual: Any) -> Iterator[tuple[_Path, Any, Any]]:
    """The places at which the two differ, as deep as both go."""
    if wanted == actual or actual == _REDACTED:
        return
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        for name in sorted({*wanted, *actual}):
            yield from _compared((*path, name), wanted.get(name), actual.get(name))
    elif isinstance(wanted, list) and isinstance(actual, list) and len(wanted) == len(actual):
        for position, (one, other) in enumerate(zip(wanted, actual, strict=True)):
            yield from _compared((*path, _label(position, one)), one, other)
    else:
        yield path, wanted, actual


def _label(position: int, value: Any) -> str:
    """List items are told by their name where they have one."""
    name = value.get("name") if isinstance(value, Mapping) else None
    return f"[{position}]({name})" if name else f"[{position}]"


def _text(value: Any) -> str:
    if value is None:
        return _ABSENT
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_CHARS_MAX else f"{text[:_VALUE_CHARS_MAX]}…"
