"""The process that is to be killed: holds a SQLite store and lets 16 clients write to it, until it ends.

Each client has one transaction on its way: it raises the client's two counters to the same number and adds an
entry with that number. Every outcome goes to standard output, one line, before the client goes on:
``ack CLIENT NUMBER REVISION``, ``full CLIENT NUMBER`` (refused, not applied), ``unknown CLIENT NUMBER``. Beside
them the history is compacted and the file defragmented, so that a kill finds those at work too.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import Compact, Outcome, Put, PutResult, Range, RangeResult, Txn, TxnResult
from atoll.store.sqlite import SqliteStore, open_sqlite
from atoll.testing.asking import ask, outcome
from tests.e2e.crash.rules import CLIENTS, counter_keys, entry_key

VALUE_BYTES = 300
COMPACT_EVERY = 64  # acknowledgements
DEFRAGMENT_EVERY = 512


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write, so that a kill leaves whole lines


class Writer:
    def __init__(self, path: Path) -> None:
        self.store: SqliteStore = open_sqlite(path)
        self.stopped = threading.Event()
        self.acks = 0

    def run(self) -> None:
        self.store.engine.on_stop(lambda _: self.stopped.set())
        say("open")
        for client in range(CLIENTS):
            kvs = ask(self.store, Range(counter_keys(client)[0]), RangeResult).kvs
            self._write(client, int(kvs[0].value.split()[0]) + 1 if kvs else 1)
        threading.Thread(target=self._chores, daemon=True).start()
        self.stopped.wait()
        say("stopped")

    def _write(self, client: int, number: int) -> None:
        value = b"%d " % number + b"x" * VALUE_BYTES
        first, second = counter_keys(client)
        operations = (Put(first, value), Put(entry_key(client, number)), Put(second, value))
        self.store.submit(Txn(success=operations), lambda answer: self._done(client, number, answer))

    def _done(self, client: int, number: int, answer: Outcome) -> None:
        if isinstance(answer, TxnResult):
            self.acks += 1
            say(f"ack {client} {number} {answer.revision}")
            self._write(client, number + 1)
        elif isinstance(answer, AtollError) and answer.reason is Reason.NO_SPACE:
            say(f"full {client} {number}")
            self.store.engine.disarm("NOSPACE")
            threading.Timer(0.002, self._write, (client, number + 1)).start()
        elif isinstance(answer, AtollError) and answer.code is Code.UNKNOWN:
            say(f"unknown {client} {number}")
        elif isinstance(answer, AtollError) and answer.reason is not Reason.CLOSED:
            say(f"error {client} {number} {answer!r}")

    def _chores(self) -> None:
        compacted = defragmented = 0
        while not self.stopped.wait(0.001):
            if self.acks - compacted >= COMPACT_EVERY:
                compacted = self.acks
                answer = outcome(self.store, Put(b"chore"))
                if isinstance(answer, PutResult):
                    outcome(self.store, Compact(answer.revision - COMPACT_EVERY // 2))
            if self.acks - defragmented >= DEFRAGMENT_EVERY:
                defragmented = self.acks
                try:
                    self.store.defragment()
                except AtollError as error:
                    say(f"defragment {error.reason.name}")


if __name__ == "__main__":
    Writer(Path(sys.argv[1])).run()
