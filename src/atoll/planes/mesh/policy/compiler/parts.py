"""Parts: what one part of the compiler contributes to a client's snapshot, and how parts become one.

Rule: parts never overlap; a name that two of them claim is a bug of the compiler and is told as a problem, since a client
would refuse the whole response. Mappings are shared and never changed after they were made.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.planes.mesh.model.snapshot import EMPTY, Resource, Snapshot, Type
from atoll.planes.mesh.policy.compiler.memo import Memo

NONE: Mapping[str, Resource] = {}


class Parts(msgspec.Struct, frozen=True):
    """``problems``: what could not be compiled as its document says, for people."""

    clusters: Mapping[str, Resource] = NONE
    endpoints: Mapping[str, Resource] = NONE
    listeners: Mapping[str, Resource] = NONE
    routes: Mapping[str, Resource] = NONE
    problems: tuple[str, ...] = ()

    def of(self, kind: Type) -> Mapping[str, Resource]:
        if kind is Type.CLUSTER:
            return self.clusters
        if kind is Type.ENDPOINTS:
            return self.endpoints
        return self.listeners if kind is Type.LISTENER else self.routes


class Compiled(msgspec.Struct, frozen=True):
    """What one client gets, and what is wrong with it."""

    snapshot: Snapshot
    problems: tuple[str, ...] = ()


NOTHING_COMPILED = Compiled(EMPTY)


def by_name(resources: list[Resource]) -> Mapping[str, Resource]:
    return {one.name: one for one in resources}


def joined(memo: Memo, client: bytes, parts: tuple[Parts, ...]) -> Compiled:
    """``parts`` as the snapshot of ``client``, a key of it. A mapping that only one part fills is handed on as it is, so
    that clients share it.
    """
    maps = [_merged(memo, (client, kind), tuple(part.of(kind) for part in parts)) for kind in Type]
    clusters, endpoints, listeners, routes = maps
    doubled = [
        f"{kind.name.lower()} {name} was compiled twice"
        for kind, merged in zip(Type, maps, strict=True)
        if len(merged) != sum(len(part.of(kind)) for part in parts)
        for name in _doubled([part.of(kind) for part in parts])
    ]
    problems = tuple(problem for part in parts for problem in part.problems)
    return Compiled(Snapshot(clusters, endpoints, listeners, routes), (*problems, *doubled))


def _merged(
    memo: Memo, key: tuple[bytes, Type], mappings: tuple[Mapping[str, Resource], ...]
) -> Mapping[str, Resource]:
    filled = tuple(mapping for mapping in mappings if mapping)
    if not filled:
        return NONE
    if len(filled) == 1:
        return filled[0]
    return memo.piece(
        ("merged", *key), filled, lambda: {name: one for mapping in filled for name, one in mapping.items()}
    )


def _doubled(mappings: list[Mapping[str, Resource]]) -> list[str]:
    seen: set[str] = set()
    doubled = []
    for mapping in mappings:
        doubled += [name for name in mapping if name in seen]
        seen.update(mapping)
    return doubled
