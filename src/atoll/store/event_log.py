"""A node's own log of events: an SQLite file in its data folder, written by a thread of its own.

One rule: ``record`` appends to a bounded queue and returns; what does not fit is dropped, counted, and told by an event of
its own. Nothing that serves clients waits for this file, and nothing but explanations is lost with it: a file that cannot
be read is put aside and a new one begun.

Format 1 (``PRAGMA user_version``): ``event`` and ``instance`` have a row an event, ``name`` the texts that repeat (subjects
and clients), ``snapshot`` all instances at a time (zlib of JSON). Times are Unix milliseconds by this node's clock.

Bounds: ``age_s_max`` and ``size_bytes_max``; the oldest events go first.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.events import Event, Kind, Moved
from atoll.runtime import disk
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.worker import Worker

FORMAT = 1
BATCH_S = 0.2  # what is recorded is in the file about so long afterwards
BATCH_EVENTS_MAX = 5_000
HELD_MAX = 50_000  # newest states of (client, subject) that ``record_once`` remembers
FLUSH_S_MAX = 5.0
FORGET_EVERY_MS = 10_000
NAMES_KEPT_MAX = 100_000  # whose numbers the writer remembers
EVENTS_READ_MAX = 10_000  # of one question
CLIENTS_READ_MAX = 20
FORGET_ROWS_MAX = 20_000  # deleted at a time
DETAIL_CHARS_MAX = 512
_SCHEMA = """
CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    client INTEGER NOT NULL,
    digest TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX event_of_subject ON event (subject, client, id);
