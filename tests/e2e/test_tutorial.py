"""The tutorials and how-to guides, carried out: every ``$`` line of their console blocks, in one shell, as a reader would.

Rule: what a tutorial shows below a command must be printed by it, in that order; ``…`` stands for anything, and a
line that is ``…`` alone for any lines. A block of Python or YAML whose first line is ``# NAME`` is a file that is there.
Only the ports differ: free ones instead of the defaults.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from atoll.host.settings import DECLARED, LISTENS
from tests.e2e.atoll import clean_environment
from tests.peers.mariadb import mariadb
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (
    "tutorials/first-node.md",
    "tutorials/lead-demo.md",
    "tutorials/registry.md",
    "tutorials/migrate-from-nacos.md",
    "tutorials/mesh.md",
    "how-to/elect-from-python.md",
    "how-to/back-up-a-store.md",
    "how-to/observe-a-node.md",
    "how-to/use-the-registry-from-python.md",
    "how-to/let-users-in.md",
    "how-to/run-a-sidecar.md",
    "how-to/find-out-why-a-request-failed.md",
    "how-to/apply-policy.md",
    "how-to/mesh-identities.md",
)
CLIENTS = {"old": "nacos-sdk-python-0.1.14", "new": "nacos-sdk-python-3.2.0"}
OTHER_PORTS = ("8000", "9080", "9081", "9082", "15001")  # of programs that pages start
COMMAND_WITHIN_S = 30.0
MARK = "--end-of-command--"


def steps(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command with the lines shown below it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        command, shown = "", list[str]()
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line[2:], []
            else:
                shown.append(line)
        yield command, shown


def missing(shown: list[str], printed: list[str]) -> str | None:
    """The first shown line that was not printed after the ones before it."""
    rest = iter(printed)
    for line in shown:
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in line.split("…")).strip())
        if line.strip() != "…" and not any(pattern.match(each.strip()) for each in rest):
            return line
    return None


class Shell:
    """One bash in its own session; ``run`` gives a command's output."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self._lines.put(line.rstrip("\n"))

    def run(self, command: str) -> list[str]:
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{command}\necho; echo {MARK}\n")
        self._bash.stdin.flush()
        printed: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=COMMAND_WITHIN_S)
            except Empty:
                raise AssertionError(f"{command!r} did not end; it printed {printed}") from None
            if line == MARK:
                return printed
            printed.append(line)

    def close(self) -> None:
        """End the shell and everything it left: supervisors take their programs with them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        self._reader.join(COMMAND_WITHIN_S)
        for stream in (self._bash.stdin, self._bash.stdout):
            if stream is not None:
                stream.close()


def free_offset() -> int:
    """A port offset at which all default ports are free."""
    defaults: list[int] = [DECLARED[field].default.port for field in LISTENS]
    for port in free_ports(20):
        offset = port - min(defaults)
        if offset > 0 and all(each + offset < 65_536 and is_free(each + offset) for each in defaults):
            return offset
    raise AssertionError("no offset at which all ports are free")


def is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_as_written(name: str, tmp_path: Path, foreign_python: Callable[[str], Path]) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program, arguments in (("atoll", "-m atoll"), ("python", "")):
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / program).chmod(0o755)
    offset = free_offset()
    ports = {port: str(int(port) + offset) for port in ("2379", "7070", "8848")}
    ports |= dict(zip(OTHER_PORTS, map(str, free_ports(len(OTHER_PORTS))), strict=True))
    environment = clean_environment() | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ATOLL_DATA": str(tmp_path / "data"),
        "ATOLL_PORT_OFFSET": str(offset),
        "ATOLL_LEAD_STORE": f"etcd://127.0.0.1:{2379 + offset}",
        "ETCDCTL_ENDPOINTS": f"127.0.0.1:{2379 + offset}",
        "ETCDCTL_API": "3",
    }
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "examples").symlink_to(DOCS.parent / "examples")
    for link, client in CLIENTS.items():
        (folder / link).symlink_to(foreign_python(client).parents[1])
    with contextlib.ExitStack() as stack:
        if "3306" in (text := (DOCS / name).read_text()):
            ports["3306"] = str(_database(stack, tmp_path))
        text = re.sub(rf"\b({'|'.join(ports)})\b", lambda found: ports[found[1]], text)
        carry_out(text, folder, environment)


def _database(stack: contextlib.ExitStack, folder: Path) -> int:
    """The port of a server for which user ``admin`` of this machine needs no password."""
    database = stack.enter_context(mariadb(folder))
    database.run("CREATE USER admin@'127.0.0.1'; GRANT ALL ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION")
    return database.port


def carry_out(text: str, folder: Path, environment: dict[str, str]) -> None:
    """Every command of a page, with the page's programs in ``folder``."""
    named = r"^```(?:python|yaml)\n# (\w+\.(?:py|yaml))\n(.*?)^```"
    for file, content in re.findall(named, text, re.DOTALL | re.MULTILINE):
        (folder / file).write_text(content)
    shell = Shell(folder, environment)
    try:
        for command, shown in steps(text):
            printed = shell.run(command)
            absent = missing(shown, printed)
            logs = {path.name: path.read_text()[-3000:] for path in folder.glob("*.log")}
            assert absent is None, f"{command!r} did not print {absent!r} but {printed}; {logs}"
    finally:
        shell.close()


def test_what_is_shown_must_be_printed_in_order() -> None:
    assert missing(["a", "…", "c …"], ["a", "b", "c 1"]) is None
    assert missing(["c", "a"], ["a", "c"]) == "a"
    assert missing(["a b"], ["a"]) == "a b"


def test_steps_are_commands_with_what_is_below_them() -> None:
    text = "x\n```console\n$ one\nout\n$ two\n```\n```sh\n$ not\n```\n"
    assert list(steps(text)) == [("one", ["out"]), ("two", [])]
