"""One resource type on one stream: what the client asked for, what it was sent, and what it said of it.

Rule: ``sent`` is what the client will have once it took everything that is on its way; ``accepted`` what it said that it
has. Whoever asks what a client *may* have asks for both. A response that is neither accepted nor refused in time counts
as taken, so that a client that never says anything holds up nobody, least of all itself; its status goes on to say so.

A refusal takes the refused resources back to what was accepted before. They are not sent again in that version, which
would be a loop (trap 2); whatever else was in the same response is, because a client may refuse all for one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

from atoll.wire.xds.shelf import NO_OFFERS, Offer, Offers

NOBODY: frozenset[str] = frozenset()
NOT_THERE = ""
"""As a version that was refused: the removal was."""
FLIGHTS_MAX = 8
"""Responses of one type of which a client said nothing. More are forgotten, the oldest first."""


class Flight(msgspec.Struct):
    """A response on its way. ``whole``: what is not in it is gone (state-of-the-world, LDS and CDS). ``leads``: who had the
    first of these has the second afterwards.
    """

    nonce: str
    offers: Mapping[str, Offer]
    sent_s: float
    removed: tuple[str, ...] = ()
    whole: bool = False
    leads: tuple[Mapping[str, Offer], Offers] | None = None
    taken: bool = False  # for want of a word

    def over(self, had: Mapping[str, Offer]) -> Mapping[str, Offer]:
        """What a client that ``had`` this has afterwards."""
        if self.leads is not None and self.leads[0] is had:
            return self.leads[1]
        if self.whole:
            return self.offers
        if not self.offers and not self.removed:
            return had
        has = {**had, **self.offers}
        for name in self.removed:
            has.pop(name, None)
        return has


class Refusal(msgspec.Struct, frozen=True):
    """What a client refused. ``blamed``: what its text names; all that was new to it where it names nothing."""

    nonce: str
    text: str
    blamed: tuple[Offer, ...]


class Told(msgspec.Struct):
    """For people: how it stands. Times are on the boot clock, 0: never."""

    responses: int = 0
    sent_s: float = 0.0
    accepted_s: float = 0.0
    refused_s: float = 0.0
    text: str = ""  # of the last refusal


class Track:
    """``settled``: the offers for which there is nothing left to do, None where that is not known."""

    __slots__ = (
        "absent",
        "accepted",
        "answered",
        "asked_s",
        "flights",
        "has_other",
        "is_refusing",
        "names",
        "nonce",
        "refused",
        "sent",
        "settled",
        "subscribed",
        "told",
        "type_url",
        "wanted",
        "was_named",
        "wildcard",
    )

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.subscribed = False
        self.wildcard = False
        self.was_named = False
        self.names: frozenset[str] = NOBODY
        self.asked_s = 0.0  # when it first was
        self.answered = False  # at least once
        self.nonce = ""  # of the newest response
        self.sent: Mapping[str, Offer] = NO_OFFERS
        self.accepted: Mapping[str, Offer] = NO_OFFERS
        self.has_other = False  # it came back with another version
        self.absent: set[str] = set()  # names that the client was told are not there
        self.wanted: set[str] = set()  # to be sent in any case
        self.refused: dict[str, str] = {}  # by name: the version that it refused last, offered now or not
        self.is_refusing = False  # and that keeps something from it
        self.flights: dict[str, Flight] = {}  # by nonce, the oldest first
        self.settled: Offers | None = None
        self.told = Told()

    # ------------------------------------------------------------------------------------- what it asks for

    def covers(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def subscribe(self, names: Collection[str]) -> None:
        self.names = self.names.union(names)
        self.was_named = self.was_named or bool(names)
        self.settled = None

    def unsubscribe(self, names: Collection[str]) -> None:
        """What is not asked for any more is forgotten: the client has, as far as one can tell, dropped it."""
        self.names = self.names.difference(names)
        self.settled = None
        if not self.wildcard:
            self.forget(names)

    def forget(self, names: Collection[str]) -> None:
        self.sent = without(self.sent, names)
        self.accepted = self.sent if not self.flights else without(self.accepted, names)
        for flight in self.flights.values():
            flight.offers, flight.leads = without(flight.offers, names), None
        for name in names:
            self.absent.discard(name)
            self.wanted.discard(name)
            self.refused.pop(name, None)

    # ------------------------------------------------------------------------------------- what it was sent

    def launch(self, flight: Flight) -> None:
        self.sent = flight.over(self.sent)
        self.flights[flight.nonce] = flight
        while len(self.flights) > FLIGHTS_MAX:
            self._apply(self.flights.pop(next(iter(self.flights))))
        self.nonce = flight.nonce
        self.answered = True
        self.absent.difference_update(flight.offers)
        self.absent.update(name for name in flight.removed if name in self.names)
        self.told.responses += 1
        self.told.sent_s = flight.sent_s

    def waits_until_s(self, patience_s: float) -> float:
        """Until when an answer is waited for before the next response; minus infinity: no longer."""
        waiting = [flight.sent_s for flight in self.flights.values() if not flight.taken]
        return max(waiting) + patience_s if waiting else float("-inf")

    def take_for_granted(self, sent_before_s: float) -> None:
        """Responses of before, of which nothing was said, count as taken."""
        for flight in self.flights.values():
            if flight.sent_s <= sent_before_s:
                self._apply(flight)

    def may_have(self) -> Iterator[Offer]:
        """All that the client may have now."""
        yield from self.accepted.values()
        for flight in self.flights.values():
            if not flight.taken:
                yield from flight.offers.values()

    @property
    def has_unknown(self) -> bool:
        """The client may have what nobody knows here, from before it came back."""
        return self.has_other or any(offer.is_ghost for offer in self.may_have())

    @property
    def acknowledged(self) -> bool:
        return not self.flights

    # ------------------------------------------------------------------------------------- what it said

    def accept(self, nonce: str, now_s: float) -> Flight | None:
        """None: no response of which that was not known. What came before it was taken as well: clients may answer
        several responses with one request.
        """
        if nonce not in self.flights:
            return None
        flight = self._land(nonce)
        self._apply(flight)
        self.has_other = False
        if not self.flights:
            self.accepted = self.sent
        self.told.accepted_s = now_s
        for name, offer in flight.offers.items() if self.refused else ():
            if self.refused.get(name, offer.version) == offer.version:
                self.refused.pop(name, None)
        return flight

    def refuse(self, nonce: str, text: str, now_s: float) -> Refusal | None:
        """As ``accept``."""
        if nonce not in self.flights:
            return None
        flight = self._land(nonce)
        new = [offer for name, offer in flight.offers.items() if self.accepted.get(name) is not offer]
        named = [offer for offer in new if _speaks_of(text, offer.name)]
        blamed = named or new
        for offer in blamed:
            self.refused[offer.name] = offer.version
        if not named:
            missing = [name for name in self.accepted if flight.whole and name not in flight.offers]
            self.refused.update((name, NOT_THERE) for name in flight.removed or missing)
        if flight.taken:  # after all it was not: what was there before is not known any more
            self.accepted = without(self.accepted, [offer.name for offer in new])
        self.sent = self.accepted
        for later in self.flights.values():
            self.sent = later.over(self.sent)
        self.settled = None
        self.is_refusing = True
        self.told.refused_s = now_s
        self.told.text = text or "refused without a reason"
        return Refusal(nonce, text, tuple(blamed))

    def _land(self, nonce: str) -> Flight:
        while True:
            first = self.flights.pop(next(iter(self.flights)))
            if first.nonce == nonce:
                return first
            self._apply(first)

    def _apply(self, flight: Flight) -> None:
        if not flight.taken:
            flight.taken = True
            self.accepted = flight.over(self.accepted)

    # ------------------------------------------------------------------------------------- at rest

    def settle(self, offers: Offers) -> None:
        """Nothing is left to do for ``offers``; what is equal to what others have is shared with them."""
        self.settled = offers
        self.wanted.clear()
        self.is_refusing = any(self._stands(name, version) for name, version in self.refused.items())
        if self.sent is not offers and self.sent == offers:
            same = self.accepted is self.sent
            self.sent = offers
            self.accepted = offers if same else self.accepted
        if self.names is not offers.names and self.names == offers.names:
            self.names = offers.names

    def _stands(self, name: str, version: str) -> bool:
        """Whether a refusal still keeps something from the client."""
        offer = (self.settled or NO_OFFERS).get(name)
        return name in self.sent if offer is None else offer.version == version

    def may_retry_removals(self) -> None:
        """The world has changed: what would not go may go now."""
        self.refused = {name: version for name, version in self.refused.items() if version != NOT_THERE}

    def believe(self, offers: Mapping[str, Offer]) -> None:
        """The client came back and says that it has these."""
        self.sent = self.accepted = offers


def _speaks_of(text: str, name: str) -> bool:
    """Whether ``text`` speaks of ``name``, and not only of something that has it as a part."""
    return re.search(rf"(?<![\w|.-]){re.escape(name)}(?![\w|-])", text) is not None


def without(offers: Mapping[str, Offer], names: Collection[str]) -> Mapping[str, Offer]:
    """``offers``, but for those of ``names``; the same object where none is among them."""
    if not any(name in offers for name in names):
        return offers
    gone = frozenset(names)
    return {name: offer for name, offer in offers.items() if name not in gone}
