"""Unary calls by nghttp2's h2load: the same prepared request, over and over, against whichever server.

Rule: h2load sees HTTP only, so whoever calls this checks by the store's revision that the calls did what they say.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass

from bench.load import framing

WARM_UP_S = 1


@dataclass(frozen=True)
class Shape:
    """How many calls are in flight: ``connections`` x ``streams``."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        return self.connections * self.streams


@dataclass(frozen=True)
class Load:
    """What h2load saw. Latency in seconds."""

    per_s: float
    requests: int
    mean_s: float


def run(port: int, path: str, message: bytes, shape: Shape, seconds: int) -> Load:
    """Load ``path`` on the loopback address for so long, after a warm-up of ``WARM_UP_S``."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(framing.message(message))
        body.flush()
        line = ["h2load", "-D", str(seconds), "--warm-up-time", str(WARM_UP_S), "-t", "1"]
        line += ["-c", str(shape.connections), "-m", str(shape.streams), "-d", body.name]
        line += [
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            f"http://127.0.0.1:{port}{path}",
        ]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60 + seconds)
    return read(done.stdout + done.stderr)


def read(output: str) -> Load:
    """Understand h2load's closing lines; anything but success is an error with the whole output."""
    speed = re.search(r"finished in [^,]+, ([0-9.]+) req/s", output)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([0-9.]+)(us|ms|s)", output)
    if not (speed and counts and mean) or any(int(counts[at]) for at in (2, 3, 4)) or not int(counts[1]):
        raise RuntimeError(f"h2load failed:\n{output}")
    unit_s = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[mean[2]]
    return Load(float(speed[1]), int(counts[1]), float(mean[1]) * unit_s)
