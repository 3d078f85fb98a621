"""Following the children of ZooKeeper nodes: which there are, and again whenever that changes.

Rule: the one owner of the ZooKeeper client (kazoo), and it only reads. It is level-triggered: a watch that fires, a session
that was lost, a connection that is back, all mean "look again", so that nothing depends on which event came first. Looking
happens in one thread of its own; callbacks run on the loop.

ZooKeeper's watches fire once and say not what changed ("ZooKeeper Programmer's Guide", Watches); a lost session takes them
all with it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.runtime.logs import Log

SESSION_TIMEOUT_S = 10.0
RECONNECT_DELAY_S = 0.2
RECONNECT_DELAY_S_MAX = 5.0
LOOK_AGAIN_S = 0.5  # after a look that failed though there is a connection
STOP_WITHIN_S = 2.0

OnChildren = Callable[[str, tuple[str, ...]], None]
"""A path and its children, sorted; none as well where there is no such node."""
OnState = Callable[[bool], None]
"""Whether there is a session: what was told last may be old while there is none."""


class ZooKeeper:
    """``hosts``: ``HOST:PORT`` by commas. Made and started on the loop."""

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts
        self._client: Any = None
        self._paths: dict[str, None] = {}
        self._looks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._on_children: OnChildren = _unheard
        self._on_state: OnState = _unheard
        self._ended = threading.Event()
        self._log = Log("zookeeper")

    def start(self, on_children: OnChildren, on_state: OnState) -> None:
        """Begin to connect, and go on trying. Raises INVALID for hosts that cannot be read."""
        from kazoo.client import KazooClient
        from kazoo.retry import KazooRetry

        logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # what it sees, the state callback tells
        self._on_children = loop.call_from_thread(on_children)
        self._on_state = loop.call_from_thread(on_state)
        retry = KazooRetry(max_tries=-1, delay=RECONNECT_DELAY_S, max_delay=RECONNECT_DELAY_S_MAX)
        try:
            self._client = KazooClient(
                hosts=self.hosts,
                timeout=SESSION_TIMEOUT_S,
                connection_retry=retry,
                logger=logging.getLogger("kazoo"),
            )
        except ValueError as error:
            raise AtollError(Code.INVALID, f"{self.hosts!r} are no ZooKeeper hosts: {error}") from error
        self._client.add_listener(self._state_changed)
        self._client.start_async()
        self._thread = threading.Thread(target=self._look_on, name="zookeeper", daemon=True)
        self._thread.start()

    def follow(self, path: str) -> None:
        self._paths[path] = None
        self._looks.put(path)

    def forget(self, path: str) -> None:
        """``path`` is no longer told of; what was under way may still be heard once."""
        self._paths.pop(path, None)

    async def stop(self) -> None:
        self._ended.set()
        self._looks.put(None)
        await loop.in_thread(self._stop)

    def _stop(self) -> None:
        self._client.stop()
        self._client.close()
        if self._thread is not None:
            self._thread.join(STOP_WITHIN_S)

    # -------------------------------------------------------------------------- on the client's threads

    def _state_changed(self, state: str) -> None:
        connected = state == "CONNECTED"
        self._on_state(connected)
        if connected:
            for path in list(self._paths):
                self._looks.put(path)

    def _look_on(self) -> None:
        while (path := self._looks.get()) is not None:
            if path in self._paths and self._client.connected and not self._look(path):
                if self._ended.wait(LOOK_AGAIN_S):
                    return
                self._looks.put(path)

    def _look(self, path: str) -> bool:
        """False: it did not work, and nobody will say when it would. Without a connection its return says so."""
        from kazoo.exceptions import ConnectionClosedError, KazooException, NoNodeError
        from kazoo.handlers.threading import KazooTimeoutError

        try:
            try:
                children = self._client.get_children(path, watch=self._fired)
            except NoNodeError:
                children = []
                if self._client.exists(path, watch=self._fired) is not None:
                    return False  # it came in between
        except ConnectionClosedError:
            return True
        except (KazooException, KazooTimeoutError) as error:
            self._log.warning("a node cannot be read", path=path, why=repr(error))
            return not self._client.connected
        self._on_children(path, tuple(sorted(children)))
        return True

    def _fired(self, event: Any) -> None:
        if event.path:
            self._looks.put(event.path)


def _unheard(*told: object) -> None:
    return None
