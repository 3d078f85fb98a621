"""What is to be said to one peer: how far it is, and what is next.

Rule: nothing waits in a queue. What the peer lacks is computed when there is room to send, from how far it said that
it is; so a slow peer costs a number, and gets the newest of each key when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable

from atoll.store.ephemeral_origin import Cursor, Origin
from atoll.wire.nodes.entry import Identity
from atoll.wire.nodes.messages import Batch, Known, Status, Want


class Link:
    """``known``: what the peer said that it holds; ``caught_up``: all that it held at first is here."""

    def __init__(self, peer: Identity, now_s: float) -> None:
        self.peer = peer
        self.heard_s = now_s
        self.status_due_s = now_s
        self.digest_due_s = now_s
        self.known: dict[Identity, Known] = {}
        self.first: tuple[Known, ...] | None = None
        self._wants: dict[Identity, int] = {}
        self._cursors: dict[Identity, Cursor] = {}
        self._own_mark = self._own_last = 0

    # ------------------------------------------------------------------------------------------- hearing

    def take_status(self, status: Status, own: Origin) -> None:
        self.known = {known.who: known for known in status.origins}
        if self.first is None:
            self.first = status.origins
        mine = self.known.get(own.who)
        self._follow_own(own, mine.version if mine else 0)

    def _follow_own(self, own: Origin, version: int) -> None:
        """Send on from ``version`` if the peer has more than we sent, or if what we sent before its last status has
        not arrived and nothing of it is arriving.
        """
        cursor = self._cursors.get(own.who)
        if (
            cursor is None
            or version > cursor.since
            or (version < self._own_mark and version <= self._own_last)
        ):
            cursor = self._cursors[own.who] = Cursor(version)
        self._own_mark, self._own_last = cursor.since, version

    def want(self, who: Identity, since: int) -> None:
        self._wants[who] = since

    def take_want(self, want: Want) -> None:
        self._cursors[want.who] = Cursor(want.since)

    # ------------------------------------------------------------------------------------------- saying

    def next_want(self) -> Want | None:
        for who in self._wants:
            return Want(who, self._wants.pop(who))
        return None

    def next_batch(self, own: Origin, copy: Callable[[Identity], Origin | None]) -> Batch | None:
        """``copy``: the origin of another node, if it is fit to be handed on."""
        cursor = self._cursors.get(own.who)
        if cursor is not None and cursor.since < own.version:
            return own.after(cursor)
        for who, other in list(self._cursors.items()):
            if who == own.who:
                continue
            origin = copy(who)
            if origin is None:
                del self._cursors[who]
                continue
            batch = origin.after(other)
            if batch.complete:
                del self._cursors[who]
            return batch
        return None
