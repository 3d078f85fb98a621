"""A child process that a test may pause, kill and start again, and that never outlives the test run.

``setpriv --pdeathsig`` makes the kernel kill the child when the thread that started it ends, so that even a
killed pytest leaves nothing behind. The rule that follows: start processes from the main thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_WITHIN_S = 20.0


class Process:
    """One program with its log. ``namespace``: the network namespace it runs in, or None for the test's own."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        namespace: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self.argv = [*inside, "setpriv", "--pdeathsig", "KILL", *argv]
        self.log = log
        self.env = dict(env or {})
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again after it ended."""
        if self.running:
            raise AssertionError(f"{self.argv} is running already")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env}
            )

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The program's own: ``ip netns exec`` and ``setpriv`` replace themselves by it."""
        if self._child is None:
            raise AssertionError(f"{self.argv} was not started")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.poll() if self._child is not None else None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, and wait until it is gone. Nothing happens to one that has ended."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(STOP_WITHIN_S)

    def wait(self, within_s: float = STOP_WITHIN_S) -> int:
        """Its exit code."""
        if self._child is None:
            raise AssertionError(f"{self.argv} was not started")
        return self._child.wait(within_s)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(number)

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
