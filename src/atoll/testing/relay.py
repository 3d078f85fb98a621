"""A TCP relay on the loopback address that delays, cuts and swallows: a bad network for end-to-end tests.

    with Relay("127.0.0.1", 2379) as relay:
        driver = open_store(f"etcd://{relay.address}")
        relay.delay_s = 0.05            # one way, for what arrives from now on
        relay.hold()                    # a black hole: connections stay, bytes wait
        relay.release()                 # ... and arrive, as after a partition that TCP survived
        relay.cut()                     # every connection ends by a reset
        relay.cut_after(1_000)          # ... after so many more bytes towards clients: inside a message
        relay.refuse()                  # new connections are refused, until relay.accept()

Rule: bytes arrive in order and unchanged, or the connection ends. The controls may be called from any thread and
hold for what happens after they return. Every direction of a connection has a reader and a writer thread, which
is plain and good for the tens of connections of a test.

The doubt: while holding, the kernel still completes a client's handshake, so a held relay looks like a hung
process and not like a host that is gone; for the latter cut packets in a network namespace.
"""

from __future__ import annotations

import functools
import queue
import socket
import struct
import threading
from typing import Final

from atoll.runtime.clock import BootClock
from atoll.runtime.worker import Worker

READ_BYTES: Final = 64 * 1024
WAITING_READS_MAX: Final = 64  # per direction; beyond it the sender is not read, and TCP holds it back
CONNECT_TIMEOUT_S: Final = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends a reset


class Relay:
    """Listens at once; ``close`` (or leaving the block) ends it and all its connections."""

    def __init__(self, host: str, port: int) -> None:
        self.delay_s = 0.0
        self.connections_count = 0  # made since the start
        self._target = (host, port)
        self._changed = threading.Condition()  # guards all that follows
        self._connections: dict[_Connection, None] = {}
        self._held = self._held_answers = False
        self._bytes_left: int | None = None
        self._listener: socket.socket | None = None
        self._port = 0
        self.accept()

    @property
    def address(self) -> str:
        """``host:port`` for clients; stays the same over ``refuse`` and ``accept``."""
        return f"127.0.0.1:{self._port}"

    def hold(self, *, answers_only: bool = False) -> None:
        """Nothing passes until ``release``. ``answers_only``: what clients send still passes."""
        with self._changed:
            self._held_answers = True
            self._held = not answers_only

    def release(self) -> None:
        with self._changed:
            self._held = self._held_answers = False
            self._changed.notify_all()

    def cut(self) -> None:
        with self._changed:
            for connection in list(self._connections):
                self._end(connection)

    def cut_after(self, bytes_count: int) -> None:
        """Cut all once ``bytes_count`` more bytes went to clients. Works once; a new call sets it again."""
        with self._changed:
            self._bytes_left = bytes_count

    def refuse(self) -> None:
        """No new connections: clients get "connection refused"."""
        with self._changed:
            if self._listener is not None:
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
                self._listener.close()
                self._listener = None

    def accept(self) -> None:
        """New connections again, on the same port."""
        with self._changed:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self._port))
                self._port = self._listener.getsockname()[1]
                Worker(f"relay {self._port}", functools.partial(self._accept_all, self._listener))

    def close(self) -> None:
        self.refuse()
        self.cut()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _accept_all(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # refuse() closed it
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, CONNECT_TIMEOUT_S)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        connection = _Connection(client, server)
        with self._changed:
            self.connections_count += 1
            if self._listener is None:
                connection.reset()
                return
            self._connections[connection] = None
        for source, target in ((client, server), (server, client)):
            waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(WAITING_READS_MAX)
            Worker("relay reader", functools.partial(self._read, connection, source, waiting))
            Worker("relay writer", functools.partial(self._write, connection, target, waiting))

    def _read(
        self, connection: _Connection, source: socket.socket, waiting: queue.Queue[tuple[float, bytes]]
    ) -> None:
        clock = BootClock()
        data = b"."
        while data:
            try:
                data = source.recv(READ_BYTES)
            except OSError:
                self._end(connection)
                data = b""
            waiting.put((clock.now_s() + self.delay_s, data))

    def _write(
        self, connection: _Connection, target: socket.socket, waiting: queue.Queue[tuple[float, bytes]]
    ) -> None:
        """Until the source ends. After the connection ended what is read is thrown away."""
        clock = BootClock()
        while True:
            due_s, data = waiting.get()
            if not data:
                if not connection.ended.is_set() and connection.finish(target):
                    self._forget(connection)
                return  # a cut must not look like an orderly end to the other side
            connection.ended.wait(max(0.0, due_s - clock.now_s()))
            allowed = self._await_passage(connection, data, to_client=target is connection.client)
            if connection.ended.is_set():
                continue
            try:
                target.sendall(allowed)
            except OSError:
                self._end(connection)
            if len(allowed) < len(data):
                self.cut()

    def _await_passage(self, connection: _Connection, data: bytes, *, to_client: bool) -> bytes:
        """Wait while this direction is held; how much of ``data`` may pass then."""
        with self._changed:
            self._changed.wait_for(
                lambda: not (self._held_answers if to_client else self._held) or connection.ended.is_set()
            )
            if not to_client or self._bytes_left is None:
                return data
            allowed = data[: self._bytes_left]
            left = self._bytes_left - len(data)
            self._bytes_left = left if left >= 0 else None
            return allowed

    def _forget(self, connection: _Connection) -> None:
        """Both sides have said that they send no more."""
        with self._changed:
            self._connections.pop(connection, None)
        connection.client.close()
        connection.server.close()

    def _end(self, connection: _Connection) -> None:
        with self._changed:
            self._connections.pop(connection, None)
            connection.reset()
            self._changed.notify_all()


class _Connection:
    """Two sockets. ``ended`` is set when it was cut."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.ended = threading.Event()
        self._directions = 2
        self._lock = threading.Lock()

    def reset(self) -> None:
        self.ended.set()
        _reset(self.client)
        _reset(self.server)

    def finish(self, target: socket.socket) -> bool:
        """A side said that it sends no more; tell the other. True when it was the second one."""
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended.set()  # it is gone already
        with self._lock:
            self._directions -= 1
            return self._directions == 0


def _reset(one: socket.socket) -> None:
    """Close with a reset, also while another thread is waiting in it."""
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        one.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # closed already, or the peer is gone
    one.close()
