"""Watch: one stream carries many watches; each begins with ``created`` and may end with ``canceled``.

One rule: a watch gets every event from its start revision on, once, in order, whatever the speed of its client.
When a client reads more slowly than events come, its watches are given up at the store and begun again, where
they stopped, once it has read what waits for it; so a slow client costs a bounded amount of memory, and only a
compaction can make it miss something, which it is told (``compact_revision``).

A progress request is answered when every watch of the stream has been given everything up to some revision.
etcd before 3.4.25 answers at once and so may claim progress over events that are still to come (its issue 15220),
which a client that resumes from there would never see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from atoll.access.checks import Use
from atoll.errors import AtollError, Reason
from atoll.planes.coordination.frontends.etcd.encoder import Encoder, Part
from atoll.planes.coordination.frontends.etcd.errors import status_of
from atoll.planes.coordination.frontends.etcd.node import Node, decoded, stream_route
from atoll.resources.accounts import Right
from atoll.runtime import loop
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.runtime.mailbox import Mailbox
from atoll.store import api, etcd_messages
from atoll.wire.etcd import messages

PROGRESS_INTERVAL_S = 600.0
"""How often a watch with ``progress_notify`` that had no events hears how far it is (etcd: 10 minutes)."""
WATCHES_OF_STREAM_MAX = 100_000
BACKLOG_EVENTS_MAX = 10_000
"""Events of one watch on their way to the loop; past it the watch is given up and begun again."""
NO_WATCH = -1  # the watch id of answers that belong to no watch

_EMPTY_RANGE = "mvcc: watcher range is empty"
_ID_IN_USE = "mvcc: duplicate watch ID provided on the WatchStream"
_TOO_MANY = f"etcdserver: a stream carries at most {WATCHES_OF_STREAM_MAX} watches"
_FRAGMENT = messages.WatchResponse(fragment=True).SerializeToString()


class WatchDriver(api.Driver, Protocol):
    """What the store offers watches besides ``Driver``."""

    def mark(self, reached: Callable[[int], None]) -> None:
        """``reached`` gets a revision, after every watch that has caught up was given all events up to it."""


class Watches:
    """The service. ``report_progress`` is due every ``PROGRESS_INTERVAL_S``."""

    def __init__(self, node: Node, driver: WatchDriver) -> None:
        self.node = node
        self.driver = driver
        self.mailbox = Mailbox()
        self.encoder = Encoder()
        self._streams: dict[_Stream, None] = {}

    def routes(self) -> dict[str, Route]:
        return dict([stream_route("Watch.Watch", self.watch)])

    async def watch(self, call: Call) -> None:
        stream = _Stream(self, call)
        self._streams[stream] = None
        try:
            async for data in call.messages():
                await call.drain()
                await stream.handle(decoded("Watch.Watch", data))
            await stream.ended.wait()  # a client that has nothing more to ask still gets its events
        finally:
            del self._streams[stream]
            stream.close()

    def report_progress(self) -> None:
        for stream in self._streams:
            stream.report_progress()


class _Watcher:
    """One watch of a stream. ``next_revision`` is the first revision that its client has not been sent."""

    __slots__ = (
        "behind",
        "cancel",
        "created",
        "field",
        "fragment",
        "given_events",
        "next_revision",
        "quiet",
        "round",
        "taken_events",
        "watch",
        "watch_id",
    )

    def __init__(self, watch_id: int, watch: api.Watch, create: Any) -> None:
        self.watch_id = watch_id
        self.field: bytes = messages.WatchResponse(watch_id=watch_id).SerializeToString()
        self.watch = watch
        self.fragment: bool = create.fragment
        self.quiet: bool | None = True if create.progress_notify else None  # None: wants no reports
        self.next_revision = watch.start_revision
        self.created: loop.Future[None] | None = loop.new_future()  # None once the client was told
        self.behind = False
        self.round = 0  # batches of an earlier round are of a watch that was given up
        self.given_events = 0  # counted where the store gives them, on any thread
        self.taken_events = 0  # counted on the loop
        self.cancel: api.Cancel | None = None


class _Stream:
    """All methods run on the loop, but for the sinks, which only count and post."""

    def __init__(self, service: Watches, call: Call) -> None:
        self._node = service.node
        self._driver = service.driver
        self._mailbox = service.mailbox
        self._encoder = service.encoder
        self._call = call
        self._watchers: dict[int, _Watcher] = {}
        self._ids: set[int] = set()
        self._next_id = 0
        self._behind: dict[_Watcher, None] = {}
        self._waiting_for_room = False
        self._progress_asked = False
        self.ended = loop.Event()

    # ---------------------------------------------------------------------------------------- requests

    async def handle(self, request: Any) -> None:
        kind = request.WhichOneof("request_union")
        if kind == "create_request":
            await self._create(request.create_request)
        elif kind == "cancel_request":
            self._cancel(request.cancel_request.watch_id)
        elif kind == "progress_request":
            self._ask_progress()

    async def _create(self, create: Any) -> None:
        watch = etcd_messages.watch_of(create)
        watch = msgspec.structs.replace(watch, key=watch.key or b"\0")
        refusal = self._refusal(watch, create.watch_id)
        if refusal:
            self._at_revision(lambda revision: self._refuse(revision, refusal))
            return
        watcher = _Watcher(self._new_id(create.watch_id), watch, create)
        self._watchers[watcher.watch_id] = watcher
        created = watcher.created
        self._begin(watcher)
        if created is not None:
            await created

    def _refusal(self, watch: api.Watch, watch_id: int) -> str:
        """Why there can be no such watch, in etcd's words; "" where there can."""
        gate = self._node.gate
        try:
            gate.authority.require(gate.user_of(self._call), [Use(watch.key, watch.end, Right.READ)])
        except AtollError as error:
            status, text = status_of(error)
            name = "".join(word.capitalize() for word in status.name.split("_"))
            return f"rpc error: code = {name} desc = {text}"
        if watch.end and watch.end != b"\0" and watch.end <= watch.key:
            return _EMPTY_RANGE
        if watch_id and watch_id in self._ids:
            return _ID_IN_USE
        return _TOO_MANY if len(self._ids) >= WATCHES_OF_STREAM_MAX else ""

    def _refuse(self, revision: int, reason: str) -> None:
        self._say(revision, watch_id=NO_WATCH, created=True, canceled=True, cancel_reason=reason)

    def _new_id(self, wanted: int) -> int:
        if not wanted:
            while self._next_id in self._ids:
                self._next_id += 1
            wanted = self._next_id
            self._next_id += 1
        self._ids.add(wanted)
        return wanted

    def _cancel(self, watch_id: int) -> None:
        """A watch that is not there (any more) is no error and gets no answer, as in etcd."""
        watcher = self._watchers.get(watch_id)
        if watcher is not None:
            self._give_up(watcher)
            self._forget(watcher)
            self._ids.discard(watch_id)
            self._at_revision(lambda revision: self._say(revision, watch_id=watch_id, canceled=True))

    def _ask_progress(self) -> None:
        self._at_revision(self._answer_progress)

    def _answer_progress(self, revision: int) -> None:
        self._progress_asked = bool(self._behind)
        if not self._progress_asked:
            self._say(revision, watch_id=NO_WATCH)

    def report_progress(self) -> None:
        if any(watcher.quiet is not None for watcher in self._watchers.values()):
            self._at_revision(self._report)

    def _report(self, revision: int) -> None:
        for watcher in self._watchers.values():
            if watcher.quiet and not watcher.behind:
                self._say(revision, watch_id=watcher.watch_id)
            if watcher.quiet is not None:
                watcher.quiet = True

    # ----------------------------------------------------------------------------------------- the store

    def _begin(self, watcher: _Watcher) -> None:
        """Watch (again) from ``next_revision``."""
        watcher.round += 1
        watcher.behind = False
        watcher.given_events = watcher.taken_events = 0
        current = watcher.round
        mailbox = self._mailbox

        def sink(item: api.WatchBatch | AtollError) -> bool:
            if watcher.round != current:
                return False
            if isinstance(item, api.WatchBatch):
                watcher.given_events += len(item.events)
                if watcher.given_events - watcher.taken_events > BACKLOG_EVENTS_MAX + len(item.events):
                    mailbox.post(self._fall_behind, watcher, current)
                    return False
            mailbox.post(self._take, watcher, current, item)
            return watcher.round == current

        watch = msgspec.structs.replace(watcher.watch, start_revision=watcher.next_revision)
        cancel = self._driver.watch(watch, sink)
        if watcher.round == current:
            watcher.cancel = cancel
        else:  # given up while it was being begun
            cancel()

    def _take(self, watcher: _Watcher, current: int, item: api.WatchBatch | AtollError) -> None:
        if watcher.round != current:
            return
        if isinstance(item, AtollError):
            self._ended(watcher, item)
        elif item.events:
            watcher.taken_events += len(item.events)
            for part in self._encoder.parts(item):
                if not self._call.writable:
                    self._fall_behind(watcher, current)
                    return
                self._send(watcher, part)
        elif watcher.created is not None:
            if not watcher.next_revision:
                watcher.next_revision = item.revision + 1
            self._say(item.revision, watch_id=watcher.watch_id, created=True)
            _release(watcher)

    def _send(self, watcher: _Watcher, part: Part) -> None:
        watcher.next_revision = part.revision + 1
        if watcher.quiet is not None:
            watcher.quiet = False
        head = self._node.header(part.revision) + watcher.field
        if not watcher.fragment:
            self._call.send_nowait(head + part.body())
            return
        *firsts, last = part.fragments()
        for body in firsts:
            self._call.send_nowait(head + _FRAGMENT + body)
        self._call.send_nowait(head + last)

    def _ended(self, watcher: _Watcher, error: AtollError) -> None:
        if error.reason is not Reason.COMPACTED:
            self._call.fail(*status_of(error))
            self.ended.set()
            _release(watcher)
            return
        self._forget(watcher)  # its id stays taken, as in etcd
        compact_revision = error.facts["compact_revision"]
        self._say(0, watch_id=watcher.watch_id, canceled=True, compact_revision=compact_revision)

    def _give_up(self, watcher: _Watcher) -> None:
        watcher.round += 1
        if watcher.cancel is not None:
            watcher.cancel()
            watcher.cancel = None

    def _forget(self, watcher: _Watcher) -> None:
        del self._watchers[watcher.watch_id]
        self._behind.pop(watcher, None)

    # ------------------------------------------------------------------------------------ slow clients

    def _fall_behind(self, watcher: _Watcher, current: int) -> None:
        if watcher.round != current:
            return
        self._give_up(watcher)
        watcher.behind = True
        self._behind[watcher] = None
        self._wait_for_room()

    def _wait_for_room(self) -> None:
        if not self._waiting_for_room:
            self._waiting_for_room = True
            self._call.on_drain(self._catch_up)

    def _catch_up(self) -> None:
        while self._behind and self._call.writable and not self._call.ended:
            watcher = next(iter(self._behind))
            del self._behind[watcher]
            self._begin(watcher)
        self._waiting_for_room = False
        if self._call.ended:
            return
        if self._behind:
            self._wait_for_room()
        elif self._progress_asked:
            self._ask_progress()

    # ------------------------------------------------------------------------------------------ sending

    def _at_revision(self, act: Callable[[int], None]) -> None:
        """``act`` with the newest revision, after the events up to it."""
        self._driver.mark(lambda revision: self._mailbox.post(act, revision))

    def _say(self, revision: int, **fields: Any) -> None:
        """A response without events."""
        body: bytes = messages.WatchResponse(**fields).SerializeToString()
        self._call.send_nowait(self._node.header(revision) + body)

    def close(self) -> None:
        for watcher in self._watchers.values():
            self._give_up(watcher)


def _release(watcher: _Watcher) -> None:
    """Let the stream go on to its next request."""
    created, watcher.created = watcher.created, None
    if created is not None and not created.done():
        created.set_result(None)
