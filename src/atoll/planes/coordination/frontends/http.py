"""Elections over the HTTP API: list, look at, observe, hand over, pause and resume.

Rule: it shapes what ``store.elections`` answers, and decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from atoll.resources.election_views import (
    CandidateView,
    ElectionOrder,
    ElectionView,
    HandoverOrder,
    LeaderView,
    Observed,
    TermView,
)
from atoll.resources.node import Done
from atoll.runtime.clock import Clock
from atoll.runtime.http_api import Asked, Endpoint
from atoll.store import elections
from atoll.store.api import Store

ELECTIONS_MAX = 200  # shown in a list; each costs a question to the store


class ElectionsApi:
    """The endpoints over one store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        name = ("name",)
        order, handover = ElectionOrder, HandoverOrder
        return [
            Endpoint("GET", "/v1/elections", "All elections.", self.every, list[ElectionView]),
            Endpoint("GET", "/v1/election", "One, with its terms.", self.one, ElectionView, query=name),
            Endpoint(
                "GET",
                "/v1/election/observe",
                "Each leader.",
                self.observe,
                Observed,
                query=name,
                streams=True,
            ),
            Endpoint("POST", "/v1/election/handover", "Hand over.", self.handover, Done, body=handover),
            Endpoint("POST", "/v1/election/pause", "Begin no new term.", self.pause, Done, body=order),
            Endpoint("POST", "/v1/election/resume", "Begin terms again.", self.resume, Done, body=order),
        ]

    async def every(self, asked: Asked) -> list[ElectionView]:
        names = (await elections.names(self._store))[:ELECTIONS_MAX]
        return [_view(await elections.overview(self._store, name)) for name in names]

    async def one(self, asked: Asked) -> ElectionView:
        name = asked.field("name")
        terms = await elections.history(self._store, name)
        return _view(await elections.overview(self._store, name), terms)

    async def observe(self, asked: Asked) -> AsyncIterator[Observed]:
        async for leader in elections.observe(self._store, asked.field("name")):
            yield Observed(self._clock.wall_s(), _leader(leader))

    async def handover(self, asked: Asked) -> Done:
        return Done(await elections.handover(self._store, asked.body.name, asked.body.to))

    async def pause(self, asked: Asked) -> Done:
        return Done(await elections.pause(self._store, asked.body.name))

    async def resume(self, asked: Asked) -> Done:
        return Done(await elections.resume(self._store, asked.body.name))


def _view(seen: elections.Overview, terms: tuple[elections.PastTerm, ...] = ()) -> ElectionView:
    return ElectionView(
        name=seen.name,
        leader=_leader(seen.leader),
        candidates=tuple(
            CandidateView(each.id, each.priority, f"{each.lease:x}", each.revision)
            for each in seen.candidates
        ),
        paused=seen.paused,
        handover_to=seen.handover_to,
        revision=seen.revision,
        terms=tuple(_term(each) for each in terms),
    )


def _term(past: elections.PastTerm) -> TermView:
    record = past.record
    return TermView(str(past.token), record.holder, record.start_s, record.end_s, record.cause)


def _leader(leader: elections.Leader | None) -> LeaderView | None:
    if leader is None:
        return None
    value, key = (each.decode("utf-8", "backslashreplace") for each in (leader.value, leader.key))
    return LeaderView(leader.id, value, str(leader.token), key, f"{leader.lease:x}", leader.serving)
