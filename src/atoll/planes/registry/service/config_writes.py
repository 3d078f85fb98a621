"""How a decision about configuration is committed: the one place that writes.

Rule: decide on the view, commit under the guards, and if a guard failed wait for the view to show why and decide again.
Every commit carries its audit entry in the same transaction. Afterwards the view is waited for, so that whoever wrote
reads what they wrote; if it is late, the write still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_decisions import Content, Decided, Stamp
from atoll.planes.registry.service.config_follower import ConfigFollower
from atoll.planes.registry.service.item_ids import ItemIds
from atoll.resources.actor import Actor
from atoll.runtime.clock import Clock
from atoll.runtime.rng import Rng, new_token
from atoll.store.api import Operation, Put, Store

ATTEMPTS_MAX = 50
MOVED_WITHIN_S = 0.2
INLINE_BYTES_MAX = 384 * 1024  # as JSON; an update writes two contents in one request of at most 1.5 MiB
CHUNK_BYTES = 1024 * 1024

Audit: TypeAlias = Callable[[Actor, str, str, str, str], Put]
"""actor, action, subject, hash before, hash after: the entry to write in the same transaction."""


class Committed(msgspec.Struct, frozen=True):
    decided: Decided
    revision: int


class ConfigWriter:
    def __init__(self, store: Store, follower: ConfigFollower, audit: Audit, clock: Clock, rng: Rng) -> None:
        self.store = store
        self._follower = follower
        self._audit = audit
        self._clock = clock
        self._rng = rng
        self._ids = ItemIds(store)
        self._last_history_id = 0

    async def stamp(self, actor: Actor, new: bool) -> Stamp:
        """``new``: there may be something to create, so draw an id for it."""
        now_s = self._clock.wall_s()
        return Stamp(now_s, actor, await self._ids.next() if new else 0, self._history_id(now_s))

    async def commit(
        self, actor: Actor, subject: str, new: Callable[[], bool], decide: Callable[[Stamp], Decided]
    ) -> Committed:
        """Raises what ``decide`` raises, what the store says, and CONFLICT when others always were faster."""
        for _ in range(ATTEMPTS_MAX):
            seen = self._follower.view.revision
            decided = decide(await self.stamp(actor, new()))
            if not decided.operations:
                return Committed(decided, self._follower.view.revision)
            entry = self._audit(actor, decided.action, subject, decided.before, decided.after)
            operations: list[Operation] = [*decided.operations, entry]
            try:
                result = await self.store.commit(decided.guards, operations)
            except AtollError as error:
                if error.code is not Code.CONFLICT:
                    raise
                # What it lost against is in the store already, and on its way to the view.
                await self._follower.at(seen + 1, MOVED_WITHIN_S)
                continue
            await self._follower.at(result.revision)
            return Committed(decided, result.revision)
        text = f"{subject} is changed by others all the time; repeat"
        raise AtollError(Code.CONFLICT, text, retry_after_s=0.5)

    async def content(self, text: str) -> Content:
        """``text``, in chunks in the store already where it is too large for one record."""
        if len(text) * 6 <= INLINE_BYTES_MAX or len(msgspec.json.encode(text)) <= INLINE_BYTES_MAX:
            return Content(text)
        raw = text.encode()
        parts = [raw[start : start + CHUNK_BYTES] for start in range(0, len(raw), CHUNK_BYTES)]
        chunks_id = new_token(15)
        for number, part in enumerate(parts):
            await self.store.put(Put(keys.chunk(chunks_id, number), part))
        return Content(text, chunks_id, len(parts))

    def _history_id(self, now_s: float) -> int:
        """Ascends by time, and within a millisecond by chance; should two nodes draw the same for one item all the
        same, a guard refuses the second, which draws again. Below 2**53 until the year 2255.
        """
        drawn = int(now_s * 1000) * 1000 + self._rng.randrange(1000)
        self._last_history_id = max(drawn, self._last_history_id + 1)
        return self._last_history_id
