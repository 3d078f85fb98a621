"""``python3 dev.py bench store``: Atoll's embedded store against Debian's etcd, in one run, on one disk.

Rule: the same load generator against both, in alternating order, and medians of the runs; the reference of the
cases in process is etcd over gRPC with as many puts in flight, since etcd has no other way in.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from atoll.wire.etcd import messages
from bench.load import disk, h2load, servers, streams
from bench.load.comparison import HEAD, Case, Comparison, markdown
from bench.load.h2load import Shape
from tools import environment, soak

PAGE = environment.ROOT / "docs" / "reference" / "performance.md"

SHAPES: Mapping[int, Shape] = {1: Shape(1, 1), 16: Shape(16, 1), 128: Shape(16, 8)}
GET_SHAPE = Shape(16, 4)
WATCHERS = 1000
WATCHED_PUTS = 60
KEEP_ALIVES = 20_000
KEEP_ALIVES_IN_FLIGHT = 64

KEY = b"bench/key"
PUT = messages.PutRequest(key=KEY, value=b"v" * 64).SerializeToString()
GET = messages.RangeRequest(key=KEY).SerializeToString()

IN_PROCESS = {
    at: Case(f"durable puts, in process, {at} in flight", "/s", aim)
    for at, aim in ((1, 2), (16, 2), (128, 1))
}
OVER_GRPC = {
    at: Case(f"durable puts, gRPC, {at} in flight", "/s", aim) for at, aim in ((1, 1), (16, 0.8), (128, 0.5))
}
GETS = Case(f"gets, gRPC, {GET_SHAPE.in_flight} in flight", "/s", 1)
FAN_OUT = Case(f"events to {WATCHERS:,} watchers", "/s")
LAST_EVENT = Case(f"put to its event at the last of {WATCHERS:,} watchers", "ms", less_is_better=True)
RENEWALS = Case(f"lease keep-alives, {KEEP_ALIVES_IN_FLIGHT} in flight", "/s")
START = Case("start-up until the first answer", "s", less_is_better=True)
IDLE = Case("resident memory after start-up", "MB", less_is_better=True)
LOADED = Case("resident memory after the load", "MB", less_is_better=True)

Figures = dict[Case, float]


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    rounds: list[tuple[Figures, Figures]] = []
    fsync_s: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        for number in range(options.runs):
            folder = Path(name) / str(number)
            folder.mkdir()
            fsync_s.append(disk.fsync_p50_s(folder))
            rounds.append(_round(folder, options.seconds, etcd_first=number % 2 == 0))
            print(f"run {number + 1} of {options.runs} done", file=sys.stderr, flush=True)
    comparisons = _compare(rounds)
    setting = _setting(options, fsync_s)
    if options.json:
        print(json.dumps({"setting": setting, "cases": [each.plain() for each in comparisons]}, indent=1))
    else:
        _show(comparisons, setting)
    if options.write:
        soak.write_section(PAGE, "store", f"{setting}\n\n{markdown(comparisons)}")
    return int(any(each.verdict == "BELOW THE FLOOR" for each in comparisons))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py bench store")
    parser.add_argument("--runs", type=int, default=7, help="alternating runs, of which medians are shown")
    parser.add_argument("--seconds", type=int, default=1, help="how long each load lasts")
    parser.add_argument(
        "--folder", type=Path, default=environment.STATE, help="where data is written: the disk"
    )
    parser.add_argument("--json", action="store_true", help="all figures of all runs")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    return parser


def _round(folder: Path, seconds: int, etcd_first: bool) -> tuple[Figures, Figures]:
    """All cases once on both, each case back to back, since the disk's speed wanders within minutes; what came
    first in this round comes second in the next.
    """
    with servers.etcd(folder) as etcd, servers.atoll(folder) as atoll:
        figures: dict[str, Figures] = {each.name: _start_up(each) for each in (etcd, atoll)}
        order = (etcd, atoll) if etcd_first else (atoll, etcd)
        for in_flight in SHAPES:
            for server in order:
                figures[server.name][OVER_GRPC[in_flight]] = _puts_per_s(server, in_flight, seconds)
            figures["etcd"][IN_PROCESS[in_flight]] = figures["etcd"][OVER_GRPC[in_flight]]
            figures["atoll"][IN_PROCESS[in_flight]] = _in_process(folder, in_flight, seconds)
        for measure in (_gets, _fan_out, _renewals, _loaded):
            for server in order:
                figures[server.name].update(measure(server, seconds))
    return figures["etcd"], figures["atoll"]


def _start_up(server: servers.Server) -> Figures:
    return {START: server.start_s, IDLE: server.resident_bytes() / 1e6}


def _puts_per_s(server: servers.Server, in_flight: int, seconds: int) -> float:
    before = server.revision()
    load = h2load.run(server.port, streams.PUT, PUT, SHAPES[in_flight], seconds)
    written = server.revision() - before
    if written < load.requests:
        raise RuntimeError(f"{server.name} answered {load.requests} puts and made {written} revisions")
    return load.per_s


def _gets(server: servers.Server, seconds: int) -> Figures:
    return {GETS: h2load.run(server.port, "/etcdserverpb.KV/Range", GET, GET_SHAPE, seconds).per_s}


def _fan_out(server: servers.Server, seconds: int) -> Figures:
    measured = streams.fan_out(server.port, WATCHERS, WATCHED_PUTS)
    return {FAN_OUT: measured.events_per_s, LAST_EVENT: 1000 * measured.last_event_p50_s}


def _renewals(server: servers.Server, seconds: int) -> Figures:
    return {RENEWALS: streams.keep_alives_per_s(server.port, KEEP_ALIVES_IN_FLIGHT, KEEP_ALIVES)}


def _loaded(server: servers.Server, seconds: int) -> Figures:
    return {LOADED: server.resident_bytes() / 1e6}


def _in_process(folder: Path, in_flight: int, seconds: int) -> float:
    line = [sys.executable, "-m", "bench.load.in_process", str(folder), str(in_flight), str(seconds)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60 + seconds)
    if done.returncode:
        raise RuntimeError(f"the load in process failed:\n{done.stderr}")
    return float(done.stdout)


def _compare(rounds: Sequence[tuple[Figures, Figures]]) -> list[Comparison]:
    cases = [
        *IN_PROCESS.values(),
        *OVER_GRPC.values(),
        GETS,
        FAN_OUT,
        LAST_EVENT,
        RENEWALS,
        START,
        IDLE,
        LOADED,
    ]
    return [
        Comparison(case, [etcd[case] for etcd, _ in rounds], [atoll[case] for _, atoll in rounds])
        for case in cases
    ]


def _setting(options: argparse.Namespace, fsync_s: Sequence[float]) -> str:
    fsyncs = ", ".join(f"{1000 * each:.2f}" for each in fsync_s)
    return (
        f"`python3 dev.py bench store --runs {options.runs} --seconds {options.seconds}` on commit {soak.commit()}, "
        f"Python {platform.python_version()}, 2 shared cores. Medians of {options.runs} alternating runs (smallest to "
        f"largest) and of their ratios; fsync p50 of the same disk in each run: {fsyncs} ms. A ratio above 1 is better than etcd."
    )


def _show(comparisons: Sequence[Comparison], setting: str) -> None:
    table = Table(*HEAD)
    for each in comparisons:
        table.add_row(*each.cells())
    console = Console(width=140)
    console.print(table)
    console.print(setting)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
