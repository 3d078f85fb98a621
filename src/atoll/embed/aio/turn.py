"""Taking turns: the one primitive under all locks, etcd's recipe with a fencing token and a deadline.

Rule: whoever wants in puts one leased key; it has its turn when fewer than ``allowed`` of the keys that block it are
older than its own. Before it believes that, it has read its own key back in the same transaction. Every turn has
a token, the create revision of its key, which grows from turn to turn.

Theory: etcd clientv3 ``concurrency/mutex.go`` and ``recipes``; the keys are the same, so its clients can queue too.
Waiters of a range share its deletions; each counts those that were before it, and looks again when few enough
are left, or when its own key went.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources.election import Token
from atoll.runtime import loop
from atoll.store import ballot
from atoll.store.api import (
    GENERATION_KEY,
    Compare,
    Delete,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Relation,
    Target,
    Txn,
    TxnResult,
    Watch,
    prefix_end,
)
from atoll.store.session import Session
from atoll.store.shell import StoreShell
from atoll.store.term import fence

TRIES_MAX: Final = 3  # of a guarded write whose outcome is not known


class Rules(msgspec.Struct, frozen=True):
    """Where a turn's key goes, which keys block it, and how many of those it may share its turn with. Both lie
    under ``name``.
    """

    name: bytes
    queue: bytes
    blockers: bytes
    allowed: int = 1


class Turn:
    """One place, to be taken and given back once or more, through one session."""

    def __init__(self, store: StoreShell, session: Session, rules: Rules, value: bytes = b"") -> None:
        self._store = store
        self._session = session
        self._rules = rules
        self._value = value
        self._key = rules.queue + b"%x" % session.lease
        self._token: Token | None = None
        self._ahead: dict[bytes, None] = {}  # the blockers before this one, as far as known

    @property
    def token(self) -> Token:
        """The fencing token. Raises CONFLICT without a turn."""
        if self._token is None:
            raise AtollError(Code.CONFLICT, f"no turn is held on {self._key!r}; take it first")
        return self._token

    def check(self) -> None:
        """Raises CONFLICT when the turn is not held (any more), by this process's own reckoning."""
        self._session.check()
        if self._token is None:
            raise AtollError(Code.CONFLICT, f"no turn is held on {self._key!r}; take it first")

    def guards(self) -> tuple[Compare, ...]:
        """For transactions that only the holder may commit; the store refuses them once the turn is over."""
        return fence(self._key, self.token)

    async def take(self, within_s: float | None = None, *, wait: bool = True) -> bool:
        """Wait for the turn; True when it has come. Without ``wait`` False says that others are before. Raises
        TIMEOUT after ``within_s``, CONFLICT when the session holds or waits here already or is over.
        """
        if self._token is not None:
            raise AtollError(Code.CONFLICT, f"this turn on {self._key!r} is held already")
        revision = await self._stand()
        taken = False
        try:
            taken = await self._wait(revision, within_s, wait)
        finally:
            if not taken:
                await self._leave(revision)
        return taken

    async def give_back(self) -> None:
        """Let the next one in. Does nothing when the turn was lost already."""
        token, self._token = self._token, None
        if token is not None:
            await self._leave(token.revision)

    async def _stand(self) -> int:
        self._session.check()
        absent = Compare(self._key, Target.CREATE, Relation.EQUAL, 0)
        put = Put(self._key, self._value, self._session.lease)
        join = Txn((absent,), (put,), (Range(self._key),))
        for _ in range(TRIES_MAX):
            try:
                result = await self._store.txn(join)
            except AtollError as error:
                if error.code is not Code.UNKNOWN:
                    raise
                own = (
                    await self._store.range(Range(self._key))
                ).kvs  # look before the guarded join is repeated
                if own:
                    return own[0].create_revision
                continue
            if result.succeeded:
                return result.revision
            raise AtollError(Code.CONFLICT, f"this session holds or waits for {self._key!r} already")
        raise AtollError(
            Code.UNAVAILABLE, f"could not stand in the queue by {self._key!r}", retry_after_s=1.0
        )

    async def _wait(self, revision: int, within_s: float | None, wait: bool) -> bool:
        looked = await self._look(revision)
        if self._token is not None or not wait:
            return self._token is not None
        name = self._rules.name
        deletions = Watch(name, prefix_end(name), looked + 1, no_put=True)
        what = f"waiting for the turn on {self._rules.blockers!r}"
        async with aclosing(self._store.watch(deletions)) as batches:
            async for batch in loop.each_within(batches, within_s, what):
                for event in batch.events:
                    self._ahead.pop(event.kv.key, None)
                mine = any(event.kv.key == self._key for event in batch.events)
                if mine or len(self._ahead) < self._rules.allowed:
                    await self._look(revision)
                if self._token is not None:
                    return True
        raise AtollError(Code.UNAVAILABLE, f"{what}: the watch ended", reason=Reason.CLOSED)

    async def _look(self, revision: int) -> int:
        """Whose turn it is, at one revision, which is returned; sets the token when it is this one's."""
        blockers = self._rules.blockers
        before = Range(blockers, prefix_end(blockers), keys_only=True, max_create_revision=revision - 1)
        result = await self._store.txn(Txn((), (Range(self._key), before, Range(GENERATION_KEY))))
        own, ahead, era = (_kvs(result, place) for place in range(3))
        if not own or own[0].create_revision != revision:
            text = f"the key {self._key!r} is gone: the session's lease ended or somebody removed it"
            raise AtollError(Code.CONFLICT, text, reason=Reason.LEASE_NOT_FOUND)
        self._ahead = dict.fromkeys(kv.key for kv in ahead)
        if len(ahead) < self._rules.allowed:
            self._token = Token(ballot.generation(era), revision)
        return result.revision

    async def _leave(self, revision: int) -> None:
        """Delete the own key if it is still the one of ``revision``; again, if the outcome is not known."""
        mine = Compare(self._key, Target.CREATE, Relation.EQUAL, revision)
        for tries_left in reversed(range(TRIES_MAX)):
            try:
                await self._store.txn(Txn((mine,), (Delete(self._key),)))
                return
            except AtollError as error:
                if error.code is not Code.UNKNOWN or not tries_left:
                    raise


def _kvs(result: TxnResult, place: int) -> tuple[KeyValue, ...]:
    part = result.results[place]
    return part.kvs if isinstance(part, RangeResult) else ()
