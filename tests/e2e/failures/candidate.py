"""A candidate of its own process, over the election API: ``python -m tests.e2e.failures.candidate``.

While it may act as leader it stamps a file with the boot-time clock every millisecond, which is how it answers
"do you lead?" at that instant. It also writes all the time, by the last token it ever had and without asking
whether its term still holds: the worst application there can be. Only the fence stands between those writes and
the store; what it refused is counted in a file beside.

TERM makes it resign and end. Everything else is done to it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import threading
from pathlib import Path

from atoll.runtime.clock import BootClock
from atoll.runtime.worker import Worker
from atoll.store.api import Driver, Outcome, Put, Txn, TxnResult
from atoll.store.candidate import Candidacy, Candidate, Fact, Lost, Out, Quiesce, Won
from atoll.store.open import open_store
from atoll.store.term import Term

STAMP_EVERY_S = 0.001
WRITE_EVERY_S = 0.01
WRITE_TIMEOUT_S = 1.0
CLOCK = BootClock()


class Application:
    """What stands behind the candidate: a stamper and a writer, each on a thread."""

    def __init__(self, driver: Driver, candidacy: Candidacy, folder: Path) -> None:
        self._driver = driver
        self._id = candidacy.candidate
        self._key = f"{candidacy.name}-writes".encode()
        self._folder = folder
        self._term: Term | None = None
        self._last_term: Term | None = None
        self._refused = 0
        self.out = threading.Event()
        self.candidate = Candidate(driver, candidacy, self._hear)
        Worker("stamper", self._stamp)
        Worker("writer", self._write)

    def _hear(self, fact: Fact) -> None:
        match fact:
            case Won(term):
                self._term = self._last_term = term
            case Quiesce():
                self._term = self._last_term = None
                self.candidate.quiesced()
            case Lost():
                self._term = None
            case Out():
                self.out.set()

    def _stamp(self) -> None:
        serving: Term | None = None
        file, first_ns = -1, 0
        while not self.out.wait(STAMP_EVERY_S):
            term = self._term
            if term is not serving:
                serving, first_ns = term, 0
            now_s = CLOCK.now_s()  # the stamp is the instant of the check: a pause may follow it
            if term is not None and now_s < term.deadline_s:
                now_ns = int(now_s * 1e9)
                if first_ns == 0:
                    name = f"{term.token}-{self._id}-{os.getpid()}"
                    file, first_ns = os.open(self._folder / name, os.O_RDWR | os.O_CREAT), now_ns
                os.pwrite(file, struct.pack("<qq", first_ns, now_ns), 0)

    def _write(self) -> None:
        while not self.out.wait(WRITE_EVERY_S):
            term = self._last_term
            if term is None:
                continue
            value = {"token": str(term.token), "candidate": self._id, "sent_s": CLOCK.now_s()}
            answered = threading.Event()

            def done(outcome: Outcome, answered: threading.Event = answered) -> None:
                self._refused += isinstance(outcome, TxnResult) and not outcome.succeeded
                answered.set()

            write = Txn(term.guards(), (Put(self._key, json.dumps(value).encode()),))
            self._driver.submit(write, done, WRITE_TIMEOUT_S)
            answered.wait()
            self._folder.with_name(f"{self._id}.refused").write_text(str(self._refused))


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("store", "election", "id", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--ttl", type=int, required=True)
    options = parser.parse_args()
    leave = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leave.set())
    driver = open_store(options.store)
    candidacy = Candidacy(name=options.election, candidate=options.id, ttl_s=options.ttl)
    application = Application(driver, candidacy, Path(options.folder))
    application.candidate.start()
    while not leave.wait(0.1):
        pass
    application.candidate.resign()
    application.out.wait(options.ttl)
    application.candidate.close()
    driver.close()


if __name__ == "__main__":
    main()
