"""A gateway before real requests from outside: hosts, TLS by server name, redirects, both APIs, and byte streams."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from tests.conformance.mesh import fixed
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.workloads import Authority, Identity, SecretService, client_context, spiffe
from tests.peers.ports import free_pairs

pytestmark = pytest.mark.peers

NAMES = ("http", "https", "tcp", "passed", "api", "api_tls", "guarded", "ended")
PORTS: dict[str, int] = {}
SHOP, ADMIN = "shop.default.svc.cluster.local", "admin.prod.svc.cluster.local"


@dataclasses.dataclass(frozen=True)
class Outside:
    """What a caller from outside has."""

    trusting: ssl.SSLContext
    known: ssl.SSLContext  # by the name that one server asks for
    other: ssl.SSLContext  # by another name
    stranger: ssl.SSLContext  # certified by somebody else
    folder: Path


def file(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def server(
    port: str, protocol: str, hosts: list[str], tls: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    said = {"port": {"number": PORTS[port], "protocol": protocol}, "hosts": hosts}
    return said if tls is None else {**said, "tls": tls}


def to(host: str, port: int = 80, **more: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": host, "port": {"number": port}}}], **more}


def servers(folder: Path, site: Identity, authority: Authority) -> list[dict[str, Any]]:
    cert, key = file(folder, "site.pem", site.certificate), file(folder, "site.key", site.key)
    files = {"serverCertificate": cert, "privateKey": key}
    ca = file(folder, "clients.pem", authority.pem)
    mutual = {**files, "mode": "MUTUAL", "caCertificates": ca, "subjectAltNames": ["known.example"]}
    return [
        server("http", "HTTP", ["shop.example", "*.shop.example", "prod/admin.example"]),
        server("http", "HTTP", ["secure.example"], {"httpsRedirect": True}),
        server("guarded", "HTTP", ["guarded.example"]),
        server("https", "HTTPS", ["secure.example"], {**files, "mode": "SIMPLE"}),
        server("https", "HTTPS", ["mutual.example"], {**files, "mode": "MUTUAL", "caCertificates": ca}),
        server("https", "HTTPS", ["named.example"], mutual),
        server(
            "https",
            "HTTPS",
            ["optional.example"],
            {**mutual, "mode": "OPTIONAL_MUTUAL", "subjectAltNames": []},
        ),
        server("tcp", "TCP", ["*"]),
        server("passed", "TLS", ["*.own.example"], {"mode": "PASSTHROUGH"}),
        server(
            "ended", "TLS", ["ended.example"], {**files, "mode": "SIMPLE", "minProtocolVersion": "TLSV1_3"}
        ),
    ]


def api_gateway() -> dict[str, Any]:
    listeners = [
        {"name": "plain", "port": PORTS["api"], "protocol": "HTTP"},
        {
            "name": "secure",
            "port": PORTS["api_tls"],
            "protocol": "HTTPS",
            "hostname": "secure.example",
            "tls": {"certificateRefs": [{"name": "edge-cert"}]},
        },
        {"name": "wild", "port": PORTS["api"], "protocol": "HTTP", "hostname": "*.api.example"},
    ]
    return {"gatewayClassName": "atoll", "listeners": listeners}


def route(section: str, hosts: list[str], *rules: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
    parent = {"name": "edge", "sectionName": section, **({"namespace": namespace} if namespace else {})}
    return {"parentRefs": [parent], "hostnames": hosts, "rules": list(rules)}


def path_rule(prefix: str, backend: str, port: int = 80) -> dict[str, Any]:
    matches = [{"path": {"type": "PathPrefix", "value": prefix}}]
    return {"matches": matches, "backendRefs": [{"name": backend, "port": port}]}


def documents(gateway: dict[str, Any]) -> list[Document[Any]]:
    def virtual(name: str, hosts: list[str], namespace: str = "default", **rules: Any) -> Document[Any]:
        spec = {"hosts": hosts, "gateways": ["default/edge"], **rules}
        return document(Kind.VIRTUAL_SERVICE, name, spec, namespace)

    sni = {"match": [{"port": PORTS["passed"], "sniHosts": ["a.own.example"]}], **to("shop", 9443)}
    cors = {"allowOrigins": [{"exact": "https://page.example"}], "allowMethods": ["GET"]}
    special = {
        "match": [{"uri": {"prefix": "/special"}}],
        **to("shop"),
        "headers": {"request": {"set": {"x-way": "special"}}},
    }
    chosen = {"selector": {"matchLabels": {"app": "edge"}}}
    guarded = {"operation": {"paths": ["/private*"], "ports": [str(PORTS["guarded"])]}}
    private = {"action": "DENY", "rules": [{"to": [guarded]}]}
    slow = {
        "requests": 1,
        "interval": 3600.0,
        "port": PORTS["guarded"],
        "match": {"uri": {"exact": "/slow"}},
    }
    encrypted = [f"{name}.example" for name in ("secure", "mutual", "named", "optional")]
    return [
        document(Kind.GATEWAY, "edge", gateway),
        virtual("a-special", ["shop.example"], http=[special]),
        virtual("b-shop", ["shop.example"], http=[{**to("shop"), "corsPolicy": cors}]),
        virtual(
            "wild", ["*.shop.example"], http=[to("shop", headers={"request": {"set": {"x-way": "wild"}}})]
        ),
        virtual("thief", ["admin.example"], http=[to("shop")]),
        virtual("admin", ["admin.example"], "prod", http=[to("admin")]),
        virtual("encrypted", encrypted, http=[to("shop")]),
        virtual("stream", ["*"], tcp=[{"match": [{"port": PORTS["tcp"]}], **to("shop", 9000)}]),
        virtual("passed", ["a.own.example"], tls=[sni]),
        virtual("ended", ["ended.example"], tcp=[{"match": [{"port": PORTS["ended"]}], **to("shop", 9000)}]),
        document(Kind.KUBERNETES_GATEWAY, "edge", api_gateway()),
        document(Kind.HTTP_ROUTE, "exact", route("plain", ["one.example"], path_rule("/", "shop"))),
        document(Kind.HTTP_ROUTE, "paths", route("wild", ["x.api.example"], path_rule("/deep", "shop"))),
        document(Kind.HTTP_ROUTE, "secure", route("secure", [], path_rule("/", "shop"))),
        virtual("guarded", ["guarded.example"], http=[{**to("shop"), "corsPolicy": cors}]),
        document(Kind.AUTHORIZATION_POLICY, "private", {**chosen, **private}),
        document(Kind.LOCAL_RATE_LIMIT, "slow", {**chosen, "limits": [slow]}),
        document(
            Kind.HTTP_ROUTE,
            "other",
            route("plain", ["two.example"], path_rule("/", "admin"), namespace="default"),
            "prod",
        ),
    ]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder, authority = tmp_path_factory.mktemp("gateway"), Authority()
    PORTS.update(zip(NAMES, free_pairs(len(NAMES), 1), strict=True))
    names = ("secure", "mutual", "named", "optional", "ended")
    site = authority.issue(dns=tuple(f"{name}.example" for name in names))
    own = fixed.server_context(folder, authority.issue(dns=("a.own.example",)))

    def serve_own_tls(connection: Any) -> None:
        with own.wrap_socket(connection, server_side=True) as stream:
            stream.sendall(b"own " + stream.recv(64))

    with Backends() as backends, fixed.application(serve_own_tls) as own_tls:
        shop, admin = backends.add("shop"), backends.add("admin")
        services = {
            SHOP: MeshService(
                SHOP,
                "shop",
                "default",
                (Port(80), Port(9000, Protocol.TCP), Port(9443, Protocol.TLS)),
                (Endpoint("127.0.0.1", shop.port, ports={9000: shop.ports["tcp"], 9443: own_tls}),),
            ),
            ADMIN: MeshService(ADMIN, "admin", "prod", endpoints=(Endpoint("127.0.0.1", admin.port),)),
        }
        istio = {"selector": {"app": "edge"}, "servers": servers(folder, site, authority)}
        world = world_of(services, Choices(access_log="")).with_policies(Policies(documents(istio)))
        client = Client(ClientKind.GATEWAY, "edge", "default", address="127.0.0.1")
        with (
            SecretService(authority, authority.issue(spiffe("edge")), {"edge-cert": site}) as secrets,
            fixed.sidecar(folder, world, client, secrets.path),
        ):
            trusting = client_context(folder, authority, None)
            trusting.check_hostname = True
            known = client_context(folder, authority, authority.issue(dns=("known.example",)))
            other = client_context(folder, authority, authority.issue(dns=("other.example",)))
            stranger = client_context(folder, authority, Authority("x").issue(dns=("known.example",)))
            yield Outside(trusting, known, other, stranger, folder)


def ask(port: str, host: str, path: str = "/", **headers: str) -> fixed.Got:
    return fixed.get(PORTS[port], path, {"host": host, **headers})


def test_a_host_is_served_where_a_server_takes_it_and_a_document_routes_it(outside: Outside) -> None:
    assert ask("http", "shop.example").echo["backend"] == "shop"
    assert ask("http", "shop.example:8080").status == 200
    assert ask("http", "a.shop.example").echo["headers"]["x-way"] == "wild"
    assert ask("http", "unknown.example").status == 404


def test_documents_of_one_host_are_put_one_behind_the_other(outside: Outside) -> None:
    assert ask("http", "shop.example", "/special/x").echo["headers"]["x-way"] == "special"
    assert "x-way" not in ask("http", "shop.example", "/").echo["headers"]


def test_a_server_takes_routes_of_the_namespaces_that_it_names(outside: Outside) -> None:
    assert ask("http", "admin.example").echo["backend"] == "admin"


def test_plain_text_is_redirected_where_the_server_says_so(outside: Outside) -> None:
    got = ask("http", "secure.example", "/a?b=c")
    assert got.status == 301
    assert got.headers["location"] == "https://secure.example/a?b=c"


def test_the_callers_address_and_identity_are_the_gateways_to_say(outside: Outside) -> None:
    headers = {"x-forwarded-client-cert": "URI=spiffe://forged", "x-forwarded-for": "198.51.100.1"}
    seen = ask("http", "shop.example", **headers).echo["headers"]
    assert "x-forwarded-client-cert" not in seen
    forged, own = seen["x-forwarded-for"].split(",")
    assert (forged, own == forged) == ("198.51.100.1", False)


def test_a_browser_is_answered_before_it_shows_who_it_is(outside: Outside) -> None:
    asked = {"origin": "https://page.example", "access-control-request-method": "GET", "host": "shop.example"}
    got = fixed.get(PORTS["http"], "/", asked, method="OPTIONS")
    assert (got.status, got.headers["access-control-allow-origin"]) == (200, "https://page.example")


def https(host: str, context: ssl.SSLContext, asked: str = "") -> fixed.Got:
    return fixed.get(PORTS["https"], "/", {"host": asked or host}, fixed.Named(context, host))


def test_tls_ends_at_the_gateway_by_server_name(outside: Outside) -> None:
    assert https("secure.example", outside.trusting).echo["backend"] == "shop"
    assert https("nobody.example", outside.trusting).status == 0


def test_a_client_certificate_is_asked_for_where_the_server_says_so(outside: Outside) -> None:
    callers = (outside.trusting, outside.known, outside.other, outside.stranger)
    got = {
        host: [https(f"{host}.example", caller).status for caller in callers]
        for host in ("secure", "mutual", "named", "optional")
    }
    assert got == {
        "secure": [200, 200, 200, 200],
        "mutual": [0, 200, 200, 0],
        "named": [0, 200, 0, 0],
        "optional": [200, 200, 200, 0],
    }


def test_a_host_that_asks_for_certificates_cannot_be_had_through_another(outside: Outside) -> None:
    assert https("secure.example", outside.trusting, asked="mutual.example").status == 404


def test_byte_streams_by_port_and_by_server_name(outside: Outside) -> None:
    assert fixed.say(PORTS["tcp"], "hello") == "shop hello"
    assert fixed.say(PORTS["passed"], "hello", outside.trusting, "a.own.example") == "own hello"
    assert fixed.say(PORTS["passed"], "hello", outside.trusting, "b.own.example") == ""
    assert fixed.say(PORTS["ended"], "hello", outside.trusting, "ended.example") == "shop hello"


def test_the_gateway_api_routes_by_listener_host_and_path(outside: Outside) -> None:
    assert ask("api", "one.example").echo["backend"] == "shop"
    assert ask("api", "x.api.example", "/deep/er").echo["backend"] == "shop"
    assert ask("api", "x.api.example", "/").status == 404
    assert ask("api", "y.api.example", "/deep").status == 404


def test_the_gateway_api_keeps_routes_of_other_namespaces_out_unless_allowed(outside: Outside) -> None:
    assert ask("api", "two.example").status == 404


def test_the_gateway_api_takes_its_certificate_from_the_agent(outside: Outside) -> None:
    got = fixed.get(
        PORTS["api_tls"], "/", {"host": "secure.example"}, fixed.Named(outside.trusting, "secure.example")
    )
    assert got.echo["backend"] == "shop"


def test_what_is_in_force_for_the_gateway_is_asked_there(outside: Outside) -> None:
    got = [ask("guarded", "guarded.example", path).status for path in ("/", "/private/x", "/slow", "/slow")]
    assert got == [200, 403, 200, 429]
    assert ask("http", "shop.example", "/private/x").status == 200


def test_a_preflight_needs_no_token(outside: Outside) -> None:
    asked = {
        "origin": "https://page.example",
        "access-control-request-method": "GET",
        "host": "guarded.example",
    }
    got = fixed.get(PORTS["guarded"], "/private/x", asked, method="OPTIONS")
    assert got.status == 200
    assert fixed.get(PORTS["guarded"], "/private/x", {"host": "guarded.example"}).status == 403
