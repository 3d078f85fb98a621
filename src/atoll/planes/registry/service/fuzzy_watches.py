"""Fuzzy watches: who wants to hear of services by pattern, and what each of them has heard.

Rule: as with pushes, one notice to a watcher is on its way at most; what changes meanwhile is coalesced to the last
word about each service. A watcher hears of services, never of instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from atoll.errors import AtollError, Code
from atoll.planes.registry.policy import fuzzy
from atoll.planes.registry.policy.fuzzy import Pattern
from atoll.planes.registry.policy.push_window import Agenda, Window
from atoll.resources.service import ServiceKey
from atoll.runtime.clock import Clock

PATTERNS_PER_CLIENT_MAX = 20
PATTERNS_MAX = 10_000  # of all clients of a node

FuzzySink: TypeAlias = Callable[["Notice"], None]


class Notice:
    """Services that appeared (True) or went (False), on their way to one watcher. End it exactly once."""

    __slots__ = ("_watches", "changes", "watch")

    def __init__(self, watches: FuzzyWatches, watch: FuzzyWatch, changes: Mapping[ServiceKey, bool]) -> None:
        self._watches = watches
        self.watch = watch
        self.changes = changes

    @property
    def pattern(self) -> str:
        """As the client spelled it."""
        return self.watch.text

    def acknowledged(self) -> None:
        self._watches.end(self, False)

    def failed(self) -> None:
        """The same services are told again a second later, as they are then."""
        self._watches.end(self, True)


class FuzzyWatch:
    """One pattern of one client."""

    __slots__ = ("client", "notice", "pattern", "pending", "sink", "text")

    def __init__(self, client: str, text: str, pattern: Pattern, sink: FuzzySink) -> None:
        self.client = client
        self.text = text
        self.pattern = pattern
        self.sink = sink
        self.notice: Notice | None = None
        self.pending: dict[ServiceKey, bool] = {}


class FuzzyWatches:
    """Of this node's clients."""

    def __init__(self, clock: Clock, window: Window) -> None:
        self._clock = clock
        self._window = window
        self._watches: dict[str, dict[str, FuzzyWatch]] = {}  # client, pattern as spelled
        self._agenda: Agenda[FuzzyWatch] = Agenda()
        self.wake: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return sum(map(len, self._watches.values()))

    def watch(self, client: str, text: str, sink: FuzzySink) -> Pattern:
        """Raises INVALID for what is no pattern, EXHAUSTED over the limits. The same pattern again: replaces."""
        pattern = fuzzy.parse(text)
        own = self._watches.setdefault(client, {})
        if text not in own and (len(own) >= PATTERNS_PER_CLIENT_MAX or len(self) >= PATTERNS_MAX):
            limits = f"{PATTERNS_PER_CLIENT_MAX} a client and {PATTERNS_MAX} a node"
            raise AtollError(Code.EXHAUSTED, f"too many patterns are watched: at most {limits} are allowed")
        self.unwatch(client, text)
        self._watches.setdefault(client, {})[text] = FuzzyWatch(client, text, pattern, sink)
        return pattern

    def unwatch(self, client: str, text: str) -> bool:
        """False: it was not watched."""
        own = self._watches.get(client, {})
        watch = own.pop(text, None)
        if not own:
            self._watches.pop(client, None)
        if watch is None:
            return False
        watch.notice = None
        self._agenda.discard(watch)
        return True

    def drop_client(self, client: str) -> None:
        for text in list(self._watches.get(client, {})):
            self.unwatch(client, text)

    def changed(self, key: ServiceKey, exists: bool) -> None:
        """The service appeared or went."""
        at_s = self._clock.now_s() + self._window.first_s
        for own in self._watches.values():
            for watch in own.values():
                if watch.pattern.matches(key):
                    watch.pending[key] = exists
                    if watch.notice is None:
                        self._agenda.add(watch, at_s)
                        self.wake()

    def next_s(self) -> float:
        return self._agenda.next_s()

    def tick(self, now_s: float) -> None:
        for watch in self._agenda.take(now_s):
            if watch.notice is None and watch.pending:
                changes, watch.pending = watch.pending, {}
                watch.notice = Notice(self, watch, changes)
                try:
                    watch.sink(watch.notice)
                except AtollError:
                    self.end(watch.notice, True)

    def end(self, notice: Notice, again: bool) -> None:
        watch = notice.watch
        if watch.notice is not notice:
            return
        watch.notice = None
        now_s = self._clock.now_s()
        if again:
            watch.pending = {**notice.changes, **watch.pending}
            self._agenda.add(watch, now_s + self._window.retry_s)
        elif watch.pending:
            self._agenda.add(watch, now_s)
        self.wake()
