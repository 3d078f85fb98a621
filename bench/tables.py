"""What the ephemeral table costs: a registration, its way to two peers, its arrival, a digest, memory.

Rule: the machine alone, without sockets, in processor time, beside a printed calibration loop. Run as
``python -m bench.tables``; medians of ``RUNS``.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable

from atoll.store.ephemeral_machine import Machine, Times
from atoll.wire.nodes.entry import Identity
from atoll.wire.nodes.messages import decode, encode

ENTRIES = 10_000
RUNS = 5
VALUE = b"v" * 180
CALIBRATION_TURNS = 2_000_000


class Spent:
    """Processor time in microseconds an entry."""

    def __init__(self) -> None:
        self._of: dict[str, list[float]] = {}

    def add(self, what: str, work: Callable[[], object], entries: int = ENTRIES) -> None:
        began_s = time.process_time()
        work()
        self._of.setdefault(what, []).append((time.process_time() - began_s) / entries * 1e6)

    def show(self) -> None:
        for what, figures in self._of.items():
            print(f"{what:60} {statistics.median(figures):8.3f} us")


def machine(name: str) -> Machine:
    return Machine(Identity(name * 20, 1), Times())


def register(table: Machine) -> None:
    for number in range(ENTRIES):
        key = b"public\0DEFAULT_GROUP\0svc-%d\0DEFAULT\x0010.0.%d.%d:80" % (
            number % 500,
            *divmod(number, 250),
        )
        table.put(f"client-{number % 1000}", key, VALUE)
        table.keys.publish()


def calibrate() -> None:
    total = 0
    for number in range(CALIBRATION_TURNS):
        total += number


def link(one: Machine, other: Machine) -> None:
    one.link_up(other.who, 0.0)
    other.link_up(one.who, 0.0)
    for source, target in ((one, other), (other, one)):
        while message := source.next_message(target.who, 0.0):
            target.receive(source.who, message, 0.0)


def measure(spent: Spent) -> None:
    spent.add("calibration: one turn of a loop that adds", calibrate, CALIBRATION_TURNS)
    table, first, second = machine("a"), machine("b"), machine("c")
    spent.add("register", lambda: register(table))
    spent.add("register once more", lambda: register(table))
    spent.add("digest, an entry", table.own.origin.digest)
    for other in (first, second):
        link(table, other)
    said: list[bytes] = []
    register(table)
    spent.add("compute and encode for a peer, in batches", lambda: said.extend(_say(table, first)))
    spent.add("decode and take in, in batches", lambda: _hear(table, first, said))
    gc.collect()


def _say(table: Machine, peer: Machine) -> list[bytes]:
    said = []
    while message := table.next_message(peer.who, 0.0):
        said.append(encode(message))
    return said


def _hear(table: Machine, peer: Machine, said: list[bytes]) -> None:
    for data in said:
        peer.receive(table.who, decode(data), 0.0)
        peer.keys.publish()


def main() -> None:
    spent = Spent()
    for _ in range(RUNS):
        measure(spent)
    spent.show()
    gc.collect()
    tracemalloc.start()
    table = machine("a")
    register(table)
    gc.collect()
    size_mb = tracemalloc.get_traced_memory()[0] / 1e6
    print(f"{f'memory of {ENTRIES} entries with {len(VALUE)} bytes each':60} {size_mb:8.1f} MB")


if __name__ == "__main__":
    main()
