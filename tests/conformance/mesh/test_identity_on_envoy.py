"""Real Envoys with identities of the mesh: who gets through, and that nothing is lost while certificates and roots change.

Two Envoys: one stands before a caller and speaks the mesh's TLS to the other, which asks for it. Their TLS contexts are the
compiler's; their secrets come from agents that enrolled at a node.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format

from atoll.host.sidecar.identity.sds import SecretServer
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh.authority_api import AdvanceOrder, RotateOrder, TrustOrder
from atoll.runtime import keys
from atoll.runtime.clock import BootClock
from atoll.runtime.net import free_port
from atoll.wire.x509 import certificates, requests
from atoll.wire.x509.certificates import Issuer, Profile
from tests.conformance.mesh import identities
from tests.conformance.mesh.identities import Agent, Identities
from tests.peers.envoy import Envoy
from tests.soaking import SoakReport
from tests.waiting import wait_until

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
CALLER = "spiffe://cluster.local/ns/default/sa/caller"


def _listener(port: int, route: dict[str, Any], **chain: Any) -> dict[str, Any]:
    manager = {
        "@type": HCM,
        "stat_prefix": "http",
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}
            ]
        },
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
    }
    return {
        "name": f"at-{port}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}], **chain}],
    }


def _json(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def server_bootstrap(agent: Agent, port: int) -> dict[str, Any]:
    """Answers with the SPIFFE id of who called."""
    answer = {
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
        "response_headers_to_add": [
            {"header": {"key": "caller", "value": "%DOWNSTREAM_PEER_URI_SAN%"}},
            {"header": {"key": "serial", "value": "%DOWNSTREAM_PEER_SERIAL%"}},
        ],
    }
    secured = _json(tls.mesh_downstream(("h2", "http/1.1")))
    return {
        "node": {"id": "server", "cluster": "server"},
        "static_resources": {
            "listeners": [_listener(port, answer, transport_socket=secured)],
            "clusters": [identities.sds_cluster(agent.socket)],
        },
    }


def client_bootstrap(agent: Agent, port: int, to_port: int, wanted: str = REVIEWS) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": to_port}}}}
    cluster = {
        "name": "server",
        "type": "STATIC",
        "connect_timeout": "2s",
        "transport_socket": _json(tls.mesh_upstream("", (wanted,), ("http/1.1",))),
        "max_requests_per_connection": 5,  # so that connections begin all the time
        "load_assignment": {"cluster_name": "server", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {
        "node": {"id": "client", "cluster": "client"},
        "static_resources": {
            "listeners": [_listener(port, {"route": {"cluster": "server"}})],
            "clusters": [identities.sds_cluster(agent.socket), cluster],
        },
    }


def ask(port: int) -> tuple[int, str]:
    """Status, and who the server says has called (or Envoy's reason for not reaching it)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, answer.getheader("caller") or text
    finally:
        connection.close()


class Pair:
    """A caller's Envoy at ``port`` before the server's Envoy."""

    def __init__(self, folder: Path, server: Agent, client: Agent, wanted: str = REVIEWS) -> None:
        self.port, self.server_port = free_port(), free_port()
        self._folders = [folder / "server", folder / "client"]
        for each in self._folders:
            each.mkdir(parents=True)
        self.server = Envoy(self._folders[0], server_bootstrap(server, self.server_port))
        self.client = Envoy(self._folders[1], client_bootstrap(client, self.port, self.server_port, wanted))

    def __enter__(self) -> Pair:
        self.server.begin()
        self.client.begin()
        self.server.wait_ready()
        self.client.wait_ready()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.stop()
        self.server.stop()

    def refused_by_client(self) -> dict[str, int]:
        """A request is not answered by the server, because its client does not believe it; why, by Envoy's counters."""
        assert ask(self.port)[0] == 503
        found = self.client.admin.stats("^cluster[.]server[.]ssl[.]fail_verify.*")
        return {name.rpartition(".")[2]: value for name, value in found.items() if value}


class Load:
    """Requests without a pause, from a few threads; ``answers`` counts them by status."""

    def __init__(self, port: int, threads: int = 3) -> None:
        self.answers: Counter[object] = Counter()
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.answers[ask(self._port)[0]] += 1
            except OSError as error:
                self.answers[type(error).__name__] += 1

    def more(self, count: int) -> None:
        """Wait for so many further answers."""
        before = sum(self.answers.values())
        wait_until(lambda: sum(self.answers.values()) >= before + count, 30, f"{count} further answers")


@pytest.fixture(scope="module")
def ids() -> Iterator[Identities]:
    with identities.running() as found:
        yield found


def test_services_know_one_another_by_their_spiffe_ids(ids: Identities, tmp_path: Path) -> None:
    with Pair(tmp_path, ids.agent("reviews"), ids.agent("caller")) as pair:
        assert ask(pair.port) == (200, CALLER)


def test_a_client_refuses_a_service_that_is_another_one(ids: Identities, tmp_path: Path) -> None:
    with Pair(tmp_path, ids.agent("ratings"), ids.agent("caller")) as pair:
        assert list(pair.refused_by_client()) == ["fail_verify_san"]


def test_who_has_no_certificate_or_one_of_another_authority_is_refused(
    ids: Identities, tmp_path: Path
) -> None:
    with (
        identities.running() as strangers,
        Pair(tmp_path, ids.agent("reviews"), strangers.agent("caller")) as pair,
    ):
        assert list(pair.refused_by_client()) == [
            "fail_verify_error"
        ]  # it does not know the server's root either
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(pair.server_port)  # in plain text


class Forged:
    """A secret service that is fed by hand: what a workload with such a certificate would show."""

    def __init__(self, ids: Identities, service: str) -> None:
        self._ids = ids
        true = ids.agent(service)
        socket = ids.folder / f"forged-{len(ids.agents)}.sock"
        self.agent = Agent(true.identity, SecretServer(socket, lambda pid: True, BootClock()), socket)
        ids.do(self.agent.server.open())
        ids.extra.append(self.agent.server)
        self.show()

    def show(self, *, offset_s: float = 0.0, uri: str = CALLER, root: Issuer | None = None) -> None:
        """From now on a certificate for ``uri`` made ``offset_s`` from now, by an intermediate of the mesh, or of ``root``."""
        now_s = time.time() + offset_s
        issuer = self._ids.node.opened.intermediate.issuer() if root is None else _intermediate(root)
        key = keys.new_private_key()
        public = requests.read(requests.make(key)).public_key
        leaf = certificates.sign(issuer, public, Profile(keys.new_serial(), now_s, 3600.0, uri=uri))
        held = self.agent.identity.held
        assert held is not None
        self._ids.do(self._hold(held, key, leaf + issuer.certificate))

    async def _hold(self, held: Any, key: str, chain: str) -> None:
        issued = msgspec.structs.replace(held.issued, chain=chain)
        await self.agent.server.hold(msgspec.structs.replace(held, key=key, issued=issued))


def _intermediate(root: Issuer) -> Issuer:
    key = keys.new_private_key()
    public = requests.read(requests.make(key)).public_key
    now_s = time.time()
    profile = Profile(keys.new_serial(), now_s, 7200.0, name="intermediate", path=0)
    return Issuer(certificates.sign(root, public, profile), key)


def _root(name: str = "elsewhere") -> Issuer:
    key = keys.new_private_key()
    profile = Profile(keys.new_serial(), time.time(), 86_400.0, name=name, path=1)
    return Issuer(certificates.self_sign(key, profile), key)


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("expired", {"offset_s": -3700.0}),
        ("not yet valid", {"offset_s": 3600.0}),
        ("another authority's", {"root": _root()}),
        ("another domain's name under this authority", {"uri": "spiffe://elsewhere/ns/default/sa/caller"}),
    ],
)
def test_a_certificate_that_must_not_count_does_not(
    ids: Identities, tmp_path: Path, what: str, shown: dict[str, Any]
) -> None:
    forged = Forged(ids, "caller")
    with Pair(tmp_path, ids.agent("reviews"), forged.agent) as pair:
        assert ask(pair.port) == (200, CALLER), "a certificate made the same way that is in order"
        forged.show(**shown)
        wait_until(lambda: ask(pair.port)[0] == 503, 15, f"a certificate that is {what} to be refused")
        prefix = f"listener.127.0.0.1_{pair.server_port}.ssl"
        stats = pair.server.admin.stats(f"{prefix}[.]fail_verify.*")
        assert sum(stats.values()) > 0, stats


