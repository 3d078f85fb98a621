"""State-of-the-world: each request names everything that its client wants, and is an answer at the same time.

Rules (xDS protocol, "SotW"):

- a request whose nonce is not the newest's is older than what the client will say next, and is left alone (trap 3);
- a request with the newest nonce is an ACK only if that response was not answered before; afterwards it is a new
  subscription (trap 1), and where it names nothing new, somebody at the client waits for what is named: endpoints and
  routes are told again (trap 11). It is a refusal if and only if it has an error (trap 2);
- no names are the wildcard until a first name was named, and nobody's names from then on (trap 5);
- responses of clusters and listeners hold the whole world, since what is missing in them is gone; those of endpoints
  and routes hold what changed, since nothing is gone by being missing (trap 6). There is no way to say that a name does
  not exist; it is remembered, and served once it does (trap 9);
- a client that comes back for everything, with the version that it would be sent, is sent nothing. One that asks by name is
  sent all it asks for: it may have had that version, given a name up, and want it again now (trap 4).
"""

from __future__ import annotations

from atoll.wire.xds import messages
from atoll.wire.xds.messages import WILDCARD, Request
from atoll.wire.xds.shelf import Offers, version_of
from atoll.wire.xds.stream import CLUSTER, LISTENER, Change, Fact, Stream
from atoll.wire.xds.track import Flight, Track

_WHOLE = (CLUSTER, LISTENER)


class Sotw(Stream):
    def on_request(self, request: Request, now_s: float) -> list[Fact]:
        """Raises EXHAUSTED: more is asked for than a stream may."""
        track = self._track(request.type_url)
        if track.nonce and request.nonce != track.nonce:
            return self._answered(track, request.nonce, request.error, now_s)
        first = not track.subscribed
        again = not first and request.nonce not in track.flights
        facts = self._answered(track, request.nonce, request.error, now_s)
        before = track.names
        self._ask(track, request.names)
        if first:
            track.subscribed = True
            track.asked_s = now_s
            self._come_back(track, request.version)
        elif again and track.names == before and request.error is None and request.type_url not in _WHOLE:
            track.wanted.update(track.names)
            track.settled = None
        return facts

    def _ask(self, track: Track, named: tuple[str, ...]) -> None:
        names = frozenset(named)
        wildcard = WILDCARD in names or (not names and not track.was_named)
        names -= {WILDCARD}
        if wildcard != track.wildcard:
            track.wildcard = wildcard
            track.settled = None
            track.forget([name for name in track.sent if not wildcard and name not in names])
        if names == track.names:
            return
        added, dropped = names - track.names, track.names - names
        if dropped:
            track.unsubscribe(dropped)
        if added:
            track.subscribe(added)
            track.wanted.update(added)
        self._check_names(track)

    def _come_back(self, track: Track, version: str) -> None:
        if not version or self.goal is None:
            return
        offers = self.offers(track, self.goal)
        if track.wildcard and offers.version == version:
            track.believe(offers)
            track.answered = True
        else:
            track.has_other = True

    def _flight(self, track: Track, change: Change, offers: Offers, now_s: float) -> Flight | None:
        if track.type_url in _WHOLE:
            return self._whole(track, change, offers, now_s)
        if not change.offers:
            return None
        told = self._first_of(change.offers)
        exact = change.exact and not change.gone and len(told) == len(change.offers)
        return Flight(self._new_nonce(), told, now_s, leads=(track.sent, offers) if exact else None)

    def _whole(self, track: Track, change: Change, offers: Offers, now_s: float) -> Flight | None:
        begun = track.answered or not track.wildcard
        if not change.offers and not change.gone and begun:
            return None
        if change.exact:
            return Flight(self._new_nonce(), offers, now_s, whole=True)
        gone = frozenset(change.gone)
        left = {name: offer for name, offer in track.sent.items() if name not in gone}
        return Flight(self._new_nonce(), {**left, **change.offers}, now_s, whole=True)

    def _encode(self, track: Track, flight: Flight) -> bytes:
        has = flight.over(track.sent)
        version = has.version if isinstance(has, Offers) else version_of(has.values())
        entries = [offer.entry() for offer in flight.offers.values()]
        return messages.response(track.type_url, version, flight.nonce, entries)
