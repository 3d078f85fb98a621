"""One Envoy process of a sidecar: its command line, how it becomes ready, how it ends.

Rule: the processes that take over from one another, epoch by epoch, share a base id and the sockets under one path of the
runtime folder; what begins anew (epoch 0) gets others, so that a crashed one's leavings are in nobody's way. By those
sockets a process is given listening sockets, so they are 0600 in a 0700 folder, not in the abstract name space.

Source: Envoy's "Hot restart" and "Command line options".
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code
from atoll.host.sidecar.admin import Admin
from atoll.host.sidecar.folder import Folder
from atoll.host.sidecar.processes import Program, launch
from atoll.runtime import loop

READY_POLL_S = 0.02
WAITING_TOLD_EVERY_S = 10.0
VALIDATE_WITHIN_S = 30.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``drain_s``: how long clients are asked to go elsewhere. ``parent_s``: when the epoch before is ended, with what is
    then still under way. ``threads``: workers.
    """

    drain_s: int = 10
    parent_s: int = 20
    threads: int = 2
    log_level: str = "warning"


class Generation(msgspec.Struct, frozen=True):
    """Processes that take over from one another. ``run``: the first one's. ``base_id`` None: it chooses."""

    run: int
    base_id: int | None = None


def find(given: str) -> str:
    """The Envoy to run: ``given``, or the one of this environment, or of PATH. Looked up at every start, so that an
    upgraded package is what the next start runs. Raises INVALID.
    """
    if given:
        found = shutil.which(given)
    else:
        beside = sorted(Path(sys.prefix).glob("lib/python*/site-packages/envoy/_bin/envoy"))
        found = str(beside[0]) if beside else shutil.which("envoy")
    if found is None:
        text = (
            f"no Envoy at {given!r}"
            if given
            else "no Envoy: install atoll[mesh], or name one with --envoy FILE"
        )
        raise AtollError(Code.INVALID, text)
    return found


async def check_takeover(running: str, fresh: str, bootstrap: Path) -> None:
    """Raises INVALID where ``fresh`` cannot take over from ``running``, or does not take its bootstrap: better known before
    the old one has given its admin interface up.
    """
    versions = [await _output([each, "--hot-restart-version"]) for each in (running, fresh)]
    if versions[0] != versions[1]:
        text = f"{fresh} cannot take over from {running}: hot restart {versions[1]} against {versions[0]}"
        raise AtollError(Code.INVALID, f"{text}; stop and start the sidecar instead")
    await _output([fresh, "--mode", "validate", "-c", str(bootstrap), "-l", "error"])


class Proxy:
    """Process ``run``, started at once. ``on_end(status)`` is called once."""

    def __init__(
        self, binary: str, epoch: int, generation: Generation, line: list[str], on_end: Callable[[int], None]
    ) -> None:
        self.binary = binary
        self.epoch = epoch
        self.generation = generation
        program = Program((binary, *line), dict(os.environ))
        self._child = launch(program, on_end)

    @property
    def pid(self) -> int:
        return self._child.pid

    def end(self) -> None:
        self._child.kill(signal.SIGTERM)

    def kill(self) -> None:
        self._child.kill(signal.SIGKILL)

    def reap(self) -> None:
        self._child.reap()

    async def wait_ready(self, admin: Admin, told: Callable[[str], None]) -> None:
        """Returns when it is ready; ``told`` hears from time to time what is still waited for."""
        polls = 0
        while not (waiting := await admin.readiness(self.epoch)).is_ready:
            polls += 1
            if polls % int(WAITING_TOLD_EVERY_S / READY_POLL_S) == 0:
                told(waiting.reason)
            await loop.sleep(READY_POLL_S)


def arguments(folder: Folder, limits: Limits, epoch: int, generation: Generation) -> list[str]:
    """The command line after the program."""
    line = ["-c", str(folder.bootstrap), "--restart-epoch", str(epoch)]
    if generation.base_id is None:
        line += ["--use-dynamic-base-id", "--base-id-path", str(folder.base_id_file)]
    else:
        line += ["--base-id", str(generation.base_id)]
    line += ["--socket-path", str(folder.hot_restart(generation.run)), "--socket-mode", "0600"]
    line += ["--drain-time-s", str(limits.drain_s), "--parent-shutdown-time-s", str(limits.parent_s)]
    return [*line, "--concurrency", str(limits.threads), "-l", limits.log_level]


async def _output(line: list[str]) -> str:
    """What a command of Envoy prints. Raises INVALID with its complaint."""
    try:
        done = await loop.in_thread(_run, line)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AtollError(Code.INVALID, f"{line[0]} cannot be run: {error}") from error
    if done.returncode:
        complaint = re.sub(r"^\[.*?\]\[.*?\] ?(\[.*?\] )?", "", done.stderr.strip().rpartition("\n")[2])
        raise AtollError(Code.INVALID, f"{line[0]} does not take its bootstrap: {complaint}")
    return done.stdout.strip()


def _run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, timeout=VALIDATE_WITHIN_S)
