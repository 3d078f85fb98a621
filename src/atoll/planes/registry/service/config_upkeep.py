"""Keeping the past of configuration within its limits: a job of the node that leads.

Rule: what goes is decided by ``policy.config_retention`` from keys alone, and deleted under the leader's term.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import AtollError
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.policy import config_retention as policy
from atoll.planes.registry.service.config_follower import ConfigFollower
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import Compare, Delete, Range, SortOrder, SortTarget, Store, prefix_end
from atoll.store.term import Term

EVERY_S = 600.0
PAGE_KEYS = 5_000
DELETES_AT_ONCE = 100


class ConfigUpkeep:
    name = "configuration's history"

    def __init__(self, store: Store, follower: ConfigFollower, limits: ConfigLimits, clock: Clock) -> None:
        self._store = store
        self._follower = follower
        self._limits = limits
        self._clock = clock
        self._unnamed_since: dict[str, float] = {}
        self._log = Log("config")

    async def run(self, term: Term) -> None:
        """Sweep now and then until cancelled. What the store refuses is swept the next time."""
        self._unnamed_since = {}
        while term.holds():
            try:
                term.check()
                await self.sweep(term.guards())
            except AtollError as error:
                self._log.warning("history not swept", why=error.message)
            await loop.sleep(EVERY_S)

    async def sweep(self, guards: Sequence[Compare] = ()) -> None:
        """Once. Raises what the store says."""
        places = await self._places(keys.HISTORY)
        gone = policy.outdated(places, self._clock.wall_s(), self._limits)
        await self._delete(guards, [Delete(place) for place in gone])
        chunks = await self._places(keys.CHUNKS)
        kept = await self._places(keys.HISTORY)
        if not await self._follower.at(await self._newest()):
            return  # what the view names may be out of date
        present = [place[len(keys.CHUNKS) :].decode().partition("/")[0] for place in chunks]
        named = {keys.parse_history(place)[2] for place in kept} | self._follower.view.chunks_named()
        unused, self._unnamed_since = policy.unnamed(present, named, self._unnamed_since, self._clock.now_s())
        prefixes = [keys.chunks(each) for each in unused]
        await self._delete(guards, [Delete(prefix, prefix_end(prefix)) for prefix in prefixes])
        if gone or unused:
            self._log.info("history swept", entries=len(gone), contents=len(unused))

    async def _delete(self, guards: Sequence[Compare], deletes: Sequence[Delete]) -> None:
        for start in range(0, len(deletes), DELETES_AT_ONCE):
            await self._store.commit(guards, deletes[start : start + DELETES_AT_ONCE])

    async def _newest(self) -> int:
        """The revision of the newest write of what is followed."""
        last = Range(
            keys.CONFIGS,
            prefix_end(keys.CONFIGS),
            limit=1,
            sort_order=SortOrder.DESCEND,
            sort_target=SortTarget.MOD,
            keys_only=True,
        )
        found = (await self._store.range(last)).kvs
        return found[0].mod_revision if found else 0

    async def _places(self, prefix: bytes) -> list[bytes]:
        """The keys below ``prefix``, at one revision."""
        found: list[bytes] = []
        begin, end, revision = prefix, prefix_end(prefix), 0
        while True:
            page = await self._store.range(
                Range(begin, end, revision=revision, limit=PAGE_KEYS, keys_only=True)
            )
            revision = revision or page.revision
            found += [kv.key for kv in page.kvs]
            if not page.more:
                return found
            begin = page.kvs[-1].key + b"\0"
