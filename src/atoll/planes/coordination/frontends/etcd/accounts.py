"""The accounts in force, and their copy on disk.

One rule: changes are made one after the other, and one is in force (and answered) only once it is durable, so
that nobody is let in or shut out by a change that a crash would unsay. The copy is a note beside the keys, not a
key: changing accounts does not advance the store's revision (as in etcd), and no client can read or write it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from atoll.access.checks import Authority
from atoll.errors import AtollError
from atoll.planes.coordination.frontends.etcd.gate import Gate
from atoll.resources import accounts as nouns
from atoll.resources.accounts import Accounts
from atoll.runtime import loop
from atoll.runtime.mailbox import Mailbox
from atoll.store import api
from atoll.store.embedded import Embedded

NOTE = "accounts"

Change = Callable[[Accounts], Accounts]


class _Waiting(NamedTuple):
    change: Change
    then: Callable[[], None] | None
    ended: loop.Future[AtollError | None]


class AccountsFile:
    """Lives on the event loop. A change that has begun is carried through although its caller goes away."""

    def __init__(self, store: Embedded, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self._mailbox = Mailbox()
        self._waiting: deque[_Waiting] = deque()

    async def change(self, change: Change, then: Callable[[], None] | None = None) -> None:
        """Make one change durable, put it in force and call ``then``. Raises ``AtollError``, and then nothing
        has changed.
        """
        waiting = _Waiting(change, then, loop.new_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self._begin()
        error = await waiting.ended
        if error is not None:
            raise error

    def _begin(self) -> None:
        before = self._gate.authority.accounts
        try:
            after = self._waiting[0].change(before)
        except AtollError as error:
            self._end(error)
            return
        if after is before:
            self._end(None)
            return

        def done(outcome: api.Outcome) -> None:
            self._mailbox.post(self._kept, after, outcome)

        self._store.put_note(NOTE, nouns.encode(after), done)

    def _kept(self, after: Accounts, outcome: api.Outcome) -> None:
        if isinstance(outcome, AtollError):
            self._end(outcome)
        else:
            self._gate.authority = Authority(after)
            then = self._waiting[0].then
            if then is not None:
                then()
            self._end(None)

    def _end(self, error: AtollError | None) -> None:
        ended = self._waiting.popleft().ended
        if not ended.done():
            ended.set_result(error)
        if self._waiting:
            self._mailbox.post(self._begin)


def load(store: Embedded) -> Accounts:
    """The accounts that the store holds. Raises CORRUPT or NEWER_FORMAT."""
    kept = store.note(NOTE)
    return Accounts() if kept is None else nouns.decode(kept)