CREATE INDEX event_of_client ON event (client, id) WHERE subject = 0;
CREATE TABLE instance (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    instance TEXT NOT NULL,
    value TEXT NOT NULL
);
CREATE INDEX instance_at ON instance (at_ms);
CREATE INDEX instance_of_subject ON instance (subject, id);
CREATE TABLE snapshot (at_ms INTEGER PRIMARY KEY, content BLOB NOT NULL);
INSERT INTO name VALUES (0, '');
"""


class Bounds(msgspec.Struct, frozen=True):
    queue_events_max: int = 100_000
    age_s_max: float = 7 * 86_400.0
    size_bytes_max: int = 1_073_741_824


class Statistics(msgspec.Struct, frozen=True):
    recorded: int
    dropped: int
    queued: int
    size_bytes: int


class _Row(NamedTuple):
    """What is queued. ``kind`` is one of ``Kind``, or one of the two below."""

    at_ms: int
    kind: int
    subject: str
    client: str  # or the instance
    digest: str
    detail: str | bytes  # or the instance's value, or a snapshot's content


_INSTANCE = 0
_SNAPSHOT = -1


class EventLog:
    """``record...`` may be called from any thread and returns at once; what reads blocks, and belongs on another thread
    than the event loop's.
    """

    def __init__(self, path: Path, clock: Clock, bounds: Bounds | None = None) -> None:
        self._path = path
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._log = Log("event-log")
        self._queue: deque[_Row] = deque()
        self._held: dict[tuple[str, str], str] = {}
        self._recorded = 0
        self._dropped = 0
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._settled = 0  # of the recorded events, how many are in the file or given up
        self._closing = False
        self._writer = _Writer(path, self._bounds, self._log)
        self.record(Kind.STARTED, "", "", "", "")
        self._worker = Worker("atoll-event-log", self._run)

    # ------------------------------------------------------------------------------------------ recording

    def record(self, kind: Kind, subject: str, client: str, digest: str, detail: str) -> None:
        self._append(_Row(self._now_ms(), kind, subject, client, digest, detail[:DETAIL_CHARS_MAX]))

    def record_once(self, kind: Kind, subject: str, client: str, digest: str) -> None:
        """Only where it differs from what was recorded last for this client and subject."""
        pair = (client, subject)
        if self._held.get(pair) == digest:
            return
        if len(self._held) >= HELD_MAX:
            self._held.clear()
        self._held[pair] = digest
        self.record(kind, subject, client, digest, "")

    def record_instance(self, subject: str, instance: str, value: str) -> None:
        self._append(_Row(self._now_ms(), _INSTANCE, subject, instance, "", value))

    def record_snapshot(self, at_s: float, content: bytes) -> None:
        """All instances as they are at ``at_s``: JSON."""
        self._append(_Row(int(at_s * 1000), _SNAPSHOT, "", "", "", content))

    def statistics(self) -> Statistics:
        return Statistics(self._recorded, self._dropped, len(self._queue), _size_bytes(self._path))

    def close(self) -> None:
        """Write what is queued, and end. Idempotent."""
        self._closing = True
        self._wake.set()
        self._worker.wait_end()
        self._writer.close()

    def _append(self, row: _Row) -> None:
        if len(self._queue) >= self._bounds.queue_events_max:
            self._dropped += 1
            return
        self._queue.append(row)
        self._recorded += 1

    def _now_ms(self) -> int:
        return int(self._clock.wall_s() * 1000)

    # -------------------------------------------------------------------------------------------- writing

    def _run(self) -> None:
        told = 0
        while True:
            self._wake.wait(BATCH_S)
            self._wake.clear()
            closing = self._closing
            while self._queue:
                self._write([self._queue.popleft() for _ in range(min(len(self._queue), BATCH_EVENTS_MAX))])
            dropped = self._dropped
            if dropped > told:
                self._log.warning("events did not fit", dropped=dropped - told)
                self.record(Kind.DROPPED, "", "", "", str(dropped - told))
                told = dropped
                self._wake.set()
            elif closing:
                return
            self._writer.forget(self._now_ms())

    def _write(self, rows: list[_Row]) -> None:
        self._dropped += self._writer.write(rows)
        with self._progress:
            self._settled += len(rows)
            self._progress.notify_all()

    # -------------------------------------------------------------------------------------------- reading

    def flush(self) -> None:
        """Wait until what was recorded before is in the file (or given up)."""
        wanted = self._recorded
        self._wake.set()
        with self._progress:
            if not self._progress.wait_for(lambda: self._settled >= wanted, FLUSH_S_MAX):
                raise AtollError(Code.UNAVAILABLE, "the event log is behind; ask again", retry_after_s=1.0)

    def events(
        self,
        subject: str,
        client: str,
        until_s: float,
        kinds: Sequence[Kind] = (),
        limit: int = EVENTS_READ_MAX,
    ) -> list[Event]:
        """The newest ``limit`` events of exactly this subject and client (empty: events that have none) up to
        ``until_s``, oldest first.
        """
        wanted = f" AND kind IN ({','.join(str(int(kind)) for kind in kinds)})" if kinds else ""
        rows = self._ask(
            f"SELECT event.id, at_ms, kind, digest, detail FROM event"
            f" WHERE subject = (SELECT id FROM name WHERE text = ?) AND client = (SELECT id FROM name WHERE text = ?)"
            f" AND at_ms <= ?{wanted} ORDER BY event.id DESC LIMIT ?",
            (subject, client, int(until_s * 1000), limit),
        )
        return [
            Event(row[0], row[1] / 1000, row[2], subject, client, row[3], row[4]) for row in reversed(rows)
        ]

    def clients_of(self, subject: str, like: str, until_s: float) -> list[str]:
        """Clients whose name has ``like`` in it and that had to do with ``subject``, newest first."""
        rows = self._ask(
            "SELECT name.text FROM event JOIN name ON name.id = event.client"
            " WHERE subject = (SELECT id FROM name WHERE text = ?) AND client != 0 AND at_ms <= ?"
            " AND instr(name.text, ?) > 0 GROUP BY client ORDER BY max(event.id) DESC LIMIT ?",
            (subject, int(until_s * 1000), like, CLIENTS_READ_MAX),
        )
        return [row[0] for row in rows]

    def first_snapshot_s(self) -> float:
        """Since when the file can tell all instances, Unix time; now where it cannot yet."""
        rows = self._ask("SELECT min(at_ms) FROM snapshot", ())
        return self._clock.wall_s() if rows[0][0] is None else float(rows[0][0]) / 1000

    def snapshot(self, until_s: float) -> tuple[float, bytes] | None:
        """The newest snapshot that is not newer than ``until_s``, and its time."""
        rows = self._ask(
            "SELECT at_ms, content FROM snapshot WHERE at_ms <= ? ORDER BY at_ms DESC LIMIT 1",
            (int(until_s * 1000),),
        )
        return (rows[0][0] / 1000, zlib.decompress(rows[0][1])) if rows else None

    def moves(self, after_s: float, until_s: float) -> list[Moved]:
        """What became of instances from ``after_s`` to ``until_s``, in order."""
        rows = self._ask(
            "SELECT at_ms, name.text, instance, value FROM instance JOIN name ON name.id = subject"
            " WHERE at_ms >= ? AND at_ms <= ? ORDER BY instance.id",
            (int(after_s * 1000), int(until_s * 1000)),
        )
        return [Moved(row[0] / 1000, row[1], row[2], row[3]) for row in rows]

    def moves_of(self, subject: str, until_s: float, limit: int) -> list[Moved]:
        """The newest ``limit`` changes of one service's instances, oldest first."""
        rows = self._ask(
            "SELECT at_ms, instance, value FROM instance WHERE subject = (SELECT id FROM name WHERE text = ?)"
            " AND at_ms <= ? ORDER BY id DESC LIMIT ?",
            (subject, int(until_s * 1000), limit),
        )
        return [Moved(row[0] / 1000, subject, row[1], row[2]) for row in reversed(rows)]

    def _ask(self, question: str, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
        self.flush()
        try:
            with contextlib.closing(_connect(self._path, "ro")) as connection:
                return connection.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise AtollError(
                Code.UNAVAILABLE, f"the event log {self._path} cannot be read: {error}"
            ) from error


class _Writer:
    """The writing side of the file, used by one thread at a time. What the disk refuses is given up, and counted."""

    def __init__(self, path: Path, bounds: Bounds, log: Log) -> None:
        self._path = path
        self._bounds = bounds
        self._log = log
        self._names: dict[str, int] = {"": 0}
        self._failing = False
        self._looked_ms = 0
        self._connection = _open(path, log)

    def close(self) -> None:
        self._connection.close()

    def write(self, rows: list[_Row]) -> int:
        """Returns how many rows could not be written."""
        try:
            self._connection.execute("BEGIN")
            self._insert(rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
            return len(rows)
        self._failing = False
        return 0

    def forget(self, now_ms: int) -> None:
        """Delete what is too old, or too much."""
        if now_ms - self._looked_ms < FORGET_EVERY_MS:
            return
        self._looked_ms = now_ms
        oldest_ms = now_ms - int(self._bounds.age_s_max * 1000)
        try:
            self._forget_before(oldest_ms)
            while _used_bytes(self._connection) > self._bounds.size_bytes_max and self._forget_oldest():
                continue
        except sqlite3.Error as error:
            self._give_up(error)

    def _insert(self, rows: list[_Row]) -> None:
        run = self._connection.executemany
        events = [row for row in rows if row.kind > 0]
        run(
            "INSERT INTO event (at_ms, kind, subject, client, digest, detail) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (row.at_ms, row.kind, self._name(row.subject), self._name(row.client), row.digest, row.detail)
                for row in events
            ],
        )
        run(
            "INSERT INTO instance (at_ms, subject, instance, value) VALUES (?, ?, ?, ?)",
            [
                (row.at_ms, self._name(row.subject), row.client, row.detail)
                for row in rows
                if row.kind == _INSTANCE
            ],
        )
        run(
            "INSERT OR REPLACE INTO snapshot VALUES (?, ?)",
            [(row.at_ms, zlib.compress(_bytes(row.detail), 1)) for row in rows if row.kind == _SNAPSHOT],
        )

    def _name(self, text: str) -> int:
        found = self._names.get(text)
        if found is None:
            if len(self._names) >= NAMES_KEPT_MAX:
                self._names = {"": 0}
            ask = self._connection.execute
            ask("INSERT OR IGNORE INTO name (text) VALUES (?)", (text,))
            found = self._names[text] = int(ask("SELECT id FROM name WHERE text = ?", (text,)).fetchone()[0])
        return found

    def _forget_before(self, oldest_ms: int) -> None:
        ask = self._connection.execute
        first = ask("SELECT min(id) FROM event WHERE at_ms >= ?", (oldest_ms,)).fetchone()[0]
        if first is not None:
            ask("DELETE FROM event WHERE id < ?", (first,))
        ask("DELETE FROM instance WHERE at_ms < ?", (oldest_ms,))
        ask("DELETE FROM snapshot WHERE at_ms < ?", (oldest_ms,))

    def _forget_oldest(self) -> bool:
        """The oldest piece of everything. Returns whether there was one."""
        ask = self._connection.execute
        row = ask(
            "SELECT at_ms FROM (SELECT at_ms FROM event ORDER BY id LIMIT ?) UNION"
            " SELECT at_ms FROM (SELECT at_ms FROM instance ORDER BY id LIMIT ?) ORDER BY at_ms DESC LIMIT 1",
            (FORGET_ROWS_MAX, FORGET_ROWS_MAX),
        ).fetchone()
        if row is None:
            return False
        self._forget_before(row[0] + 1)
        ask(
            "DELETE FROM name WHERE id != 0 AND id NOT IN"
            " (SELECT subject FROM event UNION SELECT client FROM event UNION SELECT subject FROM instance)"
        )
        self._names = {"": 0}
        return True

    def _give_up(self, error: sqlite3.Error) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        self._names = {"": 0}
        if not self._failing:
            self._log.warning("events are not written", path=str(self._path), error=str(error))
        self._failing = True


def _open(path: Path, log: Log) -> sqlite3.Connection:
    """The file at ``path``, made where it is missing; one that is no event log of this format is put aside."""
    disk.make_private_folder(path.parent)
    if path.exists():
        try:
            connection = _connect(path, "rw")
            if connection.execute("PRAGMA user_version").fetchone()[0] == FORMAT:
                return _prepared(connection)
            connection.close()
            why = "it has another format"
        except sqlite3.Error as error:
            why = str(error)
        aside = path.with_name(path.name + ".unreadable")
        log.warning("the event log is put aside", path=str(aside), why=why)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    try:
        disk.write_private_file(path, b"")
        connection = _connect(path, "rw")
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        return _prepared(connection)
    except sqlite3.Error as error:
        raise AtollError(Code.UNAVAILABLE, f"cannot make the event log {path}: {error}") from error


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A power cut may take the newest events; nobody waits for the disk."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _size_bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _bytes(detail: str | bytes) -> bytes:
    return detail if isinstance(detail, bytes) else detail.encode()
