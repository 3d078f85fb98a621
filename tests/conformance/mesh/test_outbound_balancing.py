"""Which endpoint gets a request: balancers, consistent hashing, health, near and far, limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Resolution
from tests.conformance.mesh.backends import Backends, Reply
from tests.conformance.mesh.calling import DOMAIN, Sidecar, at, known, service, sidecar
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.rig import Answer, backends_of
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers

NAMES = ("a", "b", "c")
HERE, NEXT, FAR = Locality("eu", "1", "x"), Locality("eu", "2"), Locality("us", "1")
EJECTS = {"consecutive5xxErrors": 2, "interval": 0.05, "baseEjectionTime": 60, "maxEjectionPercent": 100}
# by the service's name
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "robin": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
    "random": {"loadBalancer": {"simple": "RANDOM"}},
    "least": {},
    "ring": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", "ringHash": {}}}},
    "maglev": {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "u", "maglev": {}}}},
    "cookie": {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "who", "ttl": 60}}}},
    "source": {"loadBalancer": {"consistentHash": {"useSourceIp": True}}},
    "near": {"outlierDetection": {}},
    "named": {
        "outlierDetection": {},
        "loadBalancer": {"localityLbSetting": {"failover": [{"from": "eu", "to": "us"}]}},
    },
    "by-label": {
        "outlierDetection": {},
        "loadBalancer": {"localityLbSetting": {"failoverPriority": ["rack"]}},
    },
    "shares": {
        "loadBalancer": {
            "simple": "ROUND_ROBIN",
            "localityLbSetting": {"distribute": [{"from": "eu/*", "to": {"eu/1/*": 80, "us/*": 20}}]},
        }
    },
    "ejects": {"outlierDetection": EJECTS, "loadBalancer": {"simple": "ROUND_ROBIN"}},
    "panics": {"outlierDetection": {"minHealthPercent": 60}, "loadBalancer": {"simple": "ROUND_ROBIN"}},
    "narrow": {"connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}},
    "short": {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}},
}


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as made:
        for name in NAMES:
            made.add(name)
        yield made


def services(backends: Backends) -> list[MeshService]:
    def at_each(*more: Mapping[str, Any]) -> list[Endpoint]:
        return [
            at(backends[name].port, **one)
            for name, one in zip(NAMES, more or ({},) * len(NAMES), strict=True)
        ]

    places = [{"locality": place} for place in (HERE, NEXT, FAR)]
    away: list[Mapping[str, Any]] = [
        {"locality": HERE, "healthy": False},
        *({"locality": place} for place in (NEXT, FAR)),
    ]
    racks = [{"labels_": rack} for rack in ("r2", "r1", "r3")]
    endpoints = {
        "weights": at_each({"weight": 100}, {"weight": 300}, {"weight": 0}),
        "sick": at_each({}, {"healthy": False}, {"healthy": False}),
        "all-sick": at_each(*({"healthy": False},) * 3),
        "panics": at_each({}, {"healthy": False}, {"healthy": False}),
        "near": at_each(*places),
        "near-away": at_each(*away),
        "named": at_each(
            {"locality": HERE, "healthy": False}, {"locality": Locality("asia")}, {"locality": FAR}
        ),
        "shares": at_each({"locality": HERE}, {"locality": NEXT}, {"locality": FAR}),
        "one": at_each()[:1],
        "narrow": at_each()[:1],
        "short": at_each()[:1],
        "empty": [],
    }
    endpoints["by-label"] = [
        Endpoint(
            "127.0.0.1", backends[name].port, labels={"rack": rack["labels_"]}, locality=Locality("r", name)
        )
        for name, rack in zip(NAMES, racks, strict=True)
    ]
    found = [service(name, *endpoints.get(name, at_each())) for name in {**POLICIES, **endpoints}]
    found.append(
        MeshService(
            f"dns.{DOMAIN}",
            "dns",
            "default",
            endpoints=(Endpoint("localhost", backends["a"].port),),
            resolution=Resolution.DNS,
        )
    )
    return found


def documents() -> list[Document[Any]]:
    both = {**POLICIES, "near-away": POLICIES["near"]}
    return [
        document(Kind.DESTINATION_RULE, name, {"host": name, "trafficPolicy": policy})
        for name, policy in both.items()
    ]


@pytest.fixture(scope="module")
def proxy(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    (port,) = free_ports(1)
    client = Client(
        ClientKind.SIDECAR, "web", "default", labels={"rack": "r1"}, locality=HERE, http_port=port
    )
    folder: Path = tmp_path_factory.mktemp("balancing")
    with sidecar(folder, client, known(services(backends), documents())) as made:
        assert made.problems == ()
        yield made


@pytest.fixture(autouse=True)
def _fresh(backends: Backends) -> None:
    backends.reset()


def test_requests_go_round(proxy: Sidecar) -> None:
    assert backends_of(proxy.ask("robin", count=30)) == {"a": 10, "b": 10, "c": 10}


@pytest.mark.parametrize("host", ["random", "least"])
def test_requests_are_spread(proxy: Sidecar, host: str) -> None:
    counts = backends_of(proxy.ask(host, count=300))
    assert sum(counts[name] for name in NAMES) == 300
    assert all(counts[name] > 50 for name in NAMES)


def test_an_endpoint_gets_its_weight_and_one_without_nothing(proxy: Sidecar) -> None:
    counts = backends_of(proxy.ask("weights", count=400))
    assert counts["a"] + counts["b"] == 400
    assert 60 <= counts["a"] <= 140


@pytest.mark.parametrize(
    ("host", "path", "header"), [("ring", "/", "x-user"), ("maglev", "/?u={}", "x-none")]
)
def test_requests_alike_go_to_one_endpoint(proxy: Sidecar, host: str, path: str, header: str) -> None:
    chosen = {}
    for user in map(str, range(30)):
        counts = backends_of(proxy.ask(host, path.format(user), 4, headers={header: user}))
        assert len(counts) == 1
        chosen[user] = next(iter(counts))
    assert len({*chosen.values()}) == 3


def test_a_cookie_that_is_given_leads_back(proxy: Sidecar) -> None:
    first = proxy.once("cookie")
    given = first.headers["set-cookie"].split(";")[0]
    assert given.startswith("who=")
    again = backends_of(proxy.ask("cookie", count=10, headers={"cookie": given}))
    assert again == {first.backend: 10}
    assert len(backends_of(proxy.ask("source", count=20))) == 1


def test_what_is_sick_is_not_called_unless_nothing_is_well(proxy: Sidecar) -> None:
    assert backends_of(proxy.ask("sick", count=30)) == {"a": 30}
    assert set(backends_of(proxy.ask("all-sick", count=60))) == set(NAMES)
    assert set(backends_of(proxy.ask("panics", count=60))) == set(NAMES)  # a third is less than 60 %


def test_the_nearest_is_called_and_then_the_next(proxy: Sidecar) -> None:
    assert backends_of(proxy.ask("near", count=30)) == {"a": 30}
    assert backends_of(proxy.ask("near-away", count=30)) == {"b": 30}
    assert backends_of(proxy.ask("named", count=30)) == {"c": 30}
    assert backends_of(proxy.ask("by-label", count=30)) == {"b": 30}


def test_localities_get_their_shares(proxy: Sidecar) -> None:
    counts = backends_of(proxy.ask("shares", count=400))
    assert counts["a"] + counts["c"] == 400
    assert 40 <= counts["c"] <= 130


def test_an_endpoint_that_fails_is_left_out(proxy: Sidecar, backends: Backends) -> None:
    backends["b"].behave = lambda seen: Reply(status=500)
    first = backends_of(proxy.ask("ejects", count=30))
    assert first["status 500"] == 2  # then it is out
    assert backends_of(proxy.ask("ejects", count=30)) == {"a": 15, "c": 15}


def test_what_is_too_much_is_refused_at_once(proxy: Sidecar, backends: Backends) -> None:
    backends["a"].behave = lambda seen: Reply(delay_s=0.3)

    def ask(_: int) -> Answer:
        return proxy.once("narrow")

    with ThreadPoolExecutor(8) as pool:
        counts = backends_of(pool.map(ask, range(8)))
    assert counts["a"] >= 2  # one on the connection, one that waits
    assert counts["status 503"] >= 4


def test_a_connection_is_closed_after_as_many_requests_as_it_may_carry(
    proxy: Sidecar, backends: Backends
) -> None:
    before = backends["a"].connections
    proxy.ask("short", count=5)
    assert backends["a"].connections - before == 5
    before = backends["a"].connections
    proxy.ask("one", count=5)
    assert backends["a"].connections - before == 1


def test_names_are_looked_up(proxy: Sidecar) -> None:
    assert proxy.once("dns").backend == "a"


def test_a_service_without_endpoints_is_unavailable(proxy: Sidecar) -> None:
    assert proxy.once("empty").status == 503
