"""The processes of one sidecar: Envoys and the application, none of which outlives it.

Rule: each is started by the launcher, so that the kernel kills it when the sidecar dies, by kill -9 as well. The application
may start processes of its own; a watchdog kills those, found by their group, their session and a mark in their environment,
when the sidecar is gone; when the application ends while the sidecar lives, the sidecar does the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping

import msgspec

from atoll.runtime import launcher, watchdog
from atoll.runtime.children import Child, interpreted

MARK_VARIABLE = "ATOLL_SIDECAR_MARK"
COMMAND = "sidecar"  # in the texts of errors


class Program(msgspec.Struct, frozen=True):
    """``user``: uid and gid under which it runs, None for the sidecar's own."""

    line: tuple[str, ...]
    environment: Mapping[str, str]
    user: tuple[int, int] | None = None


def launch(program: Program, on_end: Callable[[int], None]) -> Child:
    """Start ``program``; ``on_end(status)`` is called once. 126 and 127 as in a shell where it cannot be run."""
    child, gate = _held(dict(program.environment), on_end)
    _release(gate, program, {})
    return child


class App:
    """The application, and all that it starts."""

    def __init__(self, program: Program, mark: str, on_end: Callable[[int], None]) -> None:
        self._mark = f"{MARK_VARIABLE}={mark}".encode()
        marked = {MARK_VARIABLE: mark}
        self._on_end = on_end
        self._ended = False
        self.child, gate = _held({**os.environ, **marked}, self._when_ended)
        self._watch()
        _release(gate, program, marked)

    def signal(self, number: int) -> None:
        self.child.kill_group(number)

    def kill(self) -> None:
        """Whatever is left of it. Its end is told as any other."""
        watchdog.kill_program(self.child.pid, self._mark)

    def _when_ended(self, status: int) -> None:
        self._ended = True
        self.kill()
        self._watchdog.kill(signal.SIGKILL)
        self._watchdog.reap()
        self.child.reap()
        self._on_end(status)

    def _watch(self) -> None:
        """A watchdog that was killed is replaced, for as long as there is something to watch."""
        bare = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
        self._watchdog = Child(interpreted(watchdog.__file__), bare, self._watchdog_ended, lambda line: None)
        self._watchdog.send(b"guard %d %s" % (self.child.pid, self._mark))

    def _watchdog_ended(self, status: int) -> None:
        self._watchdog.reap()
        if not self._ended:
            self._watch()


def _held(environment: Mapping[str, str], on_end: Callable[[int], None]) -> tuple[Child, int]:
    """A launcher that waits, and the pipe on which it waits."""
    reader, gate = os.pipe()
    try:
        line = [*interpreted(launcher.__file__), str(reader), str(os.getpid()), COMMAND]
        return Child(line, environment, on_end, inherited=[reader]), gate
    finally:
        os.close(reader)


def _release(gate: int, program: Program, marked: Mapping[str, str]) -> None:
    """Let the launcher become ``program``. One that was killed meanwhile tells its end by its own way."""
    order = {
        "program": list(program.line),
        "environment": {**program.environment, **marked},
        "user": program.user,
    }
    with contextlib.suppress(BrokenPipeError), os.fdopen(gate, "wb") as pipe:
        pipe.write(json.dumps(order).encode())
