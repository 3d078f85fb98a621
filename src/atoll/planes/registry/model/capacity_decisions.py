"""What a change of a quota writes: the limits of one namespace, or of one group over all namespaces.

Rule: a quota below what is there already is allowed: nothing is removed, nothing can be added.
"""

from __future__ import annotations

import hashlib

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_decisions import Decided
from atoll.planes.registry.model.config_view import ConfigView
from atoll.resources.config_item import CONTENT_BYTES_MAX, Capacity
from atoll.resources.config_views import Usage
from atoll.resources.records import NOTHING, encode
from atoll.store.api import Compare, Delete, Put, Relation, Target

SCOPES = ("namespace", "group")


def put(view: ConfigView, wanted: Capacity, now_s: float) -> Decided:
    """Raises INVALID / PARAMETER_INVALID."""
    _require(wanted)
    current = view.capacity(wanted.scope, wanted.name)
    started = current or msgspec.structs.replace(wanted, created_s=now_s)
    after = msgspec.structs.replace(
        started,
        items_max=wanted.items_max,
        content_bytes_max=wanted.content_bytes_max,
        modified_s=now_s,
    )
    return Decided(
        (_unchanged(wanted.scope, wanted.name, current),),
        (Put(keys.capacity(wanted.scope, wanted.name), encode(after)),),
        "set-capacity",
        _digest(current),
        _digest(after),
    )


def remove(view: ConfigView, scope: str, name: str) -> Decided:
    """Back to the node's default. Nothing to do where there is no quota."""
    current = view.capacity(scope, name)
    if current is None:
        return Decided()
    place = keys.capacity(scope, name)
    return Decided((_unchanged(scope, name, current),), (Delete(place),), "remove-capacity", _digest(current))


def usage(view: ConfigView, scope: str, name: str) -> Usage:
    """What is used, beside the quota if there is one."""
    own = view.capacity(scope, name)
    return Usage(
        scope,
        name,
        view.count(scope, name),
        own.items_max if own else 0,
        own.content_bytes_max if own else 0,
        own.created_s if own else 0.0,
        own.modified_s if own else 0.0,
    )


def _unchanged(scope: str, name: str, known: Capacity | None) -> Compare:
    return Compare(keys.capacity(scope, name), Target.MOD, Relation.EQUAL, known.revision if known else 0)


def _digest(known: Capacity | None) -> str:
    if known is None:
        return ""
    return hashlib.sha256(encode(msgspec.structs.replace(known, unknown=NOTHING, revision=0))).hexdigest()


def _require(wanted: Capacity) -> None:
    if wanted.scope not in SCOPES or not wanted.name:
        raise _wrong("scope", f"{wanted.scope!r} {wanted.name!r}: a namespace or a group has a quota")
    if wanted.items_max < 0:
        raise _wrong("quota", f"{wanted.items_max}: at least 0, which means the node's default")
    if not 0 <= wanted.content_bytes_max <= CONTENT_BYTES_MAX:
        raise _wrong(
            "maxSize", f"{wanted.content_bytes_max}: 0 (the node's default) to {CONTENT_BYTES_MAX} bytes"
        )


def _wrong(parameter: str, problem: str) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"{parameter} {problem}",
        reason=Reason.PARAMETER_INVALID,
        facts={"parameter": parameter},
    )
