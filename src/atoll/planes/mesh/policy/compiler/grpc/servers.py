"""What a gRPC application that serves gets: a listener for each of its ports, with the mesh's TLS and authorisation.

Rule: as for calls, it is a sidecar's inbound side, narrowed. gRPC checks no tokens and has no paths with wildcards, so that
a condition on one is neither true nor false there; in doubt less is let through: a rule that refuses takes it for fulfilled,
a rule that allows for not fulfilled (``_Doubt``).

A gRPC server cannot take TLS and plain text on one port: PERMISSIVE is plain text, and only STRICT is the mesh's TLS.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import http
from atoll.planes.mesh.policy.compiler.grpc import listeners
from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.planes.mesh.policy.compiler.inbound import entries_of, governing
from atoll.planes.mesh.policy.compiler.inbound.chains import Mode
from atoll.planes.mesh.policy.compiler.inbound.governing import Governing
from atoll.planes.mesh.policy.compiler.inbound.listeners import Entry
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.parts import Parts, by_name
from atoll.planes.mesh.policy.compiler.security import authorization, called
from atoll.resources.mesh.clients import Client

_EVERYWHERE = ("0.0.0.0", "[::]", "127.0.0.1", "[::1]")
_UNKNOWN_HEADERS = (":scheme", "grpc-")  # gRPC refuses a rule that asks for them
_Rbac = rbac_pb2.RBAC


def parts_for(world: World, client: Client, certificates: bool, memo: Memo) -> Parts:
    if not client.inbound:
        return Parts()
    found = governing.of(world.policies, client)
    entries = entries_of(world, client, found)
    key = ("grpc servers", msgspec.msgpack.encode((client, entries), order="deterministic"), certificates)
    make = functools.partial(_parts, entries, found, world.choices.trust_domain, certificates)
    return memo.piece(key, (world.choices, *found.documents), make)


def _parts(entries: tuple[Entry, ...], found: Governing, trust_domain: str, certificates: bool) -> Parts:
    made = []
    problems = [_problem(each, Differs.FILTERS) for each in (*found.tokens, *found.limits)]
    for entry in entries:
        secure = entry.mode is Mode.STRICT and certificates
        if entry.mode is Mode.STRICT and not certificates:
            problems += [_problem(each, Differs.NO_CERTIFICATES) for each in found.peers.documents]
        elif entry.mode is Mode.PERMISSIVE:
            problems += [_problem(each, Differs.PERMISSIVE) for each in found.peers.documents]
        place = authorization.Place(trust_domain, called.Port(entry.numbers))
        rules = narrowed(authorization.http_filters(found.authorization, place))
        for address in _EVERYWHERE:
            made.append(listeners.server(address, entry.inbound.port, rules, secure, found.names))
    return Parts(listeners=by_name(made), problems=tuple(dict.fromkeys(problems)))


def _problem(document: Any, differs: Differs) -> str:
    return f"{document.key} asks for what gRPC does otherwise: {differs.text}"


def narrowed(filters: list[Any]) -> tuple[Any, ...]:
    """The rules that decide, under names of their own: gRPC refuses a name that comes twice."""
    made = []
    for position, each in enumerate(filters):
        rules = http_rbac_pb2.RBAC.FromString(each.typed_config.value).rules
        if rules.action not in (_Rbac.ALLOW, _Rbac.DENY) or not each.typed_config.value:
            continue
        doubt = _Doubt(rules.action == _Rbac.DENY)
        kept = _Rbac(action=rules.action)
        for name, policy in rules.policies.items():
            kept.policies[name].permissions.extend(doubt.settled(one) for one in policy.permissions)
            kept.policies[name].principals.extend(doubt.settled(one) for one in policy.principals)
        made.append(http.http_filter(f"{authorization.HTTP_RBAC}.{position}", http_rbac_pb2.RBAC(rules=kept)))
    return tuple(made)


class _Doubt(msgspec.Struct, frozen=True):
    """What a condition that gRPC cannot ask counts as: fulfilled or not."""

    fulfilled: bool

    def settled(self, term: Any) -> Any:
        """``term``, a principal or a permission, without such conditions."""
        kind = type(term)
        which = term.WhichOneof("rule" if kind is rbac_pb2.Permission else "identifier")
        if which in ("and_rules", "or_rules"):
            inner = [self.settled(one) for one in getattr(term, which).rules]
            return kind(**{which: kind.Set(rules=inner)})
        if which in ("and_ids", "or_ids"):
            inner = [self.settled(one) for one in getattr(term, which).ids]
            return kind(**{which: kind.Set(ids=inner)})
        if which in ("not_rule", "not_id"):
            return kind(**{which: _Doubt(not self.fulfilled).settled(getattr(term, which))})
        if which in ("metadata", "uri_template", "filter_state", "matcher") or _asks_for_unknown_header(
            which, term
        ):
            anything = kind(any=True)
            if self.fulfilled:
                return anything
            return kind(**{"not_rule" if kind is rbac_pb2.Permission else "not_id": anything})
        return term


def _asks_for_unknown_header(which: str, term: Any) -> bool:
    return which == "header" and term.header.name.startswith(_UNKNOWN_HEADERS)
