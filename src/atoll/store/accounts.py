"""The accounts in force, shared by every plane that lets users in, and their durable copy.

One rule: changes are made one after the other, and one is in force (and answered) only once it is durable, so that nobody
is let in or shut out by a change that a crash would unsay. An audited table writes the change's entry of the audit log in
the same write.

An embedded store keeps the copy as a note beside its keys: as in etcd, changing accounts then advances no revision (the
audit entry, where one is written, does), and no client can read or write it. A cluster keeps it at a key under the reserved
prefix, which every node follows; two nodes that change it at once are told apart by the key's revision, and the later one
decides again on what the earlier one made.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from atoll.access import accounts as changes
from atoll.access import passwords
from atoll.errors import AtollError, Code
from atoll.resources import accounts as nouns
from atoll.resources.accounts import Accounts
from atoll.resources.actor import Actor
from atoll.runtime import blocking, loop, rng
from atoll.runtime.logs import Log
from atoll.runtime.mailbox import Mailbox
from atoll.store import api
from atoll.store.audit import AuditWriter, hash_of
from atoll.store.blocking import ask
from atoll.store.embedded import Embedded

NOTE = "accounts"
KEY = api.RESERVED_PREFIX + b"accounts"
ATTEMPTS_MAX = 10  # of one change, when other nodes change accounts at the same time
WRITE_S_MAX = 5.0
RETRY_S = 1.0

Change = Callable[[Accounts], Accounts]
Follower = Callable[[Accounts], None]


class Deed(NamedTuple):
    """What an audit entry says of a change: by whom, ``user.create`` or the like, and which user or role."""

    actor: Actor
    action: str
    subject: str


class Keeper(Protocol):
    """Where the copy is. ``done`` may be called from any thread: with None when ``after`` is durable, with the accounts
    that are there instead where somebody else changed them, or with the error.
    """

    def write(
        self, after: Accounts, entry: api.Put | None, done: Callable[[AtollError | Accounts | None], None]
    ) -> None: ...

    async def follow(self, take: Follower) -> None:
        """Give ``take`` what other nodes make durable, for as long as there may be any."""


class _Waiting(NamedTuple):
    change: Change
    deed: Deed
    ended: loop.Future[AtollError | None]


class AccountsTable:
    """Lives on the event loop. A change that has begun is carried through although its caller goes away."""

    def __init__(self, keeper: Keeper, accounts: Accounts, audit: AuditWriter | None = None) -> None:
        self.accounts = accounts
        self._keeper = keeper
        self._audit = audit
        self._mailbox = Mailbox()
        self._waiting: deque[_Waiting] = deque()
        self._followers: list[Follower] = []
        self._attempts = 0

    def follow(self, follower: Follower) -> None:
        """``follower`` gets the accounts now, and again each time they changed."""
        self._followers.append(follower)
        follower(self.accounts)

    async def change(self, change: Change, deed: Deed) -> None:
        """Make one change durable and put it in force. Raises ``AtollError``, and then nothing has changed."""
        waiting = _Waiting(change, deed, loop.new_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self._begin()
        error = await waiting.ended
        if error is not None:
            raise error

    async def ensure_enabled(self, root_password: str, deed: Deed) -> None:
        """Authentication on, with a user root: made with ``root_password`` where there is none."""
        root = self.accounts.users.get(changes.ROOT)
        if self.accounts.enabled and root is not None and changes.ROOT in root.roles:
            return
        salt = rng.new_salt(passwords.SALT_BYTES)
        password = await loop.in_thread(passwords.hashed, root_password, salt)
        await self.change(lambda accounts: changes.ensure_enabled(accounts, password), deed)

    def take(self, accounts: Accounts) -> None:
        """Put in force what another node made durable."""
        if accounts.revision > self.accounts.revision:
            self._put_in_force(accounts)

    async def run(self) -> None:
        """Put in force what other nodes change; to be run in the background."""
        await self._keeper.follow(self.take)

    def _begin(self) -> None:
        before = self.accounts
        waiting = self._waiting[0]
        try:
            after = waiting.change(before)
        except AtollError as error:
            self._end(error)
            return
        if after is before:
            self._end(None)
            return

        def done(outcome: AtollError | Accounts | None) -> None:
            self._mailbox.post(self._kept, after, outcome)

        self._keeper.write(after, self._entry(waiting.deed, before, after), done)

    def _entry(self, deed: Deed, before: Accounts, after: Accounts) -> api.Put | None:
        if self._audit is None:
            return None
        hashes = hash_of(nouns.encode(before)), hash_of(nouns.encode(after))
        return self._audit.entry(deed.actor, deed.action, deed.subject, *hashes)

    def _kept(self, after: Accounts, outcome: AtollError | Accounts | None) -> None:
        if isinstance(outcome, AtollError):
            self._end(outcome)
        elif outcome is not None:
            self.take(outcome)
            self._again()
        else:
            self._put_in_force(after)
            self._end(None)

    def _again(self) -> None:
        self._attempts += 1
        if self._attempts < ATTEMPTS_MAX:
            self._mailbox.post(self._begin)
        else:
            text = f"accounts were changed by other nodes {ATTEMPTS_MAX} times meanwhile; try again"
            self._end(AtollError(Code.CONFLICT, text, retry_after_s=1.0))

    def _put_in_force(self, accounts: Accounts) -> None:
        self.accounts = accounts
        for follower in self._followers:
            follower(accounts)

    def _end(self, error: AtollError | None) -> None:
        self._attempts = 0
        ended = self._waiting.popleft().ended
        if not ended.done():
            ended.set_result(error)
        if self._waiting:
            self._mailbox.post(self._begin)


class NoteKeeper:
    """The copy as a note of an embedded store."""

    def __init__(self, store: Embedded) -> None:
        self._store = store

    def write(
        self, after: Accounts, entry: api.Put | None, done: Callable[[AtollError | Accounts | None], None]
    ) -> None:
        def kept(outcome: api.Outcome) -> None:
            done(outcome if isinstance(outcome, AtollError) else None)

        self._store.put_note(NOTE, nouns.encode(after), kept, entry)

    async def follow(self, take: Follower) -> None:
        """Nobody else writes the note."""


class KeyKeeper:
    """The copy as a key of a cluster."""

    def __init__(self, driver: api.Driver, store: api.Store, revision: int) -> None:
        self._driver = driver
        self._store = store
        self._revision = revision  # of the key as this node knows it; 0: it is not there
        self._log = Log("accounts")

    async def follow(self, take: Follower) -> None:
        """For ever: a watch that ends (its start was compacted, the cluster refused it) begins with reading again, so
        that no right that was taken away elsewhere goes on here.
        """
        while True:
            try:
                found = await self._store.range(api.Range(KEY))
                for kv in found.kvs:
                    self._take(kv, take)
                watch = api.Watch(KEY, start_revision=found.revision + 1)
                async with contextlib.aclosing(self._store.watch(watch)) as batches:
                    async for batch in batches:
                        for event in batch.events:
                            self._take(event.kv, take)
            except AtollError as error:
                self._log.warning("accounts of other nodes are not followed", error=error.message)
                await loop.sleep(RETRY_S)

    def write(
        self, after: Accounts, entry: api.Put | None, done: Callable[[AtollError | Accounts | None], None]
    ) -> None:
        guard = api.Compare(KEY, api.Target.MOD, api.Relation.EQUAL, self._revision)
        puts = (api.Put(KEY, nouns.encode(after)), *([entry] if entry else []))

        def decided(outcome: api.Outcome) -> None:
            done(self._read(outcome))

        self._driver.submit(api.Txn((guard,), puts, (api.Range(KEY),)), decided, WRITE_S_MAX)

    def _read(self, outcome: api.Outcome) -> AtollError | Accounts | None:
        if not isinstance(outcome, api.TxnResult):
            return outcome if isinstance(outcome, AtollError) else None
        if outcome.succeeded:
            self._revision = max(self._revision, outcome.revision)
            return None
        found = outcome.results[0]
        if not isinstance(found, api.RangeResult) or not found.kvs:
            self._revision = 0
            return Accounts()
        try:
            there = nouns.decode(found.kvs[0].value)
        except AtollError as error:
            return error
        self._revision = found.kvs[0].mod_revision
        return there

    def _take(self, kv: api.KeyValue, take: Follower) -> None:
        if not kv.version:
            return
        try:
            take(nouns.decode(kv.value))
        except AtollError as error:
            self._log.error("accounts that another node wrote are not taken", why=error.message)


def load(store: Embedded) -> Accounts:
    """The accounts that an embedded store holds. Raises CORRUPT or NEWER_FORMAT."""
    kept = store.note(NOTE)
    return Accounts() if kept is None else nouns.decode(kept)


def kept(store: api.Driver) -> bytes | None:
    """The durable copy in a store of either kind, for moving it to another. Blocks."""
    if isinstance(store, Embedded):
        return store.note(NOTE)
    found = ask(store, api.Range(KEY), api.RangeResult)
    return found.kvs[0].value if found.kvs else None


def keep(store: api.Driver, value: bytes) -> bool:
    """Put the copy into an embedded store that nobody uses yet. Blocks. False: it belongs at ``KEY`` of a cluster."""
    if not isinstance(store, Embedded):
        return False
    outcomes: blocking.Queue[api.Outcome] = blocking.Queue()
    store.put_note(NOTE, value, outcomes.put_nowait)
    outcome = outcomes.get()
    if isinstance(outcome, AtollError):
        raise outcome
    return True


def open_embedded(store: Embedded, audit: AuditWriter | None = None) -> AccountsTable:
    return AccountsTable(NoteKeeper(store), load(store), audit)


async def open_cluster(
    driver: api.Driver, store: api.Store, audit: AuditWriter | None = None
) -> AccountsTable:
    """``run`` it, to hear of other nodes. Raises what the store says, CORRUPT or NEWER_FORMAT."""
    found = await store.range(api.Range(KEY))
    accounts = nouns.decode(found.kvs[0].value) if found.kvs else Accounts()
    revision = found.kvs[0].mod_revision if found.kvs else 0
    return AccountsTable(KeyKeeper(driver, store, revision), accounts, audit)
