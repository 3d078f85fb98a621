"""The authority's records, kept up with the store: the one place that reads and writes them.

Rule: while the store is away the view stands still and goes on being used: who was
allowed stays allowed, who is trusted stays trusted. A record of a newer release is left as it was known before, and logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_keys as keys
from atoll.planes.mesh.model.authority_decisions import Decided
from atoll.planes.mesh.model.authority_view import AuthorityView
from atoll.resources.actor import Actor
from atoll.store.api import KeyValue, Store
from atoll.store.audit import AuditWriter, hash_of
from atoll.store.following import Following, with_deletions

ATTEMPTS_MAX = 20


class Records(Following):
    """``changed`` is called after each revision that touched something, on the loop."""

    def __init__(self, store: Store, audit: AuditWriter) -> None:
        super().__init__(store, keys.AUTHORITY, self._take, "authority")
        self.view = AuthorityView()
        self.store = store
        self.audit = audit
        self.changed: Callable[[], None] = _nobody

    async def commit(self, actor: Actor, decide: Callable[[AuthorityView], Decided]) -> Decided:
        """Decide on the view, write under its guards, decide again when they failed; then wait for the view to show it.
        Raises what ``decide`` raises, what the store says, and CONFLICT when others always were faster.
        """
        for _ in range(ATTEMPTS_MAX):
            seen = self.revision
            decided = decide(self.view)
            if not decided.operations:
                return decided
            entry = self.audit.entry(
                actor, decided.action, decided.subject, hash_of(decided.before), hash_of(decided.after)
            )
            try:
                done = await self.store.commit(decided.guards, [*decided.operations, entry])
            except AtollError as error:
                if error.code is not Code.CONFLICT:
                    raise
                await self.at(seen + 1)  # what it lost against is on its way to the view
                continue
            await self.at(done.revision)
            return decided
        text = "the mesh's authority is changed by others all the time; repeat"
        raise AtollError(Code.CONFLICT, text, retry_after_s=0.5)

    def _take(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        if whole:
            kvs = with_deletions(self.view.places(), kvs, revision)
        for kv in kvs:
            try:
                self.view.apply(kv)
            except AtollError as error:
                self._log.error(
                    "a record of the authority cannot be read", key=repr(kv.key), why=error.message
                )
        if kvs:
            self.changed()


def _nobody() -> None:
    return None
