"""Unix sockets of the runtime: who may connect, who is at the other end, and whose name it is."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from atoll.client.node import Client
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code, Reason
from atoll.runtime import loop, net
from atoll.runtime.clock import BootClock
from atoll.runtime.http1 import Http1Server
from atoll.runtime.http_api import Asked, Endpoint, application
from atoll.runtime.http_guard import Audience, SocketGate
from atoll.runtime.listener import Listener, listen_unix
from atoll.runtime.logs import Log
from atoll.runtime.peer import Peer


async def _who(asked: Asked) -> list[int | None]:
    peer = asked.caller.peer
    return [peer.uid, peer.pid] if peer else [None]


def _open(path: Path) -> Listener:
    endpoints = [
        Endpoint("GET", "/who", "Who asks.", _who, list[int | None], open_to_all=True),
        Endpoint("GET", "/operators", "The same.", _who, list[int | None]),
    ]
    app = application(endpoints, SocketGate(os.getuid()), Log("api"), "1", {})
    return listen_unix(path, 0o600, http1=Http1Server(app, BootClock()))


def test_a_handler_is_told_the_uid_and_process_of_its_peer(tmp_path: Path) -> None:
    async def main() -> tuple[list[int | None], str]:
        listener = _open(tmp_path / "a.sock")
        client = Client(HttpTransport(str(listener.address)))
        try:
            return await client.get("/operators", list[int | None]), str(listener.address)
        finally:
            await listener.close(1.0)

    found, address = loop.run(main())
    assert found == [os.getuid(), os.getpid()]
    assert address == f"unix:{tmp_path / 'a.sock'}"


def test_only_the_nodes_own_uid_and_root_are_its_operators() -> None:
    gate = SocketGate(1000)
    for uid, operator in ((1000, True), (0, True), (1001, False)):
        caller = gate.check((), Audience.ALL, Peer("unix:", uid=uid))
        assert (caller.operator, caller.proven) == (operator, operator)
        if not operator:
            with pytest.raises(AtollError, match="uid 1001 asked"):
                gate.check((), Audience.OPERATORS, Peer("unix:", uid=uid))
    with pytest.raises(AtollError, match="nobody asked"):
        gate.check((), Audience.USERS, None)


def test_the_mode_is_as_asked_whatever_the_umask(tmp_path: Path) -> None:
    for mode in (0o600, 0o666):
        with net.listen_unix(tmp_path / "b.sock", mode):
            assert stat.S_IMODE((tmp_path / "b.sock").stat().st_mode) == mode
        assert os.listdir(tmp_path) == ["b.sock"]


def test_a_socket_that_nobody_listens_at_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    net.listen_unix(path, 0o600).close()
    with net.listen_unix(path, 0o600):
        with pytest.raises(AtollError, match="another process listens") as raised:
            net.listen_unix(path, 0o600)
        assert raised.value.reason is Reason.IN_USE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_path_that_is_longer_than_an_address_is_reached_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100)
    folder.mkdir()

    async def main() -> list[int | None]:
        listener = _open(folder / "e.sock")
        try:
            return await Client(HttpTransport(str(listener.address))).get("/who", list[int | None])
        finally:
            await listener.close(1.0)

    assert loop.run(main()) == [os.getuid(), os.getpid()]
    assert os.listdir(folder) == ["e.sock"]


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtollError, match="too long") as raised:
        net.listen_unix(tmp_path / ("d" * 108), 0o600)
    assert raised.value.code is Code.INVALID
