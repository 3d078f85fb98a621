"""The runtime's small parts: logs, health, tasks, disk, addresses. Each with the failure it exists for."""

from __future__ import annotations

import io
import json
import socket
import stat
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import disk, health, logs, loop, metrics, net, tasks


def test_a_log_line_has_event_and_fields_and_hides_secrets() -> None:
    stream = io.StringIO()
    logs.set_up("info", "text", stream)
    logs.Log("node").bind(node="n1").info("store opened", path="/a b", revision=7, password="hunter2")
    line = stream.getvalue()
    assert 'store opened node=n1 path="/a b" revision=7 password=[hidden]' in line
    assert "hunter2" not in line
    assert logs.newest_lines()[-1] in line


def test_a_json_line_is_one_object_with_the_trace_of_an_error() -> None:
    stream = io.StringIO()
    logs.set_up("info", "json", stream)
    logs.Log("node").debug("not written")
    try:
        raise ValueError("broken")
    except ValueError as error:
        logs.Log("node").error("task failed", error, task="t")
    (line,) = stream.getvalue().splitlines()
    parsed = json.loads(line)
    assert (parsed["level"], parsed["event"], parsed["task"]) == ("error", "task failed", "t")
    assert "ValueError: broken" in parsed["trace"]


def test_health_is_ready_only_when_every_part_is() -> None:
    parts = health.Health()
    assert not parts.is_ready
    parts.expect("store")
    parts.expect("etcd", "port not bound")
    parts.ready("store")
    assert not parts.is_ready
    assert parts.report() == {"store": "ready", "etcd": "port not bound"}
    parts.ready("etcd")
    assert parts.is_ready


def test_a_failing_task_is_reported_once_by_name_and_others_are_stopped() -> None:
    heard: list[tuple[str, str]] = []

    async def fail() -> None:
        raise RuntimeError("boom")

    async def scenario() -> list[str]:
        failed = loop.Event()

        def on_failure(name: str, error: BaseException) -> None:
            heard.append((name, str(error)))
            failed.set()

        group = tasks.Tasks(logs.Log("test"), on_failure)
        group.start("waits", loop.sleep(3600))
        group.start("fails", fail())
        assert await loop.wait_event(failed, 10)
        assert group.names() == ["waits"]
        assert await group.stop(within_s=10) == []
        return group.names()

    assert loop.run(scenario()) == []
    assert heard == [("fails", "boom")]


def test_a_bounded_wait_says_what_took_too_long() -> None:
    async def scenario() -> None:
        async with loop.bounded(0.01, "opening the store"):
            await loop.sleep(60)

    with pytest.raises(AtollError, match=r"opening the store took longer than 0\.01 s"):
        loop.run(scenario())


def test_private_files_are_private_and_replaced_in_one_step(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    disk.make_private_folder(folder)
    disk.write_private_file(folder / "token", b"one")
    disk.write_private_file(folder / "token", b"two")
    assert (folder / "token").read_bytes() == b"two"
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["token"]
    assert disk.free_bytes(folder) > 0


def test_a_folder_below_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AtollError, match="cannot use the folder .*file/data"):
        disk.make_private_folder(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:2379", "127.0.0.1", 2379, True),
        ("[::1]:0", "::1", 0, True),
        ("localhost:80", "localhost", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("10.1.2.3:80", "10.1.2.3", 80, False),
        ("example.org:80", "example.org", 80, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = net.parse_address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "2379", "host:", ":2379", "host:99999", "host:x"])
def test_a_bad_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AtollError, match="expected HOST:PORT"):
        net.parse_address(text)


def test_a_port_in_use_names_the_options() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = net.Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(AtollError, match=r"--listen-etcd HOST:PORT.*--port-offset N") as caught:
            net.listen(address, "--listen-etcd")
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.IN_USE)


def test_metrics_have_their_own_registry() -> None:
    one, other = metrics.Metrics(), metrics.Metrics()
    for registry in (one, other):
        registry.counter("atoll_requests_total", "Requests.").inc()
        registry.read_on_scrape("atoll_size_bytes", "Size.", ["of"], lambda: [(["x"], 42.0)])
    assert b"atoll_requests_total 1.0" in one.text()
    assert b'atoll_size_bytes{of="x"} 42.0' in other.text()
    assert "atoll_size_bytes" in one.names()
