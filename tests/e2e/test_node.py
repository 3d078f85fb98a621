"""A node as its operator meets it: starts, refuses to start with a reason, answers, stops."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tarfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.runtime import net
from tests.e2e import atoll
from tests.peers.certificates import make_certificates
from tests.waiting import wait_until

STOP_WITHIN_S = 30.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[atoll.Node]:
    made = atoll.Node(tmp_path).start()
    yield made
    made.process.kill()


def test_it_says_where_it_answers_and_who_may_use_it(node: atoll.Node) -> None:
    text = node.text()
    assert "open to every local user" in text
    assert node.get("/livez") == b"ok\n"
    assert set(json.loads(node.get("/readyz")).values()) == {"ready"}
    assert b"atoll_store_up 1.0" in node.get("/metrics")
    page = node.get("/").decode()
    assert "<h2>Store</h2>" in page and str(node.data) in page
    assert b"--accent" in node.get("/console.css")
    status = node.run("status", "--json")
    shown = json.loads(status.stdout)
    assert shown["node"]["pid"] == node.process.pid
    assert shown["store"]["revision"] >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_good_order(node: atoll.Node, number: signal.Signals) -> None:
    os.kill(node.process.pid, number)
    assert node.process.wait(STOP_WITHIN_S) == 0
    assert "stopped" in node.text()
    assert "Traceback" not in node.text()


def test_data_is_private_and_survives(tmp_path: Path) -> None:
    node = atoll.Node(tmp_path).start()
    node.process.terminate()
    assert node.process.wait(STOP_WITHIN_S) == 0
    assert stat.S_IMODE(node.data.stat().st_mode) == 0o700
    files = [path for path in node.data.rglob("*") if path.is_file()]
    assert files, "a store on disk"
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    node.start()
    node.process.kill()


def test_a_second_node_on_the_same_data_is_refused(node: atoll.Node) -> None:
    second = atoll.run("up", *atoll.any_ports("--data", str(node.data)))
    assert second.returncode != 0
    assert "use" in second.stderr and str(node.data) in second.stderr
    assert node.get("/livez") == b"ok\n"


def test_a_port_in_use_names_the_options(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = atoll.run("up", *atoll.any_ports("--data", str(tmp_path / "d"), "--listen-api", address))
    assert ended.returncode == 7
    assert f"port {address.split(':')[1]} on 127.0.0.1 is in use" in ended.stderr
    assert "--listen-api HOST:PORT" in ended.stderr and "--port-offset N" in ended.stderr
    assert "Traceback" not in ended.stderr


def make_not_a_store(folder: Path) -> str:
    (folder / "notes.txt").write_text("just text, and enough of it that it is no empty file\n" * 100)
    return f"sqlite:{folder / 'notes.txt'}"


def make_folder(folder: Path) -> str:
    return f"sqlite:{folder}"


def make_below_a_file(folder: Path) -> str:
    (folder / "file").write_text("a file, not a folder")
    return f"sqlite:{folder / 'file' / 'store.db'}"


def make_unknown(folder: Path) -> str:
    return "postgres://db"


@pytest.mark.parametrize("make", [make_not_a_store, make_folder, make_below_a_file, make_unknown])
def test_a_store_path_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, make: object) -> None:
    assert callable(make)
    url = make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ended = atoll.run("up", *atoll.any_ports("--data", str(tmp_path / "data"), "--store", url))
    assert ended.returncode in (2, 3, 5)
    path = url.removeprefix("sqlite:")
    assert path in ended.stderr or str(Path(path).parent) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_listening_beyond_loopback_is_refused_without_tls_and_credentials(tmp_path: Path) -> None:
    ended = atoll.run("up", *atoll.any_ports("--data", str(tmp_path), "--listen-etcd", "0.0.0.0:0"))
    assert ended.returncode == 5
    assert "reachable by other machines" in ended.stderr and "--insecure" in ended.stderr
    node = atoll.Node(tmp_path, "--listen-etcd", "0.0.0.0:0", "--insecure").start()
    node.process.kill()


def test_with_auth_the_api_asks_for_its_token(tmp_path: Path) -> None:
    node = atoll.Node(tmp_path, "--auth").start()
    try:
        token_file = node.data / "api-token"
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        token = token_file.read_text().strip()
        password = (node.data / "root-password").read_text().strip()
        assert token not in node.text() and password not in node.text()
        etcdctl = ["etcdctl", "--endpoints", node.etcd, "get", "k"]
        assert subprocess.run(etcdctl, capture_output=True, timeout=60).returncode != 0
        assert subprocess.run([*etcdctl, "--user", f"root:{password}"], timeout=60).returncode == 0
        with pytest.raises(urllib.error.HTTPError, match="401"):
            node.get("/v1/node")
        assert json.loads(node.get("/v1/node", {"Authorization": f"Bearer {token}"}))["auth"] is True
        assert node.run("status").returncode == 0
        denied = atoll.run("status", "--url", node.api, environment={"ATOLL_API_TOKEN": "wrong"})
        assert (denied.returncode, "API token" in denied.stderr) == (5, True)
    finally:
        node.process.kill()


def test_with_tls_nobody_is_served_without_it(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "tls")
    tls = ("--tls-certificate", str(certificates.server_cert), "--tls-key", str(certificates.server_key))
    node = atoll.Node(tmp_path, *tls).start()
    try:
        assert node.api.startswith("https://")
        assert node.run("status", "--ca", str(certificates.ca)).returncode == 0
        plain = atoll.run("status", "--url", node.api.replace("https", "http"))
        assert plain.returncode == 7
        unknown = node.run("status")
        assert unknown.returncode == 7 and "certificate" in unknown.stderr
    finally:
        node.process.kill()


def test_precedence_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text('stop_within_s = 1\n[log]\nlevel = "error"\nformat = "json"\n[store]\nurl = "memory:"\n')
    environment = {"ATOLL_LOG_LEVEL": "warning", "ATOLL_STOP_WITHIN_S": "2", "ATOLL_CONFIG": str(file)}
    explained = atoll.run("config", "explain", "--json", "--stop-within-s", "3", environment=environment)
    shown = {each["name"]: (each["value"], each["source"]) for each in json.loads(explained.stdout)}
    assert shown["stop_within_s"] == ("3.0", "flag --stop-within-s")
    assert shown["log.level"] == ("warning", "environment ATOLL_LOG_LEVEL")
    assert shown["log.format"] == ("json", f"file {file}:4")
    assert shown["port_offset"] == ("0", "default")
    assert "flag --stop-within-s" in atoll.run("config", "explain", "--stop-within-s", "3").stdout


def test_config_check_names_place_and_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text('[lisen]\napi = "127.0.0.1:1"\n')
    checked = atoll.run("config", "check", "--config", str(file))
    assert checked.returncode == 2
    assert f"{file}:2: unknown setting 'lisen.api'; did you mean 'listen.api'?" in checked.stderr
    fine = atoll.run("config", "check", environment={"ATOLL_PORT": "tcp://10.0.0.1:2379"})
    assert fine.returncode == 0
    assert "note: environment ATOLL_PORT: not a setting" in fine.stdout


SECRET = "correct-horse-battery"  # noqa: S105 - a fake one


def test_a_debug_bundle_has_no_secret(tmp_path: Path) -> None:
    node = atoll.Node(tmp_path, "--auth").start()
    try:
        output = tmp_path / "bundle.tar.gz"
        url = f"etcd://root:{SECRET}@127.0.0.1:1"
        made = atoll.run(
            *("debug", "bundle", "--url", node.api, "--data", str(node.data), "--output", str(output)),
            environment={"ATOLL_STORE_URL": url},
        )
        assert made.returncode == 0, made.stderr
        assert stat.S_IMODE(output.stat().st_mode) == 0o600
        with tarfile.open(output) as archive:
            files = {name: archive.extractfile(name) for name in archive.getnames()}
            content = {name.split("/")[1]: file.read() for name, file in files.items() if file}
        wanted = {"node.json", "settings-node.json", "settings-here.json", "store.json", "leases.json"}
        assert set(content) == wanted | {"log.txt", "metrics.txt", "versions.json"}
        token = (node.data / "api-token").read_text().strip()
        assert not [
            name for name, data in content.items() if token.encode() in data or SECRET.encode() in data
        ]
        assert b"etcd://root:***@127.0.0.1:1" in content["settings-here.json"]
        assert b"ready" in content["log.txt"]
    finally:
        node.process.kill()


def test_a_bundle_without_a_node_says_what_is_missing(tmp_path: Path) -> None:
    output = tmp_path / "bundle.tar.gz"
    made = atoll.run("debug", "bundle", "--url", "http://127.0.0.1:1", "--output", str(output))
    assert made.returncode == 0, made.stderr
    with tarfile.open(output) as archive:
        missing = archive.extractfile("atoll-debug/missing.txt")
        assert missing is not None and b"no node answers" in missing.read()


def test_the_second_start_is_quick_and_small(tmp_path: Path) -> None:
    """The aims (1.5 s, 100 MB) are measured by `dev.py bench` on a quiet machine; here a busy one must not fail."""
    node = atoll.Node(tmp_path).start()
    node.process.terminate()
    node.process.wait(STOP_WITHIN_S)
    node.start()
    shown = json.loads(node.get("/v1/node"))
    node.process.kill()
    assert shown["ready_after_s"] < 15
    assert shown["resident_bytes"] < 100_000_000


def test_a_store_is_backed_up_compacted_and_defragmented_while_it_serves(
    node: atoll.Node, tmp_path: Path
) -> None:
    for number in range(20):
        put = ["etcdctl", "--endpoints", node.etcd, "put", "key", str(number)]
        subprocess.run(put, check=True, capture_output=True, timeout=60)
    target = tmp_path / "copy.db"
    made = atoll.run("store", "backup", str(target), "--data", str(node.data))
    assert made.returncode == 0, made.stderr
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert digest in made.stdout and digest in (tmp_path / "copy.db.sha256").read_text()
    again = atoll.run("store", "backup", str(target), "--data", str(node.data))
    assert (again.returncode, "exists already" in again.stderr) == (4, True)
    assert node.run("store", "compact").returncode == 0
    assert json.loads(node.run("status", "--json").stdout)["store"]["compact_revision"] >= 21
    assert node.run("store", "defrag").returncode == 0
    copy = atoll.Node(tmp_path / "copy", "--store", f"sqlite:{target}")
    copy.data.mkdir(parents=True)
    copy.start()
    get = ["etcdctl", "--endpoints", copy.etcd, "get", "key", "--print-value-only"]
    found = subprocess.run(get, check=True, capture_output=True, timeout=60)
    copy.process.kill()
    assert found.stdout == b"19\n"


def test_a_store_is_checked_restored_and_migrated(node: atoll.Node, tmp_path: Path) -> None:
    put = ["etcdctl", "--endpoints", node.etcd, "put", "key", "kept"]
    subprocess.run(put, check=True, capture_output=True, timeout=60)
    backup, here = tmp_path / "backup.db", ("--data", str(node.data))
    assert atoll.run("store", "backup", str(backup), *here).returncode == 0
    checked = atoll.run("store", "check", *here)
    assert (checked.returncode, checked.stdout.startswith("sound: revision ")) == (0, True), checked.stdout
    in_use = atoll.run("store", "restore", str(backup), "--replace", *here)
    assert (in_use.returncode != 0, "in use by process" in in_use.stderr) == (True, True)
    node.process.kill()
    there = atoll.run("store", "restore", str(backup), *here)
    assert (there.returncode != 0, "replace it" in there.stderr) == (True, True)
    restored = atoll.run("store", "restore", str(backup), "--replace", *here)
    assert "generation" in restored.stdout and "that was there" in restored.stdout, restored.stderr
    target = f"sqlite:{tmp_path / 'target.db'}"
    moved = atoll.run("store", "migrate", f"sqlite:{node.data / 'store.db'}", target, *here)
    assert re.match(r"\d+ keys and \d+ leases migrated", moved.stdout), moved.stderr
    raw = bytearray((tmp_path / "target.db").read_bytes())
    raw[raw.index(b"kept")] ^= 1
    (tmp_path / "target.db").write_bytes(raw)
    damaged = atoll.run("store", "check", "--store", target)
    assert (damaged.returncode, "checksum" in damaged.stderr) == (1, True)


def test_help_lists_every_command() -> None:
    shown = atoll.run("--help").stdout
    for command in (
        "up",
        "status",
        "elections",
        "observe",
        "handover",
        "pause",
        "lead",
        "store",
        "config",
        "debug",
    ):
        assert re.search(rf"^    {command}\s", shown, re.MULTILINE)
    assert "exit codes:" in shown


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """A stream without an end keeps the node for the second that it gives to calls in flight."""
    codes: list[int] = []
    while 130 not in codes and len(codes) < 5:  # a busy machine may be too late with the second signal
        node = atoll.Node(tmp_path).start()
        address = net.parse_address(node.api.removeprefix("http://"))
        with socket.create_connection(address) as stream:
            stream.sendall(b"GET /v1/election/observe?name=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stream.recv(12) == b"HTTP/1.1 200"
            node.process.terminate()
            wait_until(functools.partial(refuses, address), STOP_WITHIN_S, "the listener to close")
            node.process.terminate()
            codes.append(node.process.wait(STOP_WITHIN_S))
    assert codes[-1] == 130, codes


def refuses(address: net.Address) -> bool:
    try:
        with socket.create_connection(address, timeout=5):
            return False
    except ConnectionRefusedError:
        return True
