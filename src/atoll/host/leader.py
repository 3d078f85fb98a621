"""Leader-only work of nodes: of all nodes on one store, one at a time runs it.

Rule: a job runs only between the begin and the end of a term, is given the term, and asks ``term.check()`` before each
act; what it writes carries ``term.guards()``. When it is told to stop it is cancelled and waited for, and only then is
the leadership given up.

The election is called ``ELECTION`` and is one like any other: ``atoll elections`` shows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.errors import AtollError
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.tasks import OnFailure, Tasks
from atoll.store.api import Driver, Store
from atoll.store.candidate import Candidacy, Candidate, Fact, Lost, Quiesce, Won
from atoll.store.term import Term

ELECTION = "atoll/nodes"
TTL_S = 10
STOP_WITHIN_S = 5.0
LOOKS = 10  # at the revision, in the age at which history is forgotten


@dataclass(frozen=True)
class Job:
    """``run(term)`` works until it is cancelled; its failure is the node's."""

    name: str
    run: Callable[[Term], Coroutine[Any, Any, None]]


class Leader:
    """One node's part. Each term has tasks of its own, so that a late end of one term cannot touch the next."""

    def __init__(self, node_id: str, jobs: Sequence[Job], clock: Clock, on_failure: OnFailure) -> None:
        self._jobs = jobs
        self._clock = clock
        self._log = Log("leader")
        self._on_failure = on_failure
        self._work = Tasks(self._log, on_failure)  # of the newest term
        self._ends = Tasks(self._log, on_failure)
        self._candidacy = Candidacy(ELECTION, node_id, ttl_s=TTL_S, quiesce_s_max=STOP_WITHIN_S)
        self._candidate: Candidate | None = None

    @property
    def running(self) -> list[str]:
        """The names of the jobs that run here now."""
        return self._work.names()

    def start(self, driver: Driver) -> None:
        """Stand for election; on the running loop. Without jobs nothing is written to the store."""
        if self._jobs:
            self._candidate = Candidate(
                driver, self._candidacy, loop.call_from_thread(self._hear), self._clock
            )
            self._candidate.start()

    async def stop(self, within_s: float) -> None:
        """Stop the jobs, then give the leadership up."""
        await self._work.stop(STOP_WITHIN_S)
        if self._candidate is not None:
            await loop.in_thread(self._candidate.close)
        await self._ends.stop(within_s)

    def _hear(self, fact: Fact) -> None:
        match fact:
            case Won(term):
                self._log.info("leads", token=str(term.token))
                self._work = Tasks(self._log, self._on_failure)
                for job in self._jobs:
                    self._work.start(job.name, job.run(term))
            case Quiesce():
                self._ends.start("quiesce", self._quiesce())
            case Lost(cause):
                self._log.info("leads no more", cause=cause.value)
                self._ends.start("end", self._end(self._work))

    async def _quiesce(self) -> None:
        await self._end(self._work)
        if self._candidate is not None:
            self._candidate.quiesced()

    async def _end(self, work: Tasks) -> None:
        await work.stop(STOP_WITHIN_S)


class Compactor:
    """The job that forgets an etcd cluster's history older than ``after_s``, for clusters that do not themselves."""

    name = "compact the cluster"

    def __init__(self, store: Store, clock: Clock, after_s: float) -> None:
        self._store = store
        self._clock = clock
        self._after_s = after_s
        self._log = Log("compactor")
        self._seen: deque[tuple[float, int]] = deque()

    def job(self) -> Job:
        return Job(self.name, self.run)

    async def run(self, term: Term) -> None:
        """Look at the revision ten times in ``after_s``; compact at the newest one that is old enough. What the store
        refuses, or somebody else has done already, is looked at again the next time.
        """
        self._seen.clear()
        while term.holds():
            try:
                await self.look(term)
            except AtollError as error:
                self._log.warning("not compacted", error=error.message)
            await loop.sleep(self._after_s / LOOKS)

    async def look(self, term: Term) -> None:
        """Once. Raises what the store says, and CONFLICT / NOT_LEADER after the end of the term."""
        self._seen.append((self._clock.now_s(), (await self._store.status()).revision))
        due = self._due()
        if due:
            term.check()
            await self._store.compact(due)

    def _due(self) -> int:
        """The newest revision seen at least ``after_s`` ago; 0 for none."""
        due = 0
        while self._seen and self._seen[0][0] <= self._clock.now_s() - self._after_s:
            due = self._seen.popleft()[1]
        return due
