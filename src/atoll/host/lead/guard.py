"""The pair of processes that one candidacy of ``atoll lead`` has: a watchdog, and a launcher that will be the program.

Rule: a pair serves one campaign and is never used again; whatever state it was left in dies with it. The order of an
end is fixed: kill what is left of the program, kill the watchdog, reap the program. So the watchdog never outlives
the process group whose number it holds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from atoll.runtime import launcher, watchdog
from atoll.runtime.children import Child

MARK_VARIABLE = "ATOLL_LEAD_MARK"


class Ears(NamedTuple):
    """Who hears of the pair, on the event loop."""

    confirmed: Callable[[float], None]  # the watchdog has taken in this deadline (boot-time clock, seconds)
    watchdog_ended: Callable[[], None]
    program_ended: Callable[[int], None]


class Guard:
    """Starts the pair. ``mark`` is unique to it and is in the environment of everything the program starts."""

    def __init__(self, mark: str, ears: Ears) -> None:
        self._ears = ears
        self._mark = f"{MARK_VARIABLE}={mark}".encode()
        self._marked = {MARK_VARIABLE: mark}
        self._gate: int | None = None
        self._asked: dict[int, float] = {}
        environment = {**os.environ, **self._marked}
        reader, self._gate = os.pipe()
        try:
            self._watchdog = Child(
                _interpreter(watchdog.__file__), _bare(), lambda _: ears.watchdog_ended(), self._heard
            )
            parent = str(os.getpid())
            self.program = Child(
                [*_interpreter(launcher.__file__), str(reader), parent],
                environment,
                ears.program_ended,
                inherited=[reader],
            )
        finally:
            os.close(reader)
        self._watchdog.send(b"guard %d %s" % (self.program.pid, self._mark))

    @property
    def watchdog_pid(self) -> int:
        return self._watchdog.pid

    def arm(self, deadline_s: float) -> None:
        """Tell the watchdog a deadline; ``ears.confirmed`` follows if it is alive and runs."""
        deadline_ns = int(deadline_s * 1e9)
        self._asked[deadline_ns] = deadline_s
        self._watchdog.send(b"until %d" % deadline_ns)

    def release(self, program: Sequence[str], environment: Mapping[str, str]) -> None:
        """Let the launcher become ``program``."""
        if self._gate is None:
            return
        order = json.dumps(
            {"program": list(program), "environment": {**environment, **self._marked}}
        ).encode()
        with os.fdopen(self._gate, "wb") as gate:
            self._gate = None
            try:
                gate.write(order)
            except BrokenPipeError:  # the launcher was killed: its end is reported by its own way
                return

    def signal(self, number: int) -> None:
        self.program.kill_group(number)

    def kill(self) -> None:
        """Kill what is left, and the watchdog. Reaps the program if its end has been reported, else later does."""
        watchdog.kill_program(self.program.pid, self._mark)
        self._watchdog.kill(signal.SIGKILL)
        self._watchdog.reap()
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None
        if self.program.status is not None:
            self.program.reap()

    def _heard(self, line: bytes) -> None:
        words = line.split()
        if len(words) == 2 and words[0] == b"ok" and int(words[1]) in self._asked:
            self._ears.confirmed(self._asked.pop(int(words[1])))


def _interpreter(script: str | None) -> list[str]:
    """Isolated from the user's environment, without site: small, and quick to start."""
    return [sys.executable, "-I", "-S", str(Path(str(script)).resolve())]


def _bare() -> dict[str, str]:
    """For a watchdog: where ``atoll lead`` runs below another one, the mark of that other must not be in it, or both
    would be killed together, and the program of the inner one would be left.
    """
    return {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
