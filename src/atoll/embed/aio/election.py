"""Leading from inside an application: campaign, act while the term holds, resign.

Rule: leadership does not depend on the caller's loop or threads. Lease, heartbeats and deadline live on the
candidate's own thread (``store.candidate``); a caller that is late finds its term over, never extended by mistake.

    async with Election(store, Candidacy("reports", "host-1")) as election:
        term = await election.campaign()
        while term.holds():
            await store.commit(term.guards(), [Put(b"report", await next_report())])
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Final

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import loop
from atoll.store import elections
from atoll.store.candidate import Candidacy, Candidate, Cause, Fact, Lost, Out, Proclaimed, Quiesce, Won
from atoll.store.elections import Leader
from atoll.store.shell import StoreShell
from atoll.store.term import Term

PROCLAIM_S_MAX: Final = 10.0
RESIGN_S_MAX: Final = 10.0


def _ignore(_: object) -> None:
    """Nobody asked to be called back."""
    return


class Callbacks(msgspec.Struct, frozen=True):
    """Called one at a time, in order. ``quiesce``: stop serving, then call ``Election.quiesced``; where it is not
    given, a term that is asked for (a hand-over) ends at once, and ``term.check()`` says so.
    """

    won: Callable[[Term], None] = _ignore
    lost: Callable[[Cause], None] = _ignore
    quiesce: Callable[[Quiesce], None] | None = None


class Election:
    """One candidate. Enter it with ``async with``, or ``close`` it."""

    def __init__(self, store: StoreShell, candidacy: Candidacy, callbacks: Callbacks | None = None) -> None:
        self._store = store
        self._name = candidacy.name
        self._callbacks = callbacks or Callbacks()
        self._leads = loop.Event()
        self._follows = loop.Event()
        self._out = loop.Event()
        self._said: loop.Queue[bytes] = loop.Queue()
        self._follows.set()
        self._candidate = Candidate(store.driver, candidacy, loop.call_from_thread(self._hear))

    @property
    def term(self) -> Term | None:
        """The term that is led now; None without one."""
        return self._candidate.term

    async def campaign(self, within_s: float | None = None) -> Term:
        """Stand, and wait until this candidate leads. Raises TIMEOUT after ``within_s`` seconds; it stands on."""
        self._out.clear()
        self._candidate.start()
        while True:
            if not await loop.wait_event(self._leads, within_s):
                text = f"election {self._name!r} was not won within {within_s:g} s"
                raise AtollError(Code.UNAVAILABLE, text, reason=Reason.TIMEOUT, retry_after_s=1.0)
            term = self._candidate.term
            if term is not None:
                return term
            self._leads.clear()  # won and lost again before anybody looked

    async def ended(self, within_s: float | None = None) -> bool:
        """Wait until this candidate leads no more; False when it still does after ``within_s`` seconds."""
        return await loop.wait_event(self._follows, within_s)

    def quiesced(self) -> None:
        """The answer to ``Callbacks.quiesce``: nothing is served any more."""
        self._candidate.quiesced()

    async def resign(self) -> None:
        """Leave the election; the caller serves nothing any more. The next one leads at once."""
        self._candidate.resign(quiet=True)
        await loop.wait_event(self._out, RESIGN_S_MAX)

    async def proclaim(self, value: bytes) -> None:
        """Change the value that observers see, without an election. Raises CONFLICT without a term."""
        if self._candidate.term is None:
            raise AtollError(Code.CONFLICT, f"{self._name!r} is not led from here", reason=Reason.NOT_LEADER)
        self._candidate.proclaim(value)
        said: bytes | None = b""
        while said is not None:
            said = await loop.next_within(self._said, PROCLAIM_S_MAX)
            if said == value:
                return
        text = f"the value was not stored within {PROCLAIM_S_MAX:g} s; it will be when the store answers"
        raise AtollError(Code.UNKNOWN, text, reason=Reason.TIMEOUT)

    async def leader(self) -> Leader | None:
        return await elections.leader(self._store, self._name)

    def observe(self) -> AsyncGenerator[Leader | None, None]:
        """The leader now, and every change from then on; see ``store.elections.observe``."""
        return elections.observe(self._store, self._name)

    async def close(self) -> None:
        """Leave for good; the caller serves nothing any more."""
        await loop.in_thread(self._candidate.close)

    async def __aenter__(self) -> Election:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _hear(self, fact: Fact) -> None:
        match fact:
            case Won(term):
                self._follows.clear()
                self._leads.set()
                self._callbacks.won(term)
            case Lost(cause):
                self._leads.clear()
                self._follows.set()
                self._callbacks.lost(cause)
            case Quiesce():
                (self._callbacks.quiesce or self._quiet)(fact)
            case Proclaimed(value):
                self._said.put_nowait(value)
            case Out():
                self._out.set()

    def _quiet(self, _: Quiesce) -> None:
        self._candidate.quiesced()
