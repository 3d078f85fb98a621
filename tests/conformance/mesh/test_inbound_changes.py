"""A change of policy while connections are open: when it holds for them, and what becomes of them."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile
from atoll.resources.mesh import node_metadata
from atoll.resources.mesh.clients import Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.fixed import WITHIN_S
from tests.conformance.mesh.pushing import AdsServer, bootstrap
from tests.peers.envoy import Envoy
from tests.peers.ports import free_pairs
from tests.waiting import wait_until

pytestmark = pytest.mark.peers


@dataclass
class Live:
    """A sidecar that follows a control plane. DISABLE keeps secrets out of it."""

    client: Client
    server: AdsServer
    port: int

    def apply(self, *documents: Document[Any]) -> None:
        """Returns when the sidecar has taken it."""
        plain = document(Kind.PEER_AUTHENTICATION, "plain", {"mtls": {"mode": "DISABLE"}})
        world = world_of({}, Choices(access_log="")).with_policies(Policies([plain, *documents]))
        compiled = compile(world, self.client, Memo())
        assert compiled.problems == ()
        assert self.server.push(compiled.snapshot) == []


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    (port, outbound) = free_pairs(2, 1)
    sockets = Path(tempfile.mkdtemp(prefix="ads-"))
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, sockets)
        app = opened.enter_context(Backends()).add("app")
        client = Client(
            ClientKind.SIDECAR,
            "reviews",
            "default",
            address="127.0.0.1",
            inbound=(Inbound(port, app.port),),
            http_port=outbound,
        )
        server = AdsServer(sockets / "ads.sock").start()
        opened.callback(server.stop)
        node = {"id": node_metadata.node_id(client, "one"), "cluster": "reviews"}
        envoy = Envoy(tmp_path, bootstrap(node, server.socket), "--drain-time-s", "2")
        opened.callback(envoy.stop)
        envoy.begin()
        made = Live(client, server, port)
        made.apply()
        envoy.wait_ready()
        yield made


class Kept:
    """One connection, for many requests."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
        self._connection.connect()
        self._socket = self._connection.sock

    def status(self, path: str = "/") -> int:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        answer.read()
        assert self._connection.sock is self._socket, "the connection was closed"
        return answer.status

    def close(self) -> None:
        self._connection.close()


def denial(path: str) -> Document[Any]:
    rule = {"to": [{"operation": {"paths": [path]}}]}
    return document(Kind.AUTHORIZATION_POLICY, "denial", {"action": "DENY", "rules": [rule]})


def test_authorisation_holds_from_the_next_request_on_and_closes_no_connection(live: Live) -> None:
    kept = Kept(live.port)
    try:
        assert kept.status("/private") == 200
        live.apply(denial("/private"))
        assert [kept.status("/private"), kept.status("/")] == [403, 200]
        live.apply(denial("/other"))
        assert [kept.status("/private"), kept.status("/other")] == [200, 403]
        live.apply()
        assert kept.status("/other") == 200
    finally:
        kept.close()


class Load:
    """Threads that ask without a pause, each on one connection for as long as the sidecar keeps it open."""

    def __init__(self, port: int, threads: int) -> None:
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self.statuses: Counter[str] = Counter()
        self.closed = 0  # connections that the sidecar asked to end

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(WITHIN_S)

    @property
    def count(self) -> int:
        return self.statuses.total()

    def wait_for(self, more: int) -> None:
        enough = self.count + more
        wait_until(lambda: self.count >= enough, WITHIN_S, f"{more} more requests")

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WITHIN_S)
        try:
            while not self._stopping.is_set():
                self.statuses[self._ask(connection)] += 1
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        self.closed += answer.getheader("connection") == "close"
        return str(answer.status)


def limited(requests: int) -> Document[Any]:
    """Far more than is ever asked; a limit is in the listener, which is another one with each of these."""
    return document(Kind.LOCAL_RATE_LIMIT, "limit", {"limits": [{"requests": requests}]})


def test_a_listener_that_changes_under_load_loses_no_request(live: Live) -> None:
    with Load(live.port, threads=4) as load:
        load.wait_for(50)
        for number in range(10):
            live.apply(limited(1_000_000 + number))
            load.wait_for(50)
        wait_until(lambda: load.closed >= 4, WITHIN_S, "old connections to be asked to end")
    assert set(load.statuses) == {"200"}, load.statuses
