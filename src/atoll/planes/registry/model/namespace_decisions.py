"""What a change of a namespace writes.

Rule: as for configuration: from the view to operations under guards. ``public`` can be described and never removed; a
namespace is removed only when nothing is in it, unless forced: what is in it stays, reachable by its name.
"""

from __future__ import annotations

import hashlib

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_decisions import Decided
from atoll.planes.registry.model.config_view import ConfigView
from atoll.resources import namespace
from atoll.resources.namespace import PUBLIC, Namespace
from atoll.resources.records import NOTHING, encode
from atoll.store.api import Compare, Delete, Put, Relation, Target


def exists(view: ConfigView, name: str) -> bool:
    return name == PUBLIC or view.namespace(name) is not None


def create(view: ConfigView, wanted: Namespace) -> Decided:
    """Raises INVALID for a bad id or name, CONFLICT / NAMESPACE_EXISTS."""
    _require(wanted)
    if exists(view, wanted.id):
        raise AtollError(
            Code.CONFLICT,
            f"the namespace {wanted.id!r} exists already",
            reason=Reason.NAMESPACE_EXISTS,
            facts={"namespace": wanted.id},
        )
    return _put(None, wanted, "create-namespace")


def update(view: ConfigView, wanted: Namespace) -> Decided:
    """Change name and description. Raises INVALID, NOT_FOUND / NAMESPACE_NOT_FOUND."""
    _require(wanted)
    current = view.namespace(wanted.id)
    if current is None and wanted.id != PUBLIC:
        raise not_found(wanted.id)
    started = current or Namespace(id=PUBLIC, created_s=wanted.created_s)
    after = msgspec.structs.replace(started, name=wanted.name, description=wanted.description)
    return Decided() if after == current else _put(current, after, "update-namespace")


def remove(view: ConfigView, name: str, services: int, force: bool) -> Decided:
    """Nothing to do where there is none. Raises INVALID for ``public``, CONFLICT / IN_USE for one with content."""
    if name == PUBLIC:
        raise AtollError(
            Code.INVALID, "the namespace 'public' cannot be removed", reason=Reason.PARAMETER_INVALID
        )
    current = view.namespace(name)
    if current is None:
        return Decided()
    items = view.count("namespace", name)
    if (items or services) and not force:
        raise AtollError(
            Code.CONFLICT,
            f"the namespace {name!r} holds {items} configuration items and {services} services: remove them first, "
            "or force it (they stay)",
            reason=Reason.IN_USE,
            facts={"configs": items, "services": services},
        )
    guard = _unchanged(name, current)
    return Decided((guard,), (Delete(keys.namespace(name)),), "delete-namespace", before=_digest(current))


def not_found(name: str) -> AtollError:
    return AtollError(
        Code.NOT_FOUND,
        f"there is no namespace {name!r}; create it first",
        reason=Reason.NAMESPACE_NOT_FOUND,
        facts={"namespace": name},
    )


def _put(current: Namespace | None, after: Namespace, action: str) -> Decided:
    return Decided(
        guards=(_unchanged(after.id, current),),
        operations=(Put(keys.namespace(after.id), encode(after)),),
        action=action,
        before=_digest(current),
        after=_digest(after),
    )


def _unchanged(name: str, known: Namespace | None) -> Compare:
    return Compare(keys.namespace(name), Target.MOD, Relation.EQUAL, known.revision if known else 0)


def _digest(known: Namespace | None) -> str:
    if known is None:
        return ""
    return hashlib.sha256(encode(msgspec.structs.replace(known, unknown=NOTHING, revision=0))).hexdigest()


def _require(wanted: Namespace) -> None:
    namespace.require_id(wanted.id)
    for parameter, text, chars_max in (
        ("namespaceName", wanted.name, namespace.NAME_CHARS_MAX),
        ("namespaceDesc", wanted.description, namespace.DESCRIPTION_CHARS_MAX),
    ):
        if len(text) > chars_max:
            raise AtollError(
                Code.INVALID,
                f"{parameter} has {len(text)} characters; at most {chars_max} are allowed",
                reason=Reason.PARAMETER_INVALID,
                facts={"parameter": parameter},
            )
