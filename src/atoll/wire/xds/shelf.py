"""What all streams of a server have in common: resources as they are offered, each encoded once.

Rule: an ``Offer`` is known by type, name, version and what it refers to, and there is one object for each, so that streams
compare by identity and keep references instead of copies. Offers live as long as a ``Goal`` or a stream has them. What is
referred to is said beside the bytes: equal bytes that wait for other clusters are another offer, and are told again.

An update of a cluster makes Envoy warm it anew, for which it needs the cluster's endpoints again, changed or not, and
does not always ask (spec of the mesh, trap 11). So the version of endpoints covers the versions of the clusters that
refer to them: a client that comes back with new clusters and endpoints of before is told them again.

The version of a set of resources, for state-of-the-world, is the sum of its resources' marks: the same content has the
same version on each server and after each start, and a change of one among thousands costs one addition. Marks are
cut-off hashes, not proof against someone who chooses contents to collide; the contents are the operator's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakValueDictionary

import msgspec

from atoll.wire.xds import messages
from atoll.wire.xds.snapshot import Resource, Snapshot, Type

MAPPINGS_MAX = 64
"""Mappings that several snapshots may share, whose offers are remembered while nobody holds them."""

_SINCE_MAX = 2  # of which differences are remembered: the world before, and another one that is tried
_MARK_BYTES = 8
_MARK_MASK = (1 << 8 * _MARK_BYTES) - 1


class Offer:
    """A resource under the version that clients are told."""

    __slots__ = (
        "__weakref__",
        "_delta_entry",
        "_entry",
        "is_ghost",
        "mark",
        "name",
        "refers",
        "resource",
        "version",
    )

    def __init__(self, resource: Resource, version: str) -> None:
        self.resource = resource
        self.name = resource.name
        self.version = version
        self.refers = resource.refers
        self.is_ghost = not resource.body  # known by what a client says that it has, and by no more
        self.mark = mark_of(resource.name, version)
        self._entry = b""
        self._delta_entry = b""

    def entry(self) -> bytes:
        """What a state-of-the-world response says of it."""
        if not self._entry:
            self._entry = messages.entry_of(self.resource)
        return self._entry

    def delta_entry(self) -> bytes:
        """What an incremental response says of it."""
        if not self._delta_entry:
            self._delta_entry = messages.delta_entry_of(self.resource, self.version)
        return self._delta_entry


def ghost(name: str, version: str) -> Offer:
    """What a client that came back has of before; nobody knows its content, or to what it refers."""
    return Offer(Resource(Type.CLUSTER, name, b"", version), version)


class Difference(msgspec.Struct, frozen=True):
    """From what a client has to what it shall have. ``exact``: with these, it has the very offers that it shall have; not
    so for endpoints of which only the cluster changed, which are not told before it.
    """

    changed: tuple[Offer, ...]
    gone: tuple[str, ...]
    exact: bool


class Offers(dict[str, Offer]):
    """Of one type, by name; never changed once they are made."""

    __slots__ = ("_names", "_since", "_version")

    def __init__(self, offers: Mapping[str, Offer]) -> None:
        super().__init__(offers)
        self._names: frozenset[str] | None = None
        self._version = ""
        self._since: list[tuple[Offers, Difference]] = []

    @property
    def names(self) -> frozenset[str]:
        """One set for all streams that ask for everything by name."""
        if self._names is None:
            self._names = frozenset(self)
        return self._names

    @property
    def version(self) -> str:
        if not self._version:
            self._version = version_of(self.values())
        return self._version

    def since(self, before: Mapping[str, Offer]) -> Difference:
        """What changed; found once for all streams that have the same."""
        for known, difference in self._since:
            if known is before:
                return difference
        difference = _difference(before, self)
        if isinstance(before, Offers):
            self._since.insert(0, (before, difference))
            del self._since[_SINCE_MAX:]
        return difference


def _difference(before: Mapping[str, Offer], after: Mapping[str, Offer]) -> Difference:
    others = [offer for name, offer in after.items() if before.get(name) is not offer]
    changed = tuple(offer for offer in others if not _is_told(before.get(offer.name), offer))
    gone = tuple(name for name in before if name not in after)
    return Difference(changed, gone, len(changed) == len(others))


def _is_told(sent: Offer | None, offer: Offer) -> bool:
    """Endpoints of which only the cluster changed go out after it, and not before."""
    return (
        sent is not None and sent.version != offer.version and sent.resource.version == offer.resource.version
    )


NO_OFFERS = Offers({})


def mark_of(name: str, version: str) -> int:
    digest = hashlib.blake2b(f"{name}\0{version}".encode(), digest_size=_MARK_BYTES).digest()
    return int.from_bytes(digest, "big")


def version_of(offers: Iterable[Offer]) -> str:
    """The version of a set."""
    return f"{sum(offer.mark for offer in offers) & _MARK_MASK:016x}"


class Goal:
    """What a client shall have: a snapshot as offers. ``of`` is empty for types that no snapshot has. ``unasked``: the
    clusters that a client is sent which asks for none by name.
    """

    __slots__ = ("_offers", "snapshot", "unasked")

    def __init__(self, snapshot: Snapshot, offers: Mapping[str, Offers], unasked: Offers) -> None:
        self.snapshot = snapshot
        self.unasked = unasked
        self._offers = offers

    def of(self, type_url: str) -> Offers:
        return self._offers.get(type_url, NO_OFFERS)


class Shelf:
    """Makes goals of snapshots."""

    def __init__(self) -> None:
        self._offers: WeakValueDictionary[tuple[object, ...], Offer] = WeakValueDictionary()
        self._demanded: list[tuple[Offers, frozenset[str], Offers]] = []
        self._made: list[tuple[Mapping[str, Resource], Mapping[str, Resource] | None, Offers]] = []

    def goal(self, snapshot: Snapshot) -> Goal:
        offers = {kind.value: self._plain(snapshot.of(kind)) for kind in Type if kind is not Type.ENDPOINTS}
        offers[Type.ENDPOINTS.value] = self._endpoints(snapshot)
        return Goal(snapshot, offers, self._unasked(snapshot, offers[Type.CLUSTER.value]))

    def _unasked(self, snapshot: Snapshot, clusters: Offers) -> Offers:
        """One object as long as it is made of the same ones."""
        on_demand = snapshot.on_demand
        if not on_demand:
            return clusters
        for of, beside, offers in self._demanded:
            if of is clusters and beside is on_demand:
                return offers
        offers = Offers({name: one for name, one in clusters.items() if name not in on_demand})
        self._demanded.insert(0, (clusters, on_demand, offers))
        del self._demanded[MAPPINGS_MAX:]
        return offers

    def _plain(self, resources: Mapping[str, Resource]) -> Offers:
        def make() -> Offers:
            return Offers({name: self._offer(one, one.version) for name, one in resources.items()})

        return self._once(resources, None, make)

    def _endpoints(self, snapshot: Snapshot) -> Offers:
        def make() -> Offers:
            covered = self._covered(snapshot)
            return Offers(
                {
                    name: self._offer(one, f"{one.version}.{covered.get(name, 0):016x}")
                    for name, one in snapshot.endpoints.items()
                }
            )

        return self._once(snapshot.endpoints, snapshot.clusters, make)

    def _covered(self, snapshot: Snapshot) -> Mapping[str, int]:
        """By name of endpoints: the marks of all clusters that refer to them."""
        covered: dict[str, int] = {}
        for cluster in self._plain(snapshot.clusters).values():
            for kind, name in cluster.refers:
                if kind is Type.ENDPOINTS:
                    covered[name] = covered.get(name, 0) + cluster.mark & _MARK_MASK
        return covered

    def _offer(self, resource: Resource, version: str) -> Offer:
        key = (resource.type, resource.name, version, resource.refers)
        found = self._offers.get(key)
        if found is None:
            found = self._offers[key] = Offer(resource, version)
        return found

    def _once(
        self,
        resources: Mapping[str, Resource],
        clusters: Mapping[str, Resource] | None,
        make: Callable[[], Offers],
    ) -> Offers:
        """Offers of the very same mappings are the same object."""
        for of, beside, offers in self._made:
            if of is resources and beside is clusters:
                return offers
        offers = make()
        self._made.insert(0, (resources, clusters, offers))
        del self._made[MAPPINGS_MAX:]
        return offers
