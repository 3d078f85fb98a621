"""Echo over gRPC: Atoll's server, the same on python-hyper's h2, and grpc.aio, one after another in one run.

Rule: what counts is the server's CPU time per call or message (user and system, from /proc), because the clients
share its cores; and the ratio to the others, because the machine is not quiet. Every figure is the median of the
rounds, and the rounds take turns between the servers.

    python3 dev.py bench grpc_echo [ROUNDS]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import grpc

CALLS = 20_000
MESSAGES = 30_000
SERVICE = "/atoll.bench.Echo/"
SERVERS = ("atoll", "h2", "grpcio")
STREAMS = ("Spread", "Collect", "Bidi")  # messages to, from, and both ways
WITHIN_S = 120


class Server:
    """One server process; ``cpu_s`` is what it has used so far."""

    def __init__(self, name: str) -> None:
        argv = [sys.executable, "-m", "bench.load.grpc_servers", name]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def cpu_s(self) -> float:
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running() -> Iterator[dict[str, Server]]:
    servers = {name: Server(name) for name in SERVERS}
    try:
        yield servers
    finally:
        for server in servers.values():
            server.process.kill()
            server.process.wait()


def unary(server: Server, h2load: str, body: str) -> tuple[float, float]:
    """(CPU microseconds a call, calls a second) of h2load with 16 connections x 4 streams."""
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    url = f"http://127.0.0.1:{server.port}{SERVICE}Echo"
    before_s = server.cpu_s()
    argv = [h2load, "-n", str(CALLS), "-c", "16", "-m", "4", "-d", body, *headers, url]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=WITHIN_S).stdout
    if f"{CALLS} succeeded" not in told or f"status codes: {CALLS} 2xx" not in told:
        raise SystemExit(f"h2load did not get all its answers:\n{told}")
    rate = re.search(r"([\d.]+) req/s", told)
    assert rate is not None
    return (server.cpu_s() - before_s) / CALLS * 1e6, float(rate[1])


def stream(server: Server, name: str) -> float:
    """CPU microseconds a message of one long stream."""
    messages = (b"m" * 32 for _ in range(MESSAGES))
    before_s = server.cpu_s()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        if name == "Spread":
            answers = channel.unary_stream(SERVICE + name)(b"%d" % MESSAGES, timeout=WITHIN_S)
            count = sum(1 for _ in answers)
        elif name == "Collect":
            count = int(channel.stream_unary(SERVICE + name)(messages, timeout=WITHIN_S))
        else:
            answers = channel.stream_stream(SERVICE + name)(messages, timeout=WITHIN_S)
            count = sum(1 for _ in answers)
    if count != MESSAGES:
        raise SystemExit(f"{name}: {count} of {MESSAGES} messages")
    return (server.cpu_s() - before_s) / MESSAGES * 1e6


def main(rounds: int) -> None:
    h2load = shutil.which("h2load")
    if h2load is None:
        raise SystemExit("h2load is not installed; it is in Debian's package nghttp2-client")
    figures: dict[tuple[str, str], list[float]] = {}
    with running() as servers, tempfile.NamedTemporaryFile() as body:
        body.write(b"\0\0\0\0\x20" + b"m" * 32)
        body.flush()
        for _ in range(rounds):
            for name, server in servers.items():
                cpu_us, rate = unary(server, h2load, body.name)
                figures.setdefault(("unary", name), []).append(cpu_us)
                figures.setdefault(("calls/s", name), []).append(rate)
            for kind in STREAMS:
                for name in ("atoll", "grpcio"):
                    figures.setdefault((kind, name), []).append(stream(servers[name], kind))
    report(figures, rounds)


def report(figures: dict[tuple[str, str], list[float]], rounds: int) -> None:
    print(
        f"medians of {rounds} rounds; {CALLS} calls by h2load -c 16 -m 4, {MESSAGES} messages a stream, 32 bytes"
    )
    print(f"{'':28}{'atoll':>10}{'h2':>10}{'grpc.aio':>10}  {'h2/atoll':>9} {'aio/atoll':>9}")
    names = {"unary": "CPU us a unary call", "calls/s": "unary calls a second"}
    for row in ("unary", "calls/s", *STREAMS):
        values = [median(figures[row, name]) if (row, name) in figures else None for name in SERVERS]
        own = values[0] or 1.0
        cells = "".join(f"{value:10.1f}" if value is not None else f"{'-':>10}" for value in values)
        ratios = "".join(
            f"{value / own:10.2f}" if value is not None else f"{'-':>10}" for value in values[1:]
        )
        print(f"{names.get(row, f'CPU us a message, {row}'):28}{cells} {ratios}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
