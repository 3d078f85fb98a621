"""Foreign clients on both servers: etcdctl 3.4 command by command, and two Python clients by whole sessions.

Rule: what a client prints is compared after replacing what two servers cannot share (see ``side``), nothing else.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.etcd.pair import Pair
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

HERE = Path(__file__).parent
TIMEOUT_S = 60.0

_SHARED: Sequence[tuple[str, str]] = (
    (r'"(cluster_id|member_id|raft_term|raftTerm|raftIndex|raftAppliedIndex|leader|hash)":\d+', r'"\1":0'),
    (r'"(dbSize|dbSizeInUse)":\d+', r'"\1":0'),
    (r'"ttl":\d+', '"ttl":0'),
    (r"remaining\(\d+s\)", "remaining(s)"),
    (r"127\.0\.0\.1:\d+", "ENDPOINT"),
    (r"took = \d[^ ,\n]*s\b|in \d[^ ,\n]*s\b", "took"),
)
_CHOSEN_LEASE = re.compile(r"\b[0-9a-f]{13,16}\b")


class Etcdctl:
    """etcdctl against one server; ``transcript`` has every command with its exit code and comparable output."""

    def __init__(self, program: str, address: str) -> None:
        self._line = [program, "--endpoints", address]
        self._address = address
        self._chosen: dict[str, str] = {}
        self.user = ""
        self.transcript: list[tuple[str, int, str, str]] = []

    def run(self, *arguments: str, stdin: str = "", noted: bool = True) -> str:
        """Run to the end, note it, and return what it printed."""
        line = [*self._line, *self._access(), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, input=stdin, timeout=TIMEOUT_S)
        if noted:
            self.note(" ".join(arguments), done.returncode, done.stdout, done.stderr)
        return done.stdout

    @contextmanager
    def background(self, *arguments: str) -> Iterator[Callable[[int], None]]:
        """A command that goes on; the block gets ``wait(lines)``, which waits for so many lines of output."""
        line = [*self._line, *self._access(), *arguments]
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        stdout = process.stdout
        assert stdout is not None
        read: list[bytes] = []

        def wait(lines: int) -> None:
            while len(read) < lines:
                read.append(stdout.readline())

        try:
            yield wait
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
            stdout.close()
        self.note(" ".join(arguments), 0, b"".join(read).decode(), "")

    def wait_for_keys(self, prefix: str, count: int) -> None:
        def found() -> bool:
            line = [*self._line, *self._access(), "get", "--prefix", prefix, "-w", "json"]
            done = subprocess.run(line, capture_output=True, check=True, timeout=TIMEOUT_S)
            return bool(json.loads(done.stdout).get("count", 0) == count)

        wait_until(found, TIMEOUT_S, f"{count} keys below {prefix!r}")

    def note(self, command: str, code: int, stdout: str, stderr: str) -> None:
        command = self._comparable(command)
        self.transcript.append((command, code, self._comparable(stdout), self._comparable(stderr)))

    def _access(self) -> list[str]:
        return ["--user", self.user] if self.user else []

    def _comparable(self, text: str) -> str:
        for pattern, replacement in _SHARED:
            text = re.sub(pattern, replacement, text)
        text = re.sub(
            r'"(ID|id|lease)":(\d{10,})', lambda found: f'"{found[1]}":{self._name(found[2])}', text
        )
        text = _CHOSEN_LEASE.sub(lambda found: self._name(str(int(found[0], 16))), text)
        return re.sub(r'^\{"level":"warn".*\n', "", text, flags=re.MULTILINE)  # etcdctl's own log, with times

    def _name(self, lease: str) -> str:
        return self._chosen.setdefault(lease, f"chosen{len(self._chosen) + 1}")


def on_both(pair: Pair, program: str, script: Callable[[Etcdctl], None]) -> None:
    transcripts = {}
    for name, address in pair.addresses.items():
        etcdctl = Etcdctl(program, address)
        script(etcdctl)
        transcripts[name] = etcdctl.transcript
    assert transcripts["atoll"] == transcripts["etcd"]
    assert any(code == 0 and stdout for _, code, stdout, _ in transcripts["atoll"])


def keys(etcdctl: Etcdctl) -> None:
    run = etcdctl.run
    run("put", "a", "1")
    run("put", "a", "2", "--prev-kv")
    run("put", "a", "--ignore-value", "-w", "json")
    run("put", "none", "--ignore-value")
    run("put", "", "1")
    for key, value in (("b", "5"), ("b/1", "4"), ("b/2", "3"), ("c", "9")):
        run("put", key, value, "-w", "json")
    run("get", "a")
    run("get", "none")
    run("get", "")
    run("get", "a", "c")
    run("get", "b", "--prefix", "--order", "DESCEND", "--sort-by", "VALUE")
    run("get", "b", "--prefix", "--limit", "1", "-w", "json")
    run("get", "b", "--from-key", "--keys-only")
    run("get", "", "--prefix", "--count-only", "-w", "fields")
    run("get", "a", "--rev", "2", "--print-value-only")
    run("get", "a", "--rev", "99999")
    run("get", "a", "-w", "json", "--consistency", "s")
    run("del", "b", "--prefix", "--prev-kv")
    run("del", "none")
    run("del", "c", "--from-key", "-w", "json")
    run("get", "", "--from-key", "-w", "json")


def transactions(etcdctl: Etcdctl) -> None:
    run = etcdctl.run
    run("put", "t", "1")
    run("txn", stdin='value("t") = "1"\n\nput t 2\nget t\n\nget t\ndel t\n\n')
    run("txn", "-w", "json", stdin='mod("t") > "100"\nversion("t") = "2"\n\nput t 3\n\nget t\ndel t\n\n')
    run("txn", stdin="\nput t 1\nput t 2\n\n\n")
    run("txn", stdin='create("none") = "0"\n\nput u 1\n\n\n')


def watches(etcdctl: Etcdctl) -> None:
    with etcdctl.background("watch", "w", "--prefix", "--prev-kv") as wait:
        # what a watch that has begun prints is only its events, so write until the first one shows
        etcdctl.run("put", "w1", "1")
        etcdctl.run("put", "w1", "2")
    with etcdctl.background("watch", "w", "--prefix", "--prev-kv", "--rev", "2") as wait:
        wait(8)
        etcdctl.run("del", "w1")
        wait(13)
    with etcdctl.background("watch", "w1", "--rev", "2", "-w", "json") as wait:
        wait(1)


def leases(etcdctl: Etcdctl) -> None:
    run = etcdctl.run
    lease = run("lease", "grant", "100").split()[1]
    run("put", "leased", "1", "--lease", lease)
    run("get", "leased", "-w", "json")
    run("lease", "timetolive", lease, "--keys")
    run("lease", "list")
    run("lease", "keep-alive", "--once", lease)
    run("lease", "revoke", lease)
    run("lease", "revoke", lease)
    run("lease", "timetolive", lease)
    run("lease", "keep-alive", "--once", lease)
    run("lease", "grant", "9999999999")
    run("get", "leased")
    run("put", "leased", "1", "--lease", "1234")


def locks(etcdctl: Etcdctl) -> None:
    with etcdctl.background("lock", "l") as first:
        first(1)
        etcdctl.wait_for_keys("l/", 1)
        with etcdctl.background("lock", "l") as second:
            etcdctl.wait_for_keys("l/", 2)
            etcdctl.run("get", "l/", "--prefix", "--sort-by", "CREATE")
            etcdctl.run("del", "l/", "--prefix")
            second(1)
    etcdctl.run("lock", "m", "echo", "held")


def elections(etcdctl: Etcdctl) -> None:
    with etcdctl.background("elect", "e", "one") as first:
        first(2)
        with etcdctl.background("elect", "e", "--listen") as listener:
            listener(2)
            with etcdctl.background("elect", "e", "two") as second:
                etcdctl.wait_for_keys("e/", 2)
                line = ("get", "e/", "--prefix", "--sort-by", "CREATE", "--limit", "1", "-w", "json")
                leader, *_ = json.loads(etcdctl.run(*line, noted=False))["kvs"]
                etcdctl.run("del", base64.b64decode(leader["key"]).decode())
                second(2)
                listener(4)


def compaction(etcdctl: Etcdctl) -> None:
    run = etcdctl.run
    for value in "1234":
        run("put", "k", value)
    run("compaction", "4")
    run("compaction", "4")
    run("compaction", "99999")
    run("get", "k", "--rev", "3")
    run("get", "k", "--rev", "4", "-w", "json")
    run("watch", "k", "--rev", "2")
    run("defrag")


def accounts(etcdctl: Etcdctl) -> None:
    run = etcdctl.run
    run("auth", "enable")
    run("user", "add", "root:secret")
    run("user", "add", "root:secret")
    run("user", "grant-role", "root", "root")
    run("role", "add", "reader")
    run("role", "grant-permission", "reader", "read", "mine/", "--prefix")
    run("role", "grant-permission", "reader", "readwrite", "x", "y")
    run("role", "grant-permission", "reader", "write", "z", "--from-key")
    run("role", "get", "reader")
    run("role", "revoke-permission", "reader", "x", "y")
    run("role", "revoke-permission", "reader", "x", "y")
    run("user", "add", "alice:a")
    run("user", "add", "robot", "--no-password")
    run("user", "grant-role", "alice", "reader")
    run("user", "get", "alice", "--detail")
    run("user", "list")
    run("role", "list")
    run("auth", "enable")
    run("put", "mine/1", "1")
    etcdctl.user = "alice:wrong"
    run("get", "mine/1")
    etcdctl.user = "alice:a"
    for arguments in (
        ("get", "mine/", "--prefix"),
        ("put", "mine/1", "2"),
        ("put", "z", "2"),
        ("user", "list"),
    ):
        run(*arguments)
    run("role", "get", "reader")
    run("get", "z")
    run("watch", "z")
    etcdctl.user = "root:secret"
    run("user", "passwd", "alice", "--interactive=false", stdin="b\n")
    run("user", "revoke-role", "root", "root")
    run("user", "delete", "root")
    run("user", "revoke-role", "alice", "reader")
    run("role", "delete", "reader")
    run("user", "delete", "alice")
    run("user", "delete", "robot")
    run("get", "mine/1")
    run("auth", "disable")
    etcdctl.user = ""
    run("user", "delete", "root")
    run("role", "delete", "root")
    run("put", "mine/1", "3", "-w", "json")


def upkeep(etcdctl: Etcdctl) -> None:
    run = etcdctl.run
    run("endpoint", "health")
    run("put", "a", "1")
    run("endpoint", "hashkv", "-w", "json")
    run("alarm", "list")
    run("alarm", "disarm")
    run("move-leader", "1")
    run("check", "nothing")


SCRIPTS = [keys, transactions, watches, leases, locks, elections, compaction, accounts, upkeep]


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.__name__ for script in SCRIPTS])
def test_etcdctl_prints_the_same(
    fresh: Pair, tool: Callable[[str], str], script: Callable[[Etcdctl], None]
) -> None:
    on_both(fresh, tool("etcdctl"), script)


def test_etcdctl_saves_a_snapshot(fresh: Pair, tool: Callable[[str], str], tmp_path: Path) -> None:
    for name, address in fresh.addresses.items():
        etcdctl = Etcdctl(tool("etcdctl"), address)
        etcdctl.run("put", "a", "1")
        etcdctl.run("snapshot", "save", str(tmp_path / f"{name}.snapshot"))
        assert etcdctl.transcript[-1][1] == 0, etcdctl.transcript[-1]
    assert (tmp_path / "atoll.snapshot").read_bytes().startswith(b"SQLite format 3")


SENDS_TOKENS_BY_TLS_ONLY = "does not have a sufficient security level"
SESSIONS = {"etcd3-0.12.0": "etcd3_session.py", "aetcd-1.0.0": "aetcd_session.py"}


@pytest.mark.parametrize("client", SESSIONS)
def test_a_python_client_sees_the_same(
    fresh: Pair, tool: Callable[[str], str], foreign_python: Callable[[str], Any], client: str
) -> None:
    program = HERE / "clients" / SESSIONS[client]

    def session(address: str, *user: str) -> list[Any]:
        host, _, port = address.partition(":")
        line = [str(foreign_python(client)), str(program), host, port, *user]
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stderr
        return [json.loads(printed) for printed in done.stdout.splitlines()]

    sessions = {name: session(address) for name, address in fresh.addresses.items()}
    assert sessions["atoll"] == sessions["etcd"]
    assert {step for step, *_ in sessions["atoll"]} == _steps(program)

    for address in fresh.addresses.values():
        etcdctl = Etcdctl(tool("etcdctl"), address)
        etcdctl.run("put", "theirs", "secret")
        etcdctl.run("user", "add", "root:secret")
        etcdctl.run("user", "grant-role", "root", "root")
        etcdctl.run("role", "add", "owner")
        for prefix in ("mine/", "/locks/"):
            etcdctl.run("role", "grant-permission", "owner", "readwrite", prefix, "--prefix")
        etcdctl.run("user", "add", "alice:a")
        etcdctl.run("user", "grant-role", "alice", "owner")
        etcdctl.run("auth", "enable")
        assert {code for _, code, _, _ in etcdctl.transcript} == {0}, etcdctl.transcript
    guarded = {name: session(address, "alice", "a") for name, address in fresh.addresses.items()}
    assert guarded["atoll"] == guarded["etcd"]
    refusal = SENDS_TOKENS_BY_TLS_ONLY if client == "etcd3-0.12.0" else "permission denied"
    assert refusal in str(guarded["atoll"])


def _steps(program: Path) -> set[str]:
    return set(re.findall(r"@step\n(?:async )?def (\w+)", program.read_text()))
