"""All watches of one driver on one stream: which answer belongs to which watch. A machine over etcd's messages.

One rule: a watch keeps its id for life, over all streams, and an id is never used again; an answer to an id that
is not known (any more) is dropped. ``opened`` and ``lost`` say that a stream began and ended.

Where etcd cannot take a watch at all (an empty range) it answers with id -1, so answers to creations are also
matched in order. etcd 3.4 answers "permission denied" to a watch whose stream carries an expired token; so the
first denial of a watch asks for a new token and a new stream, and only the next one counts.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

import msgspec

from atoll.errors import AtollError
from atoll.store.api import Watch, WatchSink
from atoll.store.etcd_messages import event_of, watch_create_message
from atoll.store.watch_resume import PERMISSION_DENIED, Told, WatchAnswer, WatchResume
from atoll.wire.etcd import messages

Delivery: TypeAlias = tuple[WatchSink, Told]
_NO_ID = -1


class Heard(msgspec.Struct):
    """``deliveries``: tell each sink. ``token_doubted``: get a new token, then a new stream."""

    deliveries: list[Delivery] = []
    token_doubted: bool = False


class _Watcher:
    def __init__(self, watch: Watch, sink: WatchSink) -> None:
        self.watch = watch
        self.sink = sink
        self.resume = WatchResume(watch.start_revision)
        self.denied = False


class Watches:
    """``with_token``: whether the streams carry one."""

    def __init__(self, *, with_token: bool) -> None:
        self._with_token = with_token
        self._watchers: dict[int, _Watcher] = {}
        self._creating: deque[int] = deque()
        self._open = False

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, watch_id: int, watch: Watch, sink: WatchSink) -> list[Any]:
        """The messages to send now."""
        self._watchers[watch_id] = _Watcher(watch, sink)
        return [self._create(watch_id)] if self._open else []

    def cancel(self, watch_id: int) -> list[Any]:
        """The messages to send now. Nothing is told to its sink any more."""
        if self._watchers.pop(watch_id, None) is None or not self._open:
            return []
        return [messages.WatchRequest(cancel_request=messages.WatchCancelRequest(watch_id=watch_id))]

    def opened(self) -> list[Any]:
        """A new stream: the messages to send on it."""
        self._open = True
        return [self._create(watch_id) for watch_id in self._watchers]

    def lost(self) -> None:
        self._open = False
        self._creating.clear()
        for watcher in self._watchers.values():
            watcher.resume.lost()

    def _create(self, watch_id: int) -> Any:
        watcher = self._watchers[watch_id]
        self._creating.append(watch_id)
        return watch_create_message(watcher.watch, watch_id=watch_id, start_revision=watcher.resume.position)

    def heard(self, message: Any) -> Heard:
        """``message`` is a WatchResponse."""
        watch_id = self._whose(message)
        watcher = self._watchers.get(watch_id)
        if watcher is None:
            return Heard()
        answer = _answer(message)
        denied = answer.canceled and answer.cancel_reason == PERMISSION_DENIED
        if denied and self._with_token and not watcher.denied:
            watcher.denied = True
            return Heard(token_doubted=True)
        told = watcher.resume.hear(answer)
        watcher.denied = watcher.denied and not (answer.created and not answer.canceled)
        if watcher.resume.ended:
            del self._watchers[watch_id]
        return Heard([(watcher.sink, one) for one in told])

    def _whose(self, message: Any) -> int:
        watch_id: int = message.watch_id
        if message.created and self._creating:
            if watch_id == _NO_ID:
                return self._creating.popleft()
            if watch_id in self._creating:
                self._creating.remove(watch_id)
        return watch_id

    def end(self, error: AtollError) -> list[Delivery]:
        """Tell every watch ``error``, its last word."""
        deliveries: list[Delivery] = [(watcher.sink, error) for watcher in self._watchers.values()]
        self._watchers.clear()
        return deliveries


def _answer(message: Any) -> WatchAnswer:
    """etcd 3.4 writes a reason with the status around it: ``rpc error: code = ... desc = the text``."""
    return WatchAnswer(
        revision=message.header.revision,
        created=message.created,
        canceled=message.canceled,
        compact_revision=message.compact_revision,
        cancel_reason=message.cancel_reason.rpartition(" desc = ")[2],
        fragment=message.fragment,
        events=tuple(map(event_of, message.events)),
    )
