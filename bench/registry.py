"""The registry under load: what an operation costs the node's processor, how late pushes are, what clients weigh.

Rule: what counts is the server's CPU time per operation (user and system, from /proc), because the client shares its
cores; rates and latencies are of both together. No peer stands beside it (Nacos is in no package registry that the
tests install from), so a loop of plain Python is timed in the same minute and printed: the ruler of this machine.

    python3 dev.py bench registry [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from bench.load import nacos, registry, servers
from bench.load.registry import Arrivals, Crowd, Measured
from tools import environment, soak
from tools.rows import percentile

PAGE = environment.ROOT / "docs" / "reference" / "performance.md"

CONNECTIONS = 16
SERVICES = 625  # of each connection: 10,000 instances in all
BATCHES, OF_A_BATCH = 8, 100
QUERIES = 500  # of each connection
BEATS = 10_000
SUBSCRIBERS = LISTENERS = 1000
CHANGES = 20
QUIET_S = 0.7  # between two changes, so that each is the first after quiet
CONFIGS = 200
PUBLISHES = 100  # of each connection
CONTENT = "key=value\n" * 20
IDLE = 1000
CROWD, CROWD_EACH = 1000, 10  # connections, instances each
CALIBRATION_ROUNDS = 200_000
HEAD = ("case", "measured", "rate", "aim", "")


@dataclass
class Case:
    """One line: ``values`` of all runs in ``unit``; less is better. Half of an aim's speed is the floor."""

    name: str
    unit: str
    aim: float | None = None
    values: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def add(self, measured: Measured) -> None:
        self.values.append(measured.cpu_us)
        self.rates.append(measured.per_s)

    @property
    def verdict(self) -> str:
        if self.aim is None:
            return ""
        middle = statistics.median(self.values)
        return (
            "aim met"
            if middle <= self.aim
            else "above the floor"
            if middle <= 2 * self.aim
            else "BELOW THE FLOOR"
        )

    def cells(self) -> list[str]:
        rate = f"{statistics.median(self.rates):,.0f} /s" if self.rates else ""
        aim = "" if self.aim is None else f"{self.aim:g} {self.unit}"
        return [self.name, f"{_spread(self.values)} {self.unit}", rate, aim, self.verdict]


class Cases:
    """All of them, in the order in which they are shown."""

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}

    def case(self, name: str, unit: str = "us CPU", aim: float | None = None) -> Case:
        return self._cases.setdefault(name, Case(name, unit, aim))

    def all(self) -> list[Case]:
        return list(self._cases.values())


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    cases, calibration_us = Cases(), []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        for number in range(options.runs):
            calibration_us.append(calibrate_us())
            folder = Path(name) / str(number)
            folder.mkdir()
            uvloop.run(_round(folder, cases))
            print(f"run {number + 1} of {options.runs} done", file=sys.stderr, flush=True)
    setting = _setting(options, calibration_us)
    _show(cases.all(), setting)
    if options.write:
        soak.write_section(PAGE, "registry", f"{setting}\n\n{_markdown(cases.all())}")
    return int(any(each.verdict == "BELOW THE FLOOR" for each in cases.all()))


def calibrate_us() -> float:
    """Microseconds for reading and writing one small JSON object, the kind of work that a node does all day."""
    raw = msgspec.json.encode(registry.instance(1))
    best_s = []
    for _ in range(3):
        start_s = time.process_time()
        for _ in range(CALIBRATION_ROUNDS):
            msgspec.json.encode(msgspec.json.decode(raw))
        best_s.append(time.process_time() - start_s)
    return 1e6 * min(best_s) / CALIBRATION_ROUNDS


async def _round(folder: Path, cases: Cases) -> None:
    (folder / "load").mkdir()
    with servers.atoll(folder / "load") as server:
        cases.case("start-up until the first answer", "s", 1.5).values.append(server.start_s)
        cases.case("resident memory after start-up", "MB").values.append(server.resident_bytes() / 1e6)
        await _naming(server, cases)
        await _configuration(server, cases)
    (folder / "push").mkdir()
    with servers.atoll(folder / "push") as server:
        await _naming_push(server, cases)
        await _configuration_push(server, cases)
    (folder / "weight").mkdir()
    with servers.atoll(folder / "weight") as server:
        await _weight(server, cases)


async def _naming(server: servers.Server, cases: Cases) -> None:
    crowd = Crowd(server)
    await crowd.grow(CONNECTIONS)
    clients = range(CONNECTIONS)
    numbers = [[client * SERVICES + at for at in range(SERVICES)] for client in clients]
    registers = [
        [registry.register(f"bench-{number % SERVICES}", number) for number in each] for each in numbers
    ]
    cases.case("register an instance, gRPC", aim=330).add(await crowd.run(registers))
    cases.case("register it once more, unchanged").add(await crowd.run(registers))
    queries = [[registry.query(f"bench-{at}") for at in range(QUERIES)] for _ in clients]
    cases.case(f"query a service with {CONNECTIONS} instances").add(await crowd.run(queries))
    checks = [[registry.health_check()] * QUERIES for _ in clients]
    cases.case("heartbeat of a connection, gRPC").add(await crowd.run(checks))
    cases.case("heartbeat of an instance, HTTP v1").add(await registry.beat(server, CONNECTIONS, BEATS))
    batches = [[_batch(client, at) for at in range(BATCHES)] for client in clients]
    measured = await crowd.run(batches, in_flight=1)  # a window holds two of them
    each = Measured(measured.count * OF_A_BATCH, measured.took_s, measured.cpu_s)
    cases.case(f"register {OF_A_BATCH} instances in one request, each").add(each)
    await crowd.leave()


