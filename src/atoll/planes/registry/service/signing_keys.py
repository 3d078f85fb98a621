"""The keys that login tokens are signed with: drawn at the first boot, kept in the store, the same for every node.

Rule: there is no default key and no setting for one; a key is never logged and never leaves the store but into the memory
of nodes. After a rotation the old key goes on counting until the last token it signed is over; ``at_once`` ends them all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import msgspec

from atoll.access.login_tokens import KEY_BYTES, SigningKey
from atoll.errors import AtollError, Code, Reason
from atoll.resources.actor import Actor
from atoll.runtime import loop, rng
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import RESERVED_PREFIX, Compare, KeyValue, Put, Range, Relation, Store, Target, Watch
from atoll.store.audit import AuditWriter

KEY = RESERVED_PREFIX + b"registry/token-keys"
FORMAT = 1
KEYS_MAX = 8  # kept; a rotation more often than that ends the oldest tokens early
RETRY_S = 1.0


class _Kept(msgspec.Struct, frozen=True):
    """``keys``: the one in use first."""

    keys: tuple[SigningKey, ...]
    format: int = FORMAT


class SigningKeys:
    """Lives on the event loop. ``load`` once, then ``follow`` in the background."""

    def __init__(self, store: Store, clock: Clock, audit: AuditWriter, ttl_s: float) -> None:
        self.keys: tuple[SigningKey, ...] = ()
        self._store = store
        self._clock = clock
        self._audit = audit
        self._ttl_s = ttl_s
        self._revision = 0
        self._log = Log("tokens")
        self._on_change: Callable[[], None] = lambda: None

    def on_change(self, callback: Callable[[], None]) -> None:
        self._on_change = callback

    async def load(self) -> None:
        """Read the keys, or draw the first one. Raises what the store says, CORRUPT or NEWER_FORMAT."""
        while not self.keys:
            found = await self._store.range(Range(KEY))
            if found.kvs:
                self._take(found.kvs[0])
                return
            try:
                await self._commit(_Kept((_fresh(),)), Actor(user="", via="node"), "token-keys.create")
            except AtollError as error:
                if error.code is not Code.CONFLICT:  # otherwise another node was first
                    raise

    async def rotate(self, actor: Actor, at_once: bool = False) -> None:
        """Sign with a fresh key from now on. ``at_once``: tokens that are out end now, not in their time."""
        now_s = self._clock.wall_s()
        old = [] if at_once else [_retired(key, now_s) for key in self.keys]
        left = [key for key in old if key.retired_s + self._ttl_s > now_s]
        await self._commit(_Kept((_fresh(), *left)[:KEYS_MAX]), actor, "token-keys.rotate")

    async def follow(self) -> None:
        """Take what other nodes change, for ever."""
        while True:
            try:
                async with aclosing(
                    self._store.watch(Watch(KEY, start_revision=self._revision + 1))
                ) as batches:
                    async for batch in batches:
                        for event in batch.events:
                            if not event.is_delete:
                                self._take(event.kv)
            except AtollError as error:
                self._log.warning("signing keys are not followed", error=error.message)
                await loop.sleep(RETRY_S)
                await self._read_again()

    async def _read_again(self) -> None:
        try:
            found = await self._store.range(Range(KEY))
        except AtollError as error:
            self._log.warning("signing keys are not read", error=error.message)
            return
        if found.kvs:
            self._take(found.kvs[0])

    async def _commit(self, kept: _Kept, actor: Actor, action: str) -> None:
        entry = self._audit.entry(actor, action, "token-keys", "", "")
        guard = Compare(KEY, Target.MOD, Relation.EQUAL, self._revision)
        done = await self._store.commit((guard,), (Put(KEY, msgspec.json.encode(kept)), entry))
        self._put_in_force(kept.keys, done.revision)

    def _take(self, kv: KeyValue) -> None:
        try:
            kept = msgspec.json.decode(kv.value, type=_Kept)
        except msgspec.MsgspecError as error:
            text = "the signing keys in the store cannot be read; delete them to have new ones made"
            raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT) from error
        if kept.format > FORMAT:
            text = f"the signing keys have format {kept.format}, known is {FORMAT}: use a newer release"
            raise AtollError(Code.INVALID, text, reason=Reason.NEWER_FORMAT)
        self._put_in_force(kept.keys, kv.mod_revision)

    def _put_in_force(self, keys: tuple[SigningKey, ...], revision: int) -> None:
        if revision > self._revision:
            self.keys, self._revision = keys, revision
            self._on_change()


def _fresh() -> SigningKey:
    return SigningKey(rng.new_token(6), rng.new_salt(KEY_BYTES))


def _retired(key: SigningKey, now_s: float) -> SigningKey:
    return key if key.retired_s else SigningKey(key.id, key.secret, now_s)