def test_another_trust_domain_is_believed_for_its_own_names_only(ids: Identities, tmp_path: Path) -> None:
    other = _root()
    forged = Forged(ids, "caller")
    with Pair(tmp_path, ids.agent("reviews"), forged.agent) as pair:
        ids.do(ids.node.operator.trust(TrustOrder("elsewhere", other.certificate)))
        theirs = "spiffe://elsewhere/ns/default/sa/caller"
        forged.show(uri=theirs, root=other)
        wait_until(lambda: ask(pair.port) == (200, theirs), 15, "a caller of another domain to be let in")
        forged.show(root=other)  # their authority, our name
        wait_until(
            lambda: ask(pair.port)[0] == 503, 15, "another domain's authority to be refused for our names"
        )
        ids.do(ids.node.operator.trust(TrustOrder("elsewhere")))
        forged.show(uri=theirs, root=other)
        wait_until(lambda: ask(pair.port)[0] == 503, 15, "a domain to be believed no more")


# ------------------------------------------------------------------------------------------- rotation


def _serials(ids: Identities) -> set[str]:
    return {each.serial for each in ids.node.authority.certificates()}


@pytest.mark.soak("identity", few=2, full=20)
def test_no_request_is_lost_while_certificates_are_renewed(
    tmp_path: Path, rounds: int, soak_report: SoakReport
) -> None:
    with identities.running() as ids, Pair(tmp_path, ids.agent("reviews"), ids.agent("caller")) as pair:
        lost, took_s = under_load(pair, rounds, lambda: _renew(ids))
        stats = pair.client.admin.stats("^.*update_rejected$")
    soak_report.row(
        "certificates of both ends of a call renewed under load",
        rounds=rounds,
        violations=sum(lost.values()),
        samples={"renewal_s": took_s},
    )
    assert not lost, lost
    assert sum(stats.values()) == 0, stats


