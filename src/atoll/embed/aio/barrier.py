"""A barrier: while it is held everybody waits; when it is released everybody goes on at once.

Rule: held means that its key is there (etcd's ``Barrier`` recipe). Held through a session it falls with its holder.
"""

from __future__ import annotations

from contextlib import aclosing

from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.store.api import Compare, Delete, Put, Range, Relation, Target, Txn, Watch
from atoll.store.session import Session
from atoll.store.shell import StoreShell


class Barrier:
    """``session`` only for whoever holds it."""

    def __init__(self, store: StoreShell, name: str, session: Session | None = None) -> None:
        if not name:
            raise AtollError(Code.INVALID, "a barrier needs a name that is not empty")
        self._store = store
        self._session = session
        self._key = name.encode()

    async def hold(self) -> None:
        """Raise the barrier. Raises CONFLICT when it is held already, by whomever."""
        if self._session is not None:
            self._session.check()
        absent = Compare(self._key, Target.CREATE, Relation.EQUAL, 0)
        put = Put(self._key, b"", self._session.lease if self._session else 0)
        result = await self._store.txn(Txn((absent,), (put,)))
        if not result.succeeded:
            raise AtollError(Code.CONFLICT, f"the barrier {self._key!r} is held already; wait for it instead")

    async def release(self) -> None:
        """Let everybody go on; does nothing when it is not held."""
        await self._store.delete(Delete(self._key))

    async def wait(self, within_s: float | None = None) -> None:
        """Return when it is not held. Raises TIMEOUT after ``within_s`` seconds."""
        found = await self._store.range(Range(self._key))
        if not found.kvs:
            return
        watch = Watch(self._key, b"", found.revision + 1, no_put=True)
        async with aclosing(self._store.watch(watch)) as batches:
            async for batch in loop.each_within(batches, within_s, f"waiting for the barrier {self._key!r}"):
                if batch.events:
                    return
