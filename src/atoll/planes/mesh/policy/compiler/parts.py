"""Parts: what one part of the compiler contributes to a client's snapshot, and how parts become one.

Rule: parts never overlap; a name that two of them claim is a bug of the compiler and is told as a problem, since a client
would refuse the whole response. Mappings are shared and never changed after they were made.

Everything in a part but its endpoints depends on the faces of services, the documents and the choices alone. That makes a
``Frame`` of all parts of a client, which stays the same object while only endpoints change; its names are proven once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from atoll.planes.mesh.model import snapshot as snapshots
from atoll.planes.mesh.model.snapshot import Resource, Snapshot, Type
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler.memo import Memo

NONE: Mapping[str, Resource] = {}

Endpoints: TypeAlias = Callable[[World, Memo], Mapping[str, Resource]]
"""The load assignments in a world, whose names are the same in all worlds of one frame."""


class Parts(msgspec.Struct, frozen=True):
    """``problems``: what could not be compiled as its document says, for people. ``proven``: its clusters and routes refer
    to what is in this part, and that was checked where they were made, once for all clients that share them.
    ``on_demand``: as of a snapshot.
    """

    clusters: Mapping[str, Resource] = NONE
    listeners: Mapping[str, Resource] = NONE
    routes: Mapping[str, Resource] = NONE
    problems: tuple[str, ...] = ()
    endpoints: Endpoints | None = None
    proven: bool = False
    on_demand: frozenset[str] = frozenset()


class Compiled(msgspec.Struct, frozen=True):
    """What one client gets, and what is wrong with it."""

    snapshot: Snapshot
    problems: tuple[str, ...] = ()


class Frame(msgspec.Struct, frozen=True, eq=False):
    clusters: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    problems: tuple[str, ...]
    endpoints: Endpoints
    on_demand: frozenset[str] = frozenset()

    def with_endpoints(self, endpoints: Mapping[str, Resource]) -> Compiled:
        return Compiled(
            Snapshot(self.clusters, endpoints, self.listeners, self.routes, self.on_demand), self.problems
        )


def by_name(resources: list[Resource]) -> Mapping[str, Resource]:
    return {one.name: one for one in resources}


def framed(parts: tuple[Parts, ...], world: World, memo: Memo) -> Frame:
    """``parts`` as one, proven consistent: what is not is among the problems."""
    problems = [problem for part in parts for problem in part.problems]
    clusters = _merged(Type.CLUSTER, [part.clusters for part in parts], problems)
    listeners = _merged(Type.LISTENER, [part.listeners for part in parts], problems)
    routes = _merged(Type.ROUTE, [part.routes for part in parts], problems)
    on_demand = [part.on_demand for part in parts if part.on_demand]
    together = _together([part.endpoints for part in parts])
    frame = Frame(clusters, listeners, routes, (), together, _one_of(on_demand))
    unproven = [
        one for part in parts if not part.proven for one in (*part.clusters.values(), *part.routes.values())
    ]
    whole = frame.with_endpoints(frame.endpoints(world, memo)).snapshot
    wrong = snapshots.check(whole, (*unproven, *listeners.values()))
    return msgspec.structs.replace(frame, problems=(*problems, *wrong))


def _merged(
    kind: Type, mappings: list[Mapping[str, Resource]], problems: list[str]
) -> Mapping[str, Resource]:
    """A mapping that only one part fills is handed on as it is, so that clients share it."""
    filled = [mapping for mapping in mappings if mapping]
    if len(filled) < 2:
        return filled[0] if filled else NONE
    merged: dict[str, Resource] = {}
    for mapping in filled:
        problems += [f"{kind.name.lower()} {name} was compiled twice" for name in mapping if name in merged]
        merged.update(mapping)
    return merged


def _one_of(sets: list[frozenset[str]]) -> frozenset[str]:
    """All in one, which clients share where it is one part's."""
    return sets[0] if len(sets) == 1 else frozenset().union(*sets)


def _together(sources: list[Endpoints | None]) -> Endpoints:
    given = [source for source in sources if source is not None]
    if len(given) == 1:
        return given[0]
    return lambda world, memo: {name: one for source in given for name, one in source(world, memo).items()}