@pytest.mark.soak("identity", few=1, full=5)
def test_no_request_is_lost_while_the_root_is_exchanged(
    tmp_path: Path, rounds: int, soak_report: SoakReport
) -> None:
    with identities.running() as ids, Pair(tmp_path, ids.agent("reviews"), ids.agent("caller")) as pair:
        lost, took_s = under_load(pair, rounds, lambda: _exchange(ids))
    soak_report.row(
        "the mesh's root exchanged in its three stages under load",
        rounds=rounds,
        violations=sum(lost.values()),
        samples={"exchange_s": took_s},
    )
    assert not lost, lost


def under_load(pair: Pair, rounds: int, act: Callable[[], None]) -> tuple[Counter[object], list[float]]:
    """``act`` so many times while requests are made: those that were not answered by 200, and how long each act took."""
    took_s = []
    with Load(pair.port) as load:
        for _ in range(rounds):
            load.more(50)
            began_s = time.monotonic()
            act()
            took_s.append(time.monotonic() - began_s)
        load.more(50)
    assert load.answers[200] >= 50 * (rounds + 1)
    return Counter({status: count for status, count in load.answers.items() if status != 200}), took_s


def _renew(ids: Identities) -> None:
    """Until both workloads have other certificates than before."""
    before = _serials(ids)
    ids.do(ids.node.operator.renew())
    wait_until(lambda: not _serials(ids) & before, 30, "both workloads to have new certificates")


def _exchange(ids: Identities) -> None:
    """As fast as the rules allow."""
    operator = ids.node.operator
    old = ids.do(operator.show()).roots[0].fingerprint
    ids.do(operator.rotate(RotateOrder(automatic=False)))
    for _ in range(2):
        wait_until(lambda: not ids.do(operator.show()).waits_for, 30, "the next stage to be safe")
        ids.do(operator.advance(AdvanceOrder()))
    (root,) = ids.do(operator.show()).roots
    assert root.fingerprint != old
    assert {each.root for each in ids.node.authority.certificates()} == {root.fingerprint}
