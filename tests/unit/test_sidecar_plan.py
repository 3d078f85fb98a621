"""What the sidecar's command line means: ports, ways out, what the application is told, what is registered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.errors import AtollError, Code
from atoll.host.sidecar import packets
from atoll.host.sidecar.bootstrap import Wiring, bootstrap
from atoll.host.sidecar.folder import Folder
from atoll.host.sidecar.plan import Asked, Planned, plan
from atoll.resources.mesh import node_metadata, proxy
from atoll.resources.mesh.clients import Inbound, Kind, Outbound
from atoll.resources.mesh.services import Locality, Protocol
from atoll.runtime.net import Address

FOLDER = Folder(Path("/run/sc"))


def drawn() -> Iterator[int]:
    return itertools.count(50_001)


def planned(**asked: Any) -> Planned:
    ports = drawn()
    return plan(Asked(kind=Kind.SIDECAR, service="shop", **asked), FOLDER, lambda: next(ports))


def refused(**asked: Any) -> str:
    with pytest.raises(AtollError) as raised:
        planned(**asked)
    assert raised.value.code is Code.INVALID
    return raised.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9080:9081", Inbound(9080, 9081, Protocol.HTTP, "", 80)),
        ("9080", Inbound(9080, 50_001, Protocol.HTTP, "", 80)),
        ("8080=9080:9081", Inbound(9080, 9081, Protocol.HTTP, "", 8080)),
        ("6379:6380/redis", Inbound(6379, 6380, Protocol.REDIS, "", 6379)),
        ("90=9090:9091/grpc", Inbound(9090, 9091, Protocol.GRPC, "", 90)),
    ],
)
def test_a_port(text: str, expected: Inbound) -> None:
    assert planned(ports=[text]).client.inbound == (expected,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("http", "expected [SERVICE_PORT=]IN[:APP]"),
        ("70000", "must be from 1 to 65535"),
        ("0:1", "must be from 1 to 65535"),
        ("9080:9080", "cannot both listen at 9080"),
        ("9080:9081/htpp", "it must be one of http, http2"),
    ],
)
def test_a_port_that_cannot_work_is_refused(text: str, complaint: str) -> None:
    assert complaint in refused(ports=[text])


def test_ports_must_differ_where_they_are_told_apart() -> None:
    assert "more than one listens at 9080" in refused(ports=["9080:1", "81=9080:2"])
    assert "more than one has the service's port 80" in refused(ports=["9080:1", "9081:2"])
    assert "give one --port" in refused(ports=["9080", "81=9081"], capture="unix")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis=6379", Outbound("redis", 6379, 6379)),
        ("redis:6379=16379", Outbound("redis", 6379, 16_379)),
        ("redis.prod:6379=/run/redis.sock", Outbound("redis.prod", 6379, 0, "/run/redis.sock")),
    ],
)
def test_a_way_out(text: str, expected: Outbound) -> None:
    assert planned(outs=[text]).client.outbound == (expected,)


def test_a_way_out_that_says_too_little_is_refused() -> None:
    assert "expected HOST[:SERVICE_PORT]=PORT" in refused(outs=["redis"])
    assert "which port of the service" in refused(outs=["redis=/run/redis.sock"])


def test_what_the_application_is_told() -> None:
    told = planned(ports=["9080"], outs=["order-db:3306=13306"]).environment
    assert told == {
        "ATOLL_SERVICE": "shop",
        "ATOLL_NAMESPACE": "default",
        "ATOLL_SIDECAR": "/run/sc",
        "ATOLL_APP_PORT": "50001",
        "ATOLL_HTTP_OUT": "http://127.0.0.1:50002",
        "ATOLL_OUT_ORDER_DB": "127.0.0.1:13306",
    }
    told = planned(ports=["9080"], capture="unix").environment
    assert (told["ATOLL_APP_SOCKET"], told["ATOLL_HTTP_OUT_SOCKET"]) == (
        "/run/sc/app.sock",
        "/run/sc/http.sock",
    )
    assert planned(ports=["9080:1", "90=9090:2/grpc"]).environment["ATOLL_APP_PORTS"] == "80=1,90=2"


def test_what_is_registered() -> None:
    made = planned(
        ports=["9080:9081", "90=9090:9091/grpc"],
        version="v2",
        labels=["track=canary"],
        locality=Locality("eu", "eu-1"),
        namespace="prod",
    ).instance
    assert made is not None
    assert (made.name, made.ip, made.port, made.namespace) == ("shop", "127.0.0.1", 9080, "prod")
    assert made.metadata == {
        "track": "canary",
        "version": "v2",
        "region": "eu",
        "zone": "eu-1",
        "mesh.ports": "80:http,90:grpc=9090",
        "mesh.mtls": "true",
    }
    same = planned(ports=["9080:9081"], has_identity=False).instance
    assert same is not None and same.namespace == "", "documents say default, the registry public"
    assert same.metadata["mesh.mtls"] == "false", "without a key there is no TLS of the mesh"
    assert planned().instance is None, "who serves nothing is no instance"


def test_callers_elsewhere_must_be_told_where_it_is() -> None:
    assert "--advertise" in refused(ports=["9080:1"], address="0.0.0.0")
    told = planned(ports=["9080:1"], address="0.0.0.0", advertise="10.0.0.5")
    assert told.instance is not None and told.instance.ip == "10.0.0.5" and told.client.address == "0.0.0.0"


def test_interception_needs_another_user() -> None:
    assert "--uid-app" in refused(ports=["9080"], capture="redirect")
    assert "--uid-app" in refused(ports=["9080"], capture="redirect", user=(0, 0))
    made = planned(ports=["9080"], capture="redirect", user=(1234, 1234))
    assert made.client.inbound[0].app_port == 9080, "the application listens where it always did"
    assert made.packets is not None
    assert made.packets.table().splitlines() == [
        "*nat",
        ":ATOLL_IN - [0:0]",
        ":ATOLL_OUT - [0:0]",
        f"-A ATOLL_IN -p tcp -m tcp --dport 9080 -j REDIRECT --to-ports {proxy.INBOUND_CAPTURE_PORT}",
        "-A ATOLL_OUT -d 127.0.0.0/8 -j RETURN",
        f"-A ATOLL_OUT -p tcp -m owner --uid-owner 1234 -j REDIRECT --to-ports {proxy.OUTBOUND_CAPTURE_PORT}",
        "-A PREROUTING -p tcp -j ATOLL_IN",
        "-A OUTPUT -p tcp -j ATOLL_OUT",
        "COMMIT",
    ]


def test_only_a_sidecars_own_rules_are_removed() -> None:
    saved = """# Generated by iptables-save
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ATOLL_IN - [0:0]
:OTHERS - [0:0]
-A PREROUTING -p tcp -j ATOLL_IN
-A PREROUTING -p tcp -j OTHERS
-A ATOLL_IN -p tcp -m tcp --dport 9080 -j REDIRECT --to-ports 15006
COMMIT
"""
    assert packets.removal_of(saved).splitlines() == [
        "*nat",
        "-D PREROUTING -p tcp -j ATOLL_IN",
        "-F ATOLL_IN",
        "-X ATOLL_IN",
        "COMMIT",
    ]
    assert packets.removal_of("*nat\n:OTHERS - [0:0]\nCOMMIT\n") == ""


def wiring(*xds: Address, control_plane: str = "") -> Wiring:
    client = planned(ports=["9080:9081"], version="v1").client
    nodes = xds or (Address("127.0.0.1", 15_010),)
    return Wiring(client=client, instance="i-1", xds=nodes, control_plane=control_plane)


def test_the_bootstrap_says_who_the_proxy_is() -> None:
    made = wiring()
    node = bootstrap(made, FOLDER)["node"]
    assert node["id"] == "sidecar~shop.default~i-1"
    plain = msgspec.json.decode(msgspec.json.encode(node["metadata"]))
    asking = msgspec.structs.replace(made.client, extensions=frozenset({proxy.ON_DEMAND}))
    assert node_metadata.client_of(node["id"], plain, Locality()) == asking
    whole = bootstrap(msgspec.structs.replace(made, delta=False), FOLDER)["node"]
    told = msgspec.json.decode(msgspec.json.encode(whole["metadata"]))
    assert node_metadata.client_of(node["id"], told, Locality()) == made.client


def test_the_control_plane_is_reached_with_the_workloads_identity_and_must_prove_its_own() -> None:
    node = "spiffe://mesh.example/ns/atoll-system/sa/atoll"
    made = bootstrap(wiring(control_plane=node), FOLDER)
    clusters = {each["name"]: each for each in made["static_resources"]["clusters"]}
    tls = clusters[proxy.XDS_CLUSTER]["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["tls_certificate_sds_secret_configs"][0]["name"] == proxy.IDENTITY_SECRET
    checked = tls["combined_validation_context"]["default_validation_context"][
        "match_typed_subject_alt_names"
    ]
    assert checked[0]["matcher"] == {"exact": node}
    plain = bootstrap(wiring(), FOLDER)["static_resources"]["clusters"][0]
    assert "transport_socket" not in plain


def test_nothing_is_live_without_a_word_of_the_control_plane() -> None:
    """Whatever gave up waiting would serve nothing, and after an upgrade in place of a proxy that served."""
    dynamic = bootstrap(wiring(), FOLDER)["dynamic_resources"]
    assert [dynamic[each]["initial_fetch_timeout"] for each in ("cds_config", "lds_config")] == ["0s", "0s"]


def test_names_of_the_control_plane_are_looked_up() -> None:
    def kind(*hosts: str) -> str:
        made = wiring(*(Address(host, 15_010) for host in hosts))
        return str(bootstrap(made, FOLDER)["static_resources"]["clusters"][0]["type"])

    assert (kind("10.0.0.1", "::1"), kind("10.0.0.1", "a.example")) == ("STATIC", "STRICT_DNS")


def test_a_runtime_folder_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtollError, match="--runtime DIR"):
        Folder(tmp_path / ("x" * 90)).make()
