"""Candidates of ``atoll lead`` in processes of their own, and a witness of which of their programs served when.

The program under them stamps a file with the boot-time clock, every millisecond, for as long as it runs. Two
programs served at once exactly if their spans of stamps overlap; a file's content survives the kill of its writer.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from atoll.runtime.clock import BootClock
from tests.peers.processes import Process

CLOCK = BootClock()
PROGRAM = """
import os, struct, sys, time
now = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
name = "-".join([os.environ["ATOLL_TOKEN"], os.environ["ATOLL_LEAD_ID"], str(os.getpid())])
file = os.open(os.path.join(sys.argv[1], name), os.O_RDWR | os.O_CREAT)
first = now()
while True:
    os.pwrite(file, struct.pack("<qq", first, now()), 0)
    time.sleep(0.001)
"""


@dataclass(frozen=True)
class Span:
    """When one program served: its first and last stamp, boot-time seconds."""

    token: tuple[int, int]
    candidate: str
    pid: int
    first_s: float
    last_s: float


class Witness:
    """Reads the stamps of all programs of one election."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def spans(self) -> list[Span]:
        """In the order in which they began."""
        found = []
        for path in self.folder.iterdir():
            content = path.read_bytes()
            if len(content) == 16:
                token, candidate, pid = path.name.rsplit("-", 2)
                generation, revision = (int(part) for part in token.split("."))
                first_ns, last_ns = struct.unpack("<qq", content)
                found.append(Span((generation, revision), candidate, int(pid), first_ns / 1e9, last_ns / 1e9))
        return sorted(found, key=lambda span: span.first_s)

    def serving(self, candidate: str, after_s: float = 0.0) -> bool:
        """Whether a program of ``candidate`` began to serve after ``after_s``."""
        return any(span.candidate == candidate and span.first_s > after_s for span in self.spans())

    def goes_on(self, span: Span) -> bool:
        """Whether the program of ``span`` has stamped since."""
        return any(each.pid == span.pid and each.last_s > span.last_s for each in self.spans())

    def violations(self) -> list[tuple[Span, Span]]:
        """Neighbours in time that overlap, or whose tokens do not ascend. Must be empty."""
        spans = self.spans()
        pairs = list(zip(spans, spans[1:], strict=False))
        return [(a, b) for a, b in pairs if b.first_s <= a.last_s or b.token <= a.token]


class Candidate:
    """``atoll lead ELECTION`` as ``name``; ``options`` go before ``--``. Its pids are read from its log."""

    def __init__(self, name: str, election: str, store: str, witness: Witness, *options: str) -> None:
        self.name = name
        line = [sys.executable, "-m", "atoll", "lead", election, "--id", name, "--store", store, *options]
        line += ["--", sys.executable, "-c", PROGRAM, str(witness.folder)]
        self.supervisor = Process(line, witness.folder.with_name(f"{name}.log"))
        self._witness = witness

    def log(self) -> str:
        return self.supervisor.log.read_text() if self.supervisor.log.exists() else ""

    def start(self) -> None:
        self.supervisor.start()

    @property
    def watchdogs(self) -> list[int]:
        """Those of its newest campaign."""
        return [int(pid) for pid in re.findall(r'campaigning .*watchdogs="([\d ]+)"', self.log())[-1].split()]

    @property
    def program(self) -> int:
        return int(re.findall(r"campaigning .*launcher=(\d+)", self.log())[-1])

    def campaigns(self) -> int:
        return len(re.findall(r"  campaigning ", self.log()))

    def stands(self, campaigns: int = 0) -> bool:
        """Whether it stands behind another, in a campaign after the first ``campaigns``."""
        last = self.log().rpartition("  campaigning ")[2]
        return self.campaigns() > campaigns and "behind another candidate" in last

    def end(self) -> None:
        """Kill it and whatever it left, so that a failed test leaves no process."""
        pids = [
            int(pid)
            for line in re.findall(r"watchdogs=\"([\d ]+)\" launcher=\d+", self.log())
            for pid in line.split()
        ]
        self.supervisor.kill()
        for pid in pids:
            if is_alive(pid) and b"watchdog.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, 9)
        for span in self._witness.spans():
            if is_alive(span.pid) and b"pwrite" in Path(f"/proc/{span.pid}/cmdline").read_bytes():
                os.kill(span.pid, 9)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] not in (b"Z", b"X")
