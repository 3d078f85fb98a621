"""The processes that one campaign of ``atoll lead`` has: its watchdogs, and a launcher that will be the program.

Rule: they serve one campaign and are never used again; whatever state they were left in dies with them. The order of
an end is fixed: kill what is left of the program, kill the watchdogs, reap the program. So no watchdog outlives the
process group whose number it holds.

There are two watchdogs, and a deadline counts when both have confirmed it. With one, a supervisor that is stopped
and a watchdog that is killed would leave the program serving; with two, any two of the three may fail, in any way.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from atoll.runtime import launcher, watchdog
from atoll.runtime.children import Child, interpreted

MARK_VARIABLE = "ATOLL_LEAD_MARK"
WATCHDOGS = 2


class Ears(NamedTuple):
    """Who hears of the pair, on the event loop."""

    confirmed: Callable[[float], None]  # every watchdog has taken in this deadline (boot-time clock, seconds)
    watchdog_ended: Callable[[], None]
    program_ended: Callable[[int], None]


class Guard:
    """Starts them. ``mark`` is unique and is in the environment of everything the program starts."""

    def __init__(self, mark: str, ears: Ears) -> None:
        self._ears = ears
        self._mark = f"{MARK_VARIABLE}={mark}".encode()
        self._marked = {MARK_VARIABLE: mark}
        self._gate: int | None = None
        self._missing: dict[
            int, set[int]
        ] = {}  # a deadline in nanoseconds: the watchdogs that did not confirm it
        environment = {**os.environ, **self._marked}
        reader, self._gate = os.pipe()
        try:
            script = interpreted(watchdog.__file__)
            self._watchdogs = [
                Child(
                    script, _bare(), lambda _: ears.watchdog_ended(), functools.partial(self._heard, number)
                )
                for number in range(WATCHDOGS)
            ]
            parent = str(os.getpid())
            self.program = Child(
                [*interpreted(launcher.__file__), str(reader), parent, "lead"],
                environment,
                ears.program_ended,
                inherited=[reader],
            )
        finally:
            os.close(reader)
        self._tell(b"guard %d %s" % (self.program.pid, self._mark))

    @property
    def watchdog_pids(self) -> list[int]:
        return [each.pid for each in self._watchdogs]

    def arm(self, deadline_s: float) -> None:
        """Tell the watchdogs a deadline; ``ears.confirmed`` follows if all are alive and run."""
        deadline_ns = int(deadline_s * 1e9)
        self._missing[deadline_ns] = set(range(WATCHDOGS))
        self._tell(b"until %d" % deadline_ns)

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
        """Kill what is left, and the watchdogs. Reaps the program if its end has been reported, else later does."""
        watchdog.kill_program(self.program.pid, self._mark)
        for each in self._watchdogs:
            each.kill(signal.SIGKILL)
            each.reap()
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None
        if self.program.status is not None:
            self.program.reap()

    def _tell(self, line: bytes) -> None:
        for each in self._watchdogs:
            each.send(line)

    def _heard(self, number: int, line: bytes) -> None:
        """Watchdog ``number`` has taken in a deadline: ``ok NANOSECONDS``."""
        deadline_ns = int(line.split()[1])
        missing = self._missing.get(deadline_ns, set())
        missing.discard(number)
        if not missing and self._missing.pop(deadline_ns, None) is not None:
            self._ears.confirmed(deadline_ns / 1e9)


def _bare() -> dict[str, str]:
    """For a watchdog: where ``atoll lead`` runs below another one, the mark of that other must not be in it, or both
    would be killed together, and the program of the inner one would be left.
    """
    return {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
