"""Near and far: in which order, or with which shares, the localities of a service's endpoints are called.

Rule: Istio's. Without shares the nearest come first and the others when those are not healthy: the same sub-zone, the same
zone, the same region, a region that is named to follow, then the rest. Priorities are numbered without gaps, as Envoy asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.planes.mesh.policy.compiler.outbound.targets import Spread
from atoll.resources.mesh.services import Endpoint, Locality

_FAR = 4  # no rank is farther


def priorities(endpoints: Sequence[Endpoint], spread: Spread) -> list[int]:
    """Of each endpoint, 0 first."""
    ranks = [_rank(endpoint, spread) for endpoint in endpoints]
    order = {rank: priority for priority, rank in enumerate(sorted(set(ranks)))}
    return [order[rank] for rank in ranks]


def _rank(endpoint: Endpoint, spread: Spread) -> int:
    if spread.labels:
        shared = 0
        for name, value in spread.labels:
            if _label(endpoint, name) != value:
                break
            shared += 1
        return len(spread.labels) - shared
    own, other = spread.own, endpoint.locality
    if own.region != other.region:
        follows = dict(spread.failover).get(own.region)
        return _FAR if follows and follows != other.region else _FAR - 1
    if own.zone != other.zone:
        return 2
    return 1 if own.sub_zone != other.sub_zone else 0


_OF_LOCALITY = {
    "topology.kubernetes.io/region": "region",
    "topology.kubernetes.io/zone": "zone",
    "topology.istio.io/subzone": "sub_zone",
}


def label_of(labels_locality: tuple[dict[str, str], Locality], name: str) -> str:
    """A label of a client or an endpoint; the well-known ones of topology are its locality."""
    labels, locality = labels_locality
    if name in _OF_LOCALITY:
        return str(getattr(locality, _OF_LOCALITY[name]))
    return labels.get(name, "")


def _label(endpoint: Endpoint, name: str) -> str:
    return label_of((dict(endpoint.labels), endpoint.locality), name)


def shares(localities: Sequence[Locality], spread: Spread) -> dict[Locality, int]:
    """The weight of each locality that gets something. A pattern's share is divided among the localities in it."""
    found: dict[Locality, int] = {}
    for pattern, percent in spread.shares:
        inside = [each for each in localities if matches(pattern, each) and each not in found]
        for each in inside:
            found[each] = max(1, round(percent * 100 / len(inside))) if percent else 0
    return {each: weight for each, weight in found.items() if weight}


def matches(pattern: str, locality: Locality) -> bool:
    """``region/zone/sub_zone``, of which the end may be left out, and ``*`` stands for any."""
    wanted = pattern.split("/")
    parts = (locality.region, locality.zone, locality.sub_zone)
    return all(one in ("*", part) for one, part in zip(wanted, parts, strict=False))
