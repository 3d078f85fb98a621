"""Whether the store answers: what makes an answer from the last good view a stale one.

Rule: the store is asked once a second for something cheap that only a store with a leader can say. After ``AWAY_AFTER_S``
without an answer it is away; the first answer ends that. A watch cannot tell: it resumes in silence.
"""

from __future__ import annotations

from typing import Final

from atoll.errors import AtollError
from atoll.planes.registry.model.naming_keys import Part
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import Range, Store

ASKED_EVERY_S: Final = 1.0
ASKED_WITHIN_S: Final = 2.0
AWAY_AFTER_S: Final = 3.0


class StoreSight:
    """Of one node."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._log = Log("naming")
        self._answered_s = clock.now_s()
        self._away = False

    def away(self) -> bool:
        """The store does not answer."""
        return self._away

    async def run(self) -> None:
        """Ask, for as long as the node runs."""
        while True:
            await self.look()
            await loop.sleep(ASKED_EVERY_S)

    async def look(self) -> None:
        """Ask once."""
        try:
            async with loop.bounded(ASKED_WITHIN_S, "asking the store for a sign of life"):
                await self._store.range(Range(Part.SWITCHES.value, count_only=True))
        except AtollError as error:
            silent_s = self._clock.now_s() - self._answered_s
            if silent_s >= AWAY_AFTER_S and not self._away:
                self._away = True
                self._log.warning(
                    "the store is away; what it holds is served as last seen", why=error.message
                )
            return
        self._answered_s = self._clock.now_s()
        if self._away:
            self._away = False
            self._log.info("the store is back")
