"""Child processes: started in a session of their own, heard line by line, and reaped only when told to.

Rule: the end of a child is noticed without reaping it (``waitid`` with WNOWAIT on a pidfd, waitid(2),
pidfd_open(2)). Until ``reap`` its process number, and that of its group, cannot be given to another process, so that
a signal sent meanwhile cannot hit a stranger. Linux only.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from atoll.errors import AtollError, Code

LINE_BYTES_MAX = 65_536
READ_BYTES = 65_536


def interpreted(script: str | None) -> list[str]:
    """The command that runs one of Atoll's own single-file programs: isolated from the user's environment, without site,
    small, and quick to start.
    """
    return [sys.executable, "-I", "-S", str(Path(str(script)).resolve())]


def require_linux(what: str) -> None:
    """Raises INVALID where the system has no pidfd and no boot-time clock."""
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        raise AtollError(
            Code.INVALID, f"{what} needs Linux (pidfd_open, CLOCK_BOOTTIME); this is {sys.platform}"
        )


class Child:
    """One child. ``on_end(status)`` is called once on the loop: the exit code, or minus the killing signal."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_end: Callable[[int], None],
        on_line: Callable[[bytes], None] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        """With ``on_line`` the child's standard input and output are pipes, and ``send`` writes lines to it;
        without, it has this process's own.
        """
        pipe = subprocess.PIPE if on_line else None
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,
            pass_fds=inherited,
            bufsize=0,
        )
        self.pid = self._process.pid
        self.status: int | None = None
        self._on_end = on_end
        self._on_line = on_line
        self._buffer = b""
        self._pidfd = os.pidfd_open(self.pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._ended)
        if on_line is not None:
            os.set_blocking(self._stdin.fileno(), False)
            os.set_blocking(self._stdout.fileno(), False)
            self._loop.add_reader(self._stdout.fileno(), self._read)

    @property
    def _stdin(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdin)

    @property
    def _stdout(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdout)

    def send(self, line: bytes) -> bool:
        """Write one line without waiting. False: not taken (its pipe is full, or it is gone)."""
        try:
            return os.write(self._stdin.fileno(), line + b"\n") == len(line) + 1
        except (BlockingIOError, BrokenPipeError):
            return False

    def kill(self, number: int) -> None:
        """Send a signal to this process; nothing happens when it has ended."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def kill_group(self, number: int) -> None:
        """Send a signal to every process of the group that this child leads."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def reap(self) -> None:
        """Wait for its end and let its number go. Afterwards nothing is called any more. Idempotent."""
        if self._process.returncode is not None:
            return
        self._forget_end()
        self._process.wait()
        if self._on_line is not None:
            self._loop.remove_reader(self._stdout.fileno())
            self._stdin.close()
            self._stdout.close()

    def _ended(self) -> None:
        result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if result is None:
            return
        self._forget_end()
        exited = result.si_code == os.CLD_EXITED
        self.status = result.si_status if exited else -result.si_status
        self._on_end(self.status)

    def _forget_end(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._stdout.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._stdout.fileno())
            return
        *lines, self._buffer = (self._buffer + data)[-LINE_BYTES_MAX:].split(b"\n")
        if self._on_line is not None:
            for line in lines:
                self._on_line(line)
