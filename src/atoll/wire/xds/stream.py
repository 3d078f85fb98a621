"""A stream of aggregated discovery, without I/O: from what a client has towards what it shall have, one response at a time.

Rule: nothing is queued. ``take`` looks at what the client has and at the newest goal, and makes the one response that
must come next; a client that reads slowly is never sent what was overtaken. At most one response of a type waits for an
answer, for ``ack_s_max`` at the longest.

The order is make before break (xDS protocol, "Eventual consistency considerations"):

- clusters before their endpoints before listeners before routes;
- a listener or a route goes out only when each cluster that it refers to was accepted, and the cluster's endpoints with
  it, in the very responses that carried them (trap 1): an unknown cluster is a 503 at once. Until then its
  predecessor stays. A client that asks for clusters by name asks for them because of the route, and is not waited for;
- what is gone is taken away last: not while the client may have anything that refers to it. What a client has that comes
  back is not known before it asked for it, which it does within ``ack_s_max`` or never;
- endpoints follow their cluster each time it changes (trap 11).

Waiting has an end, ``make_s_max``: from then on order alone must do. For a refused cluster it has none.

``Sotw`` and ``Delta`` are the two forms; they differ in what a request means and in what a response says.
The doubt: a client of state-of-the-world that comes back to a server which has started anew, to a world that changed in
between, loses vanished clusters before its routes are replaced: the response must carry the whole world, and nobody has
those clusters' bytes any more. Incremental clients do not; they are told of removals by name.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Container, Mapping, Sequence

import msgspec

from atoll.errors import AtollError, Code
from atoll.wire.xds.shelf import Goal, Offer, Offers
from atoll.wire.xds.snapshot import Type
from atoll.wire.xds.track import NOT_THERE, Flight, Refusal, Track, without

CLUSTER, ENDPOINTS, LISTENER, ROUTE = (kind.value for kind in Type)

REFERRERS = {CLUSTER: (LISTENER, ROUTE), ENDPOINTS: (CLUSTER,), LISTENER: (), ROUTE: (LISTENER,)}
_NEEDS_CLUSTERS = (LISTENER, ROUTE)


class Limits(msgspec.Struct, frozen=True):
    """``ack_s_max``: how long a response of a type is waited for before the next one of it. ``make_s_max``: how long new
    clusters are waited for before what refers to them. ``names_max``: what a client may ask for by name, of one type.
    ``types_max``: types that are not served, of which a client may ask. ``response_bytes``: where a response that may
    be split is (Envoy takes any size, gRPC 4 MiB).
    """

    ack_s_max: float = 5.0
    make_s_max: float = 15.0
    names_max: int = 50_000
    types_max: int = 16
    response_bytes: int = 2_097_152


class Accepted(msgspec.Struct, frozen=True):
    """A client took the response with ``offers``, ``took_s`` after it was sent."""

    type_url: str
    nonce: str
    took_s: float
    offers: Mapping[str, Offer]


class Refused(msgspec.Struct, frozen=True):
    type_url: str
    refusal: Refusal


Fact = Accepted | Refused


class Change(msgspec.Struct):
    """What a response has to say. ``held``: there is more, which waits for clusters; ``kept``: more is gone, but the
    client may still need it. ``exact``: with this said, the client has what it shall have, and nothing else.
    """

    offers: dict[str, Offer]
    gone: list[str]
    held: bool = False
    kept: bool = False
    exact: bool = False


class Stream(abc.ABC):
    """One stream of one client. ``due_s``: when ``take`` should be called although nothing happened."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.due_s = math.inf
        self.goal: Goal | None = None
        self.sent_type = ""  # of the newest response
        self.tracks: dict[str, Track] = {kind.value: Track(kind.value) for kind in Type}
        self._fresh_s: dict[str, float] = {}  # clusters that the client did not have: when they were sent
        self._nonces = 0

    # ------------------------------------------------------------------------------------- from outside

    def advance(self, goal: Goal) -> None:
        """From now on this is what the client shall have."""
        self.goal = goal
        for track in self.tracks.values():
            if track.refused:
                track.may_retry_removals()

    def take(self, now_s: float) -> bytes | None:
        """The next response; None: there is none now."""
        self.due_s = math.inf
        goal = self.goal
        if goal is None:
            return None
        for track in self.tracks.values():
            track.take_for_granted(now_s - self.limits.ack_s_max)
        for track in self.tracks.values():
            if track.subscribed and track.settled is not (offers := self.offers(track, goal)):
                data = self._next(track, offers, now_s)
                if data is not None:
                    return data
        return None

    @property
    def is_current(self) -> bool:
        """The client said that it has all that it asked for and shall have. To be asked after ``take`` gave None."""
        goal = self.goal
        asked = [track for track in self.tracks.values() if track.subscribed]
        return goal is not None and all(
            track.settled is self.offers(track, goal) and track.acknowledged and not track.is_refusing
            for track in asked
        )

    def offers(self, track: Track, goal: Goal) -> Offers:
        """What there is of a type for this client; the same object as long as it is the same."""
        return goal.of(track.type_url)

    # ------------------------------------------------------------------------------------- for the two forms

    @abc.abstractmethod
    def _flight(self, track: Track, change: Change, offers: Offers, now_s: float) -> Flight | None:
        """The response that says ``change``; None: it says nothing to this client."""

    @abc.abstractmethod
    def _encode(self, track: Track, flight: Flight) -> bytes:
        """``flight`` as bytes."""

    def _track(self, type_url: str) -> Track:
        """Raises EXHAUSTED for one type too many."""
        track = self.tracks.get(type_url)
        if track is None:
            if len(self.tracks) >= len(Type) + self.limits.types_max:
                text = f"this stream asks for more than {self.limits.types_max} resource types that are not served"
                raise AtollError(Code.EXHAUSTED, text)
            track = self.tracks[type_url] = Track(type_url)
        return track

    def _answered(self, track: Track, nonce: str, error: str | None, now_s: float) -> list[Fact]:
        """What a request with this nonce and this error says of the response with that nonce."""
        if error is None:
            flight = track.accept(nonce, now_s)
            if flight is None:
                return []
            return [Accepted(track.type_url, nonce, now_s - flight.sent_s, flight.offers)]
        refusal = track.refuse(nonce, error, now_s)
        if refusal is None:
            return []
        if track.type_url == CLUSTER:
            for offer in refusal.blamed:
                self._fresh_s.pop(offer.name, None)
        return [Refused(track.type_url, refusal)]

    def _check_names(self, track: Track) -> None:
        if len(track.names) > self.limits.names_max:
            text = f"{len(track.names)} names of {track.type_url} are asked for; at most {self.limits.names_max} may be"
            raise AtollError(Code.EXHAUSTED, text)

    # ------------------------------------------------------------------------------------- what comes next

    def _next(self, track: Track, offers: Offers, now_s: float) -> bytes | None:
        busy_until_s = track.waits_until_s(self.limits.ack_s_max)
        if busy_until_s > now_s:
            self._look_again(busy_until_s)
            return None
        change = self._change(track, offers, now_s)
        if change.held and not track.answered and not track.sent:
            # the first answer tells a client that it is complete: not before it can be
            first_by_s = track.asked_s + self.limits.make_s_max
            if now_s < first_by_s:
                self._look_again(first_by_s)
                return None
        flight = self._flight(track, change, offers, now_s)
        if flight is not None:
            return self._launch(track, flight)
        if not change.held and not change.kept:
            track.settle(offers)
        return None

    def _launch(self, track: Track, flight: Flight) -> bytes:
        before = track.sent
        data = self._encode(track, flight)
        track.launch(flight)
        self.sent_type = track.type_url
        track.wanted.difference_update(flight.offers, flight.removed)
        track.settled = None
        if track.type_url == CLUSTER:
            self._clusters_sent(before, flight)
        return data

    def _clusters_sent(self, before: Mapping[str, Offer], flight: Flight) -> None:
        endpoints = self.tracks[ENDPOINTS]
        for name, offer in flight.offers.items():
            if before.get(name) is offer:
                continue
            names = [each for kind, each in offer.refers if kind is Type.ENDPOINTS]
            endpoints.wanted.update(each for each in names if each in endpoints.sent)
            endpoints.settled = None
            if name not in before:
                self._fresh_s[name] = flight.sent_s
                endpoints.accepted = without(endpoints.accepted, names)
        clusters = self.tracks[CLUSTER].sent
        self._fresh_s = {name: at_s for name, at_s in self._fresh_s.items() if name in clusters}

    def _change(self, track: Track, offers: Offers, now_s: float) -> Change:
        """What the client should be told of ``track``, as far as order allows."""
        different, gone, exact = _difference(track, offers)
        for name in sorted(track.wanted):
            if name in offers and track.covers(name):
                different[name] = offers[name]
        refused = track.refused
        change = Change({}, [name for name in gone if refused.get(name) != NOT_THERE])
        ready = track.type_url not in _NEEDS_CLUSTERS or not self.tracks[CLUSTER].subscribed
        for name, offer in different.items():
            if refused.get(name) == offer.version:
                exact = False
            elif ready or self._is_ready(offer, now_s):
                change.offers[name] = offer
            else:
                change.held = True
        if change.gone:
            self._keep_what_is_needed(track, change, now_s)
        change.exact = exact and len(change.gone) == len(gone) and not change.held
        return change

    def _is_ready(self, offer: Offer, now_s: float) -> bool:
        """Whether the client has all clusters that ``offer`` refers to."""
        names = [name for kind, name in offer.refers if kind is Type.CLUSTER]
        return all(self._is_usable(name, now_s) for name in names)

    def _is_usable(self, cluster: str, now_s: float) -> bool:
        clusters, endpoints = self.tracks[CLUSTER], self.tracks[ENDPOINTS]
        if not clusters.covers(cluster) or self._is_on_demand(cluster):
            return True
        offer = clusters.accepted.get(cluster) if cluster in clusters.sent else None
        if offer is not None and all(
            name in endpoints.accepted for kind, name in offer.refers if kind is Type.ENDPOINTS
        ):
            self._fresh_s.pop(cluster, None)
            return True
        if cluster not in self._fresh_s:
            return False
        until_s = self._fresh_s[cluster] + self.limits.make_s_max
        if now_s < until_s:
            self._look_again(until_s)
        return now_s >= until_s

    def _is_on_demand(self, cluster: str) -> bool:
        """Whether the client asks for it when it needs it, and has not."""
        return False

    def _keep_what_is_needed(self, track: Track, change: Change, now_s: float) -> None:
        needed = self._needed(track.type_url, now_s)
        kept = [name for name in change.gone if name in needed]
        if kept:
            change.gone = [name for name in change.gone if name not in needed]
            change.kept = True

    def _needed(self, type_url: str, now_s: float) -> Container[str]:
        """Names of a type to which something refers that the client may have."""
        to = self.tracks[type_url]
        referrers = [self.tracks[each] for each in REFERRERS.get(type_url, ())]
        if any(self._may_refer_to_anything(each, to, now_s) for each in referrers):
            return to.sent
        found: set[str] = set()
        for track in referrers:
            for flight in track.flights.values():
                if not flight.taken:
                    self._look_again(flight.sent_s + self.limits.ack_s_max)
            for offer in track.may_have():
                found.update(name for kind, name in offer.refers if kind.value == type_url)
        return found

    def _may_refer_to_anything(self, referrer: Track, to: Track, now_s: float) -> bool:
        """The client may have resources of a type from before it came back, of which nobody knows to what they refer."""
        if referrer.subscribed:
            return referrer.has_unknown
        until_s = to.asked_s + self.limits.ack_s_max
        self._look_again(until_s)
        return now_s < until_s

    def _first_of(self, offers: dict[str, Offer]) -> dict[str, Offer]:
        """As many as fit a response, at least one; the rest comes next."""
        left_bytes = self.limits.response_bytes
        fitting: dict[str, Offer] = {}
        for name, offer in offers.items():
            left_bytes -= len(offer.resource.body)
            if left_bytes < 0 and fitting:
                break
            fitting[name] = offer
        return fitting

    def _look_again(self, at_s: float) -> None:
        self.due_s = min(self.due_s, at_s)

    def _new_nonce(self) -> str:
        self._nonces += 1
        return format(self._nonces, "x")


def _difference(track: Track, offers: Offers) -> tuple[dict[str, Offer], Sequence[str], bool]:
    """What is asked for and different, what is gone, and whether the client has ``offers`` with that."""
    sent = track.sent
    if track.wildcard or len(sent) == len(track.names):  # all that it asked for is there
        since = offers.since(sent)
        different = {offer.name: offer for offer in since.changed if track.covers(offer.name)}
        return different, since.gone, since.exact and len(different) == len(since.changed)
    asked = Offers({name: offers[name] for name in sorted(track.names) if name in offers})
    since = asked.since(sent)
    return (
        {offer.name: offer for offer in since.changed},
        [name for name in since.gone if name not in offers],
        False,
    )
