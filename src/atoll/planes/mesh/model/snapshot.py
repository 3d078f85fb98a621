"""What is proven of a snapshot before anybody is served it. The snapshot itself is a noun of the protocol:
``atoll.wire.xds.snapshot``, whose names are these here as well.

Rule: ``check`` is the proof that a snapshot is consistent in itself: each name that a resource refers to is in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.wire.xds.snapshot import EMPTY, Resource, Snapshot, Type, resource

__all__ = ["EMPTY", "Resource", "Snapshot", "Type", "check", "resource"]


def check(snapshot: Snapshot, resources: Iterable[Resource] | None = None) -> list[str]:
    """What ``resources`` (None: all) refer to and is missing in ``snapshot``, for people; empty: it is consistent."""
    return [
        f"{one.type.name.lower()} {one.name} refers to {kind.name.lower()} {name}, which is not there"
        for one in (snapshot.resources() if resources is None else resources)
        for kind, name in one.refers
        if name not in snapshot.of(kind)
    ]
