"""Incremental discovery: requests say what changed in what a client wants, responses what changed in what there is.

Rules (xDS protocol, "Incremental"):

- a nonce only tells which response is accepted or refused; subscriptions count whatever nonce they come with (trap 3);
- the first request of a type without names subscribes to the wildcard; later ones say so by ``*`` (trap 5);
- a name that is subscribed to is answered, though the client was sent it before: it may have forgotten (trap 7). What
  does not exist is answered by a removal; so is, while the wildcard is held, a name that is taken back, if it does not
  exist. Taking back what was never asked for is nothing (trap 8);
- a client that comes back says which versions it has: it is sent the differences, and removals of what vanished.
  What vanished while it was away may be in use by its listeners and routes of before; so clusters are taken away only
  when these are known to be the present ones, or said nothing for ``ack_s_max``.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.wire.xds import messages
from atoll.wire.xds.messages import WILDCARD, DeltaRequest
from atoll.wire.xds.shelf import NO_OFFERS, Goal, Offer, Offers, ghost
from atoll.wire.xds.snapshot import EMPTY
from atoll.wire.xds.stream import CLUSTER, Change, Fact, Limits, Stream
from atoll.wire.xds.track import NOBODY, Flight, Track


class Delta(Stream):
    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._demanded = (NO_OFFERS, NO_OFFERS, NOBODY, NO_OFFERS)  # of a goal, with these names: the offers

    def on_request(self, request: DeltaRequest, now_s: float) -> list[Fact]:
        """Raises EXHAUSTED: more is asked for than a stream may."""
        track = self._track(request.type_url)
        facts = self._answered(track, request.nonce, request.error, now_s) if request.nonce else []
        first = not track.subscribed
        if first:
            track.subscribed = True
            track.asked_s = now_s
            track.wildcard = not request.subscribe
            self._come_back(track, request.initial)
        self._subscribe(track, request.subscribe, first)
        if request.unsubscribe:
            self._unsubscribe(track, request.unsubscribe)
        return facts

    def _subscribe(self, track: Track, named: tuple[str, ...], first: bool) -> None:
        if not named:
            return
        track.settled = None
        names = [name for name in named if name != WILDCARD]
        if len(names) < len(named):
            track.wildcard = True
        if names:
            track.subscribe(names)
            track.absent.difference_update(names)
            if not first:
                track.wanted.update(names)
            self._check_names(track)

    def _unsubscribe(self, track: Track, named: tuple[str, ...]) -> None:
        track.settled = None
        if WILDCARD in named and track.wildcard:
            track.wildcard = False
            track.forget([name for name in track.sent if name not in track.names])
        known = [name for name in named if name in track.names]
        track.unsubscribe(known)
        if track.wildcard:
            track.wanted.update(known)

    def _come_back(self, track: Track, initial: Mapping[str, str]) -> None:
        if not initial:
            return
        offers = self.offers(track, self.goal) if self.goal is not None else NO_OFFERS
        has: dict[str, Offer] = {}
        for name, version in initial.items():
            offer = offers.get(name)
            has[name] = offer if offer is not None and offer.version == version else ghost(name, version)
        track.believe(has)
        track.answered = True

    def offers(self, track: Track, goal: Goal) -> Offers:
        """Of clusters that are sent on demand only those that this client has asked for."""
        every = goal.of(track.type_url)
        if track.type_url != CLUSTER or not track.wildcard or goal.unasked is every:
            return every
        of, unasked, names, offers = self._demanded
        if of is not every or unasked is not goal.unasked or names is not track.names:
            asked = {name: every[name] for name in sorted(track.names) if name in every}
            offers = Offers({**goal.unasked, **asked}) if asked else goal.unasked
            self._demanded = (every, goal.unasked, track.names, offers)
        return offers

    def _is_on_demand(self, cluster: str) -> bool:
        clusters = self.tracks[CLUSTER]
        snapshot = self.goal.snapshot if self.goal is not None else EMPTY
        return clusters.wildcard and cluster in snapshot.on_demand and cluster not in clusters.names

    def _flight(self, track: Track, change: Change, offers: Offers, now_s: float) -> Flight | None:
        removed = (*change.gone, *_missing(track, offers))
        begun = track.answered or not track.wildcard
        if not change.offers and not removed and begun:
            return None
        told = self._first_of(change.offers)
        exact = change.exact and len(told) == len(change.offers)
        leads = (track.sent, offers) if exact else None
        return Flight(self._new_nonce(), told, now_s, removed, leads=leads)

    def _encode(self, track: Track, flight: Flight) -> bytes:
        entries = [offer.delta_entry() for offer in flight.offers.values()]
        return messages.delta_response(track.type_url, flight.nonce, entries, flight.removed)


def _missing(track: Track, offers: Offers) -> list[str]:
    """Names that are to be answered, are not there, and were not there before."""
    if not track.wanted and offers.keys() >= track.names:
        return []
    untold = [name for name in track.names if name not in track.absent]
    asked = {*untold, *track.wanted}
    return sorted(name for name in asked if name not in offers and name not in track.sent)
