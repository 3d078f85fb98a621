"""A real node for end-to-end tests: ``python -m atoll up`` in a process of its own, on free ports.

Rule: the ports are chosen by the system and read from the start-up text, so that no test loses a race for one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import atoll
from atoll.host.settings import DECLARED, LISTENS
from tests.peers.processes import Process
from tests.waiting import wait_until

READY_WITHIN_S = 60.0
RUN_WITHIN_S = 60.0
ANY_PORT = "127.0.0.1:0"


def any_ports(*given: str) -> list[str]:
    """``given`` arguments, and for each address that they do not set one whose port the system chooses."""
    flags = [DECLARED[field].flag for field in LISTENS]
    return [*given, *(word for flag in flags if flag not in given for word in (flag, ANY_PORT))]


def clean_environment() -> dict[str, str]:
    """This process's environment without Atoll's variables, and with the code that it runs, wherever it is run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")}
    return {**kept, "PYTHONPATH": str(Path(atoll.__file__).parents[1])}


def run(
    *arguments: str, environment: Mapping[str, str] | None = None, within_s: float = RUN_WITHIN_S
) -> subprocess.CompletedProcess[str]:
    """One ``atoll`` command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "atoll", *arguments],
        capture_output=True,
        text=True,
        timeout=within_s,
        env={**clean_environment(), **(environment or {})},
    )


class Node:
    """A node in ``folder`` (data and log). ``arguments`` go to ``atoll up``; ``namespace`` is of the network."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> None:
        self.data = folder / "data"
        self.log = folder / "node.log"
        line = [sys.executable, "-m", "atoll", "up", "--data", str(self.data)]
        self.process = Process(
            [*line, *any_ports(*arguments)], self.log, env=environment or {}, namespace=namespace
        )
        self._read_from = 0

    def start(self) -> Node:
        return self.begin().wait_ready()

    def begin(self) -> Node:
        """Start it without waiting for it."""
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        self.process.start()
        return self

    def wait_ready(self) -> Node:
        wait_until(self._is_ready_or_gone, READY_WITHIN_S, "the node's start-up text")
        if not self.process.running:
            raise AssertionError(f"the node ended with {self.process.returncode}: {self.text()}")
        return self

    def text(self) -> str:
        """What the node printed since its last start."""
        return self.log.read_bytes()[self._read_from :].decode() if self.log.exists() else ""

    @property
    def api(self) -> str:
        return self._found(r"console, API\s+(\S+)/")

    @property
    def etcd(self) -> str:
        """``host:port`` of its etcd API."""
        return self._found(r"etcd v3 API\s+(\S+)")

    @property
    def nacos(self) -> str:
        """``host:port`` of its Nacos API: HTTP, and gRPC as well."""
        return self._found(r"Nacos API\s+([^,\s]+)")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self.api + path, headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """An ``atoll`` command that asks this node."""
        return run(*arguments, "--url", self.api, "--data", str(self.data))

    def _found(self, pattern: str) -> str:
        found = re.search(pattern, self.text())
        if found is None:
            raise AssertionError(f"{pattern!r} is not in what the node printed: {self.text()}")
        return found[1]

    def _is_ready_or_gone(self) -> bool:
        return "\n  access  " in self.text() or not self.process.running