def _batch(client: int, at: int) -> bytes:
    first = 100_000 + (client * BATCHES + at) * OF_A_BATCH
    return registry.register_batch(f"batch-{at}", range(first, first + OF_A_BATCH))


async def _configuration(server: servers.Server, cases: Cases) -> None:
    crowd = Crowd(server)
    await crowd.grow(CONNECTIONS)
    publishes = [
        [registry.publish(f"bench-{client}-{at}", CONTENT + str(at)) for at in range(PUBLISHES)]
        for client in range(CONNECTIONS)
    ]
    cases.case("publish a configuration of 200 bytes, durably").add(await crowd.run(publishes))
    queries = [
        [registry.query_config(f"bench-{client}-{at % PUBLISHES}") for at in range(QUERIES)]
        for client in range(CONNECTIONS)
    ]
    cases.case("query a configuration").add(await crowd.run(queries))
    await crowd.leave()


async def _naming_push(server: servers.Server, cases: Cases) -> None:
    """One instance comes or changes, and 1,000 subscribers have its service's new list."""
    crowd = Crowd(server)
    (provider,) = await crowd.grow(1)
    nacos.read_answer("register", await provider.start_prepared(registry.register("pushed", 0)))
    subscribers = await crowd.grow(SUBSCRIBERS)
    for subscriber in subscribers:
        nacos.read_answer("subscribe", await subscriber.start_prepared(registry.subscribe("pushed")))
    arrivals, late_s = Arrivals(subscribers), list[float]()
    before_s = server.cpu_s()
    for number in range(1, CHANGES + 1):
        await asyncio.sleep(QUIET_S)
        late_s += await arrivals.round(provider, registry.register("pushed", number))
    cpu_us = 1e6 * (server.cpu_s() - before_s) / (CHANGES * SUBSCRIBERS)
    _add_latencies(cases, f"a change at {SUBSCRIBERS:,} subscribers", late_s, 100)
    cases.case("one push of a list, acknowledged").values.append(cpu_us)
    await crowd.leave()


async def _configuration_push(server: servers.Server, cases: Cases) -> None:
    crowd = Crowd(server)
    (publisher,) = await crowd.grow(1)
    content = CONTENT
    nacos.read_answer("publish", await publisher.start_prepared(registry.publish("pushed", content)))
    md5 = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
    listeners = await crowd.grow(LISTENERS)
    for listener in listeners:
        nacos.read_answer("listen", await listener.start_prepared(registry.listen("pushed", md5)))
    arrivals, late_s = Arrivals(listeners), list[float]()
    for number in range(CHANGES):
        await asyncio.sleep(QUIET_S)
        late_s += await arrivals.round(publisher, registry.publish("pushed", f"{content}{number}"))
    _add_latencies(cases, f"a publish at {LISTENERS:,} listeners", late_s, None)
    await crowd.leave()


def _add_latencies(cases: Cases, what: str, late_s: Sequence[float], aim_ms: float | None) -> None:
    cases.case(f"{what}, median", "ms").values.append(1000 * percentile(late_s, 0.5))
    cases.case(f"{what}, p99", "ms", aim_ms).values.append(1000 * percentile(late_s, 0.99))


async def _weight(server: servers.Server, cases: Cases) -> None:
    """Idle connections first, then an instance in each of ten services behind every one of them."""
    crowd = Crowd(server)
    before = server.resident_bytes()
    await crowd.grow(IDLE)
    grown = server.resident_bytes() - before
    cases.case("an idle connection", "KB").values.append(grown / IDLE / 1e3)
    cases.case("idle connections in a gigabyte", "thousand").values.append(IDLE / (grown / 1e9) / 1e3)
    registers = [
        [
            registry.register(f"bench-{client % 100}-{at}", client * CROWD_EACH + at)
            for at in range(CROWD_EACH)
        ]
        for client in range(CROWD)
    ]
    await crowd.run(registers)
    name = f"resident memory with {CROWD * CROWD_EACH:,} instances and {CROWD:,} connections"
    cases.case(name, "MB", 150).values.append(server.resident_bytes() / 1e6)
    await crowd.leave()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py bench registry")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which medians are shown")
    parser.add_argument(
        "--folder", type=Path, default=environment.STATE, help="where data is written: the disk"
    )
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    return parser


def _setting(options: argparse.Namespace, calibration_us: Sequence[float]) -> str:
    loops = ", ".join(f"{each:.2f}" for each in calibration_us)
    return (
        f"`python3 dev.py bench registry --runs {options.runs}` on commit {soak.commit()}, Python "
        f"{platform.python_version()}, 2 shared cores, client and server on one machine. Medians of {options.runs} runs "
        f"(smallest to largest); less is better. Calibration, reading and writing one small JSON object: {loops} us."
    )


def _spread(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):,.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.3g} to {max(values):,.3g})"


def _markdown(cases: Sequence[Case]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(each.cells()) + " |" for each in cases)])


def _show(cases: Sequence[Case], setting: str) -> None:
    table = Table(*HEAD)
    for each in cases:
        table.add_row(*each.cells())
    console = Console(width=140)
    console.print(table)
    console.print(setting)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
