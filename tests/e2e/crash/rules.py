"""What was told to the clients, and what must therefore be in the store afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from atoll.store.api import Driver, Range, RangeResult
from atoll.store.maintenance import check
from atoll.store.sqlite import open_sqlite
from atoll.testing.asking import ask

CLIENTS = 16


def counter_keys(client: int) -> tuple[bytes, bytes]:
    return b"client/%02d/first" % client, b"client/%02d/second" % client


def entry_key(client: int, number: int) -> bytes:
    return b"entry/%02d/%08d" % (client, number)


@dataclass
class Told:
    """The record outside of the killed process: what each client heard."""

    acknowledged: dict[int, dict[int, int]] = field(default_factory=lambda: {c: {} for c in range(CLIENTS)})
    refused: set[tuple[int, int]] = field(default_factory=set)
    unknown: set[tuple[int, int]] = field(default_factory=set)
    others: list[str] = field(default_factory=list)
    stopped: bool = False
    acks_after_unknown: int = 0

    def hear(self, lines: Iterable[str]) -> None:
        for line in lines:
            match line.split():
                case ["ack", client, number, revision]:
                    self.acknowledged[int(client)][int(number)] = int(revision)
                    self.acks_after_unknown += bool(self.unknown)
                case ["full", client, number]:
                    self.refused.add((int(client), int(number)))
                case ["unknown", client, number]:
                    self.unknown.add((int(client), int(number)))
                case ["stopped"]:
                    self.stopped = True
                case ["open"] | ["defragment", _]:
                    continue
                case _:
                    self.others.append(line)

    @property
    def acks(self) -> int:
        return sum(len(numbers) for numbers in self.acknowledged.values())


def violations(path: Path, told: Told) -> list[str]:
    """Reopen the store and compare. Empty: nothing acknowledged is missing, nothing is half there."""
    found = list(told.others)
    store = open_sqlite(path)
    try:
        for client in range(CLIENTS):
            found += _of_client(store, client, told)
    finally:
        store.close()
    return found + list(check(path).problems)


def _of_client(store: Driver, client: int, told: Told) -> list[str]:
    first, second = (ask(store, Range(key), RangeResult).kvs for key in counter_keys(client))
    entries = ask(store, Range(entry_key(client, 0), entry_key(client, 99_999_999)), RangeResult).kvs
    there = {int(kv.key.rsplit(b"/", 1)[1]): kv for kv in entries}
    heard = told.acknowledged[client]
    refused = {number for who, number in told.refused if who == client}
    last = max(heard, default=0)
    newest = int(first[0].value.split()[0]) if first else 0
    found = []
    if [kv.value for kv in first] != [kv.value for kv in second]:
        found.append(f"client {client}: half a transaction: {first} {second}")
    if newest and there.keys() != set(range(1, newest + 1)) - refused:
        wrong = sorted((set(range(1, newest + 1)) - refused) ^ there.keys())
        found.append(f"client {client}: entries do not match the counter {newest}: {wrong[:5]}")
    under_way = max(last, *refused, 0) + 1
    if heard and not last <= newest <= under_way:
        found.append(f"client {client}: acknowledged up to {last}, found {newest}")
    for number, revision in heard.items():
        if number not in there or there[number].mod_revision != revision:
            found.append(f"client {client}: the acknowledged write {number} is missing or was done again")
    if refused & there.keys():
        found.append(f"client {client}: refused, yet there: {sorted(refused & there.keys())[:5]}")
    return found
