"""Leader-only: overrides of instances that are gone for long are forgotten.

Rule: an override outlives its instance by the time that the operator chose, seen without a break by the node that
leads; a new leader begins to count anew, so an override may live longer, never shorter. What the node sees while it has
no word of the store counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.errors import AtollError
from atoll.planes.registry.model import naming_decisions
from atoll.planes.registry.service.beating import Which
from atoll.planes.registry.service.naming import Naming
from atoll.resources import naming_keys
from atoll.resources.instance import Override
from atoll.resources.naming_keys import Part
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.store.api import Delete, Store
from atoll.store.term import Term

LOOKED_EVERY_S = 10.0


class OverrideCleaner:
    """``run`` is a leader's job."""

    name = "forget overrides of instances that are gone"

    def __init__(self, naming: Naming, store: Store) -> None:
        self._naming = naming
        self._store = store
        self._log = Log("naming")
        self._gone_s: dict[Which, float] = {}  # since when, on the boot clock

    async def run(self, term: Term) -> None:
        self._gone_s.clear()
        while term.holds():
            try:
                await self.look(term)
            except AtollError as error:
                self._log.warning("overrides not cleaned", error=error.message)
            await loop.sleep(LOOKED_EVERY_S)

    async def look(self, term: Term) -> None:
        """Once. Raises what the store says, and CONFLICT / NOT_LEADER after the end of the term."""
        if self._naming.stale:
            self._gone_s.clear()
            return
        now_s = self._naming.clock.now_s()
        absent = dict(self._absent())
        self._gone_s = {which: self._gone_s.get(which, now_s) for which in absent}
        for which, override in absent.items():
            if now_s - self._gone_s[which] >= self._naming.chosen.override_kept_s:
                term.check()
                at = naming_keys.stored(Part.OVERRIDE, which.key, which.identity)
                guards = (*term.guards(), naming_decisions.unchanged(at, override))
                await self._store.commit(guards, (Delete(at),))

    def _absent(self) -> Iterator[tuple[Which, Override]]:
        for key, state in self._naming.directory.services.items():
            for identity, override in state.overrides.items():
                if identity not in state.live and identity not in state.persistent:
                    yield Which(key, identity), override
