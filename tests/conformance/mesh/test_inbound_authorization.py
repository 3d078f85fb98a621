"""Who gets through to a workload: ``AuthorizationPolicy`` and ``RequestAuthentication`` before real requests.

Each workload here is one case: its documents are chosen by its label ``app``, its port is its own, and all of them are
listeners of one Envoy.
"""

from __future__ import annotations

import dataclasses
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.resources.mesh.clients import Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import Protocol
from tests.conformance.mesh import fixed
from tests.conformance.mesh.backends import Backends, Reply
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.workloads import Authority, SecretService, client_context, spiffe
from tests.peers.envoy import Admin
from tests.peers.ports import free_pairs

pytestmark = pytest.mark.peers

ISSUER, OTHER, REMOTE = "https://issuer.example", "other", "remote"
_KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("a", "b", "c")}


def key_set(name: str) -> str:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_KEYS[name].public_key()))
    return json.dumps({"keys": [{**key, "kid": name, "alg": "RS256", "use": "sig"}]})


def token(claims: Mapping[str, Any], key: str = "a") -> str:
    return jwt.encode(dict(claims), _KEYS[key], algorithm="RS256", headers={"kid": key})


def rules(*of: Mapping[str, Any], action: str = "ALLOW") -> dict[str, Any]:
    return {"action": action, "rules": list(of)}


def sources(**fields: Any) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def operations(**fields: Any) -> dict[str, Any]:
    return {"to": [{"operation": fields}]}


def when(key: str, *values: str) -> dict[str, Any]:
    return {"when": [{"key": key, "values": list(values)}]}


TOKENS = {"jwtRules": [{"issuer": ISSUER, "jwks": key_set("a"), "audiences": ["shop"]}]}

# Workload: its authorisation policies, each by its own document.
POLICIES: Mapping[str, list[dict[str, Any]]] = {
    "open": [],
    "closed": [{}],
    "everybody": [rules({})],
    "deny-wins": [rules({}), rules(operations(paths=["/admin*"]), action="DENY")],
    "principals": [rules(sources(principals=["cluster.local/ns/default/sa/caller"]))],
    "namespaces": [rules(sources(namespaces=["prod"]))],
    "accounts": [rules(sources(serviceAccounts=["caller", "prod/batch"]))],
    "authenticated": [rules(sources(principals=["*"]))],
    "not-principals": [rules(sources(notPrincipals=["cluster.local/ns/default/sa/caller"]))],
    "paths": [rules(operations(paths=["/exact", "/prefix/*", "*.html", "/books/{*}/pages", "/deep/{**}"]))],
    "methods": [rules(operations(methods=["GET", "HEAD"]))],
    "hosts": [rules(operations(hosts=["Shop.example", "*.internal"]))],
    "headers": [rules(when("request.headers[x-version]", "v1*"))],
    "own-port": [rules(operations(ports=["PORT"]))],
    "service-port": [rules(operations(ports=["80"]))],
    "other-port": [rules(operations(ports=["1"]))],
    "networks": [rules(sources(ipBlocks=["127.0.0.0/8"]))],
    "other-networks": [rules(sources(notIpBlocks=["127.0.0.0/8"]))],
    "both": [rules({**sources(namespaces=["default"]), **operations(methods=["POST"])})],
    "tokens": [],
    "users": [rules(sources(requestPrincipals=["*"]))],
    "one-user": [rules(sources(requestPrincipals=[f"{ISSUER}/alice"]))],
    "issuers-users": [rules(sources(requestPrincipals=[f"{ISSUER}/*"]))],
    "roles": [rules(when("request.auth.claims[realm][roles]", "admin"))],
    "scopes": [rules(when("request.auth.claims[scope]", "write"))],
    "audiences": [rules(when("request.auth.audiences", "shop"))],
    "no-token-refused": [rules(sources(notRequestPrincipals=["*"]), action="DENY")],
    "audited": [rules(operations(paths=["/watched"]), action="AUDIT")],
    "tried": [],
    "stream": [rules(sources(principals=["cluster.local/ns/default/sa/caller"]))],
    "stream-asks-http": [rules(operations(methods=["GET"]))],
    "stream-denies-http": [rules(operations(methods=["GET"]), action="DENY")],
    "stream-closed": [{}],
}
STREAMS = {name for name in POLICIES if name.startswith("stream")}
PORTS: dict[str, int] = {}
WITH_TOKENS = (
    *("tokens", "users", "one-user", "issuers-users", "roles", "scopes", "audiences", "no-token-refused"),
)


def documents(keys_port: int) -> list[Document[Any]]:
    found = []
    for name, policies in POLICIES.items():
        chosen = {"selector": {"matchLabels": {"app": name}}}
        for position, policy in enumerate(policies):
            text = json.dumps(policy).replace('"PORT"', f'"{PORTS[name]}"')
            spec = {**chosen, **json.loads(text)}
            found.append(document(Kind.AUTHORIZATION_POLICY, f"{name}-{position}", spec))
        if name in WITH_TOKENS:
            found.append(document(Kind.REQUEST_AUTHENTICATION, name, {**chosen, **TOKENS}))
    several = {
        "selector": {"matchLabels": {"app": "tokens"}},
        "jwtRules": [
            {
                "issuer": OTHER,
                "jwks": key_set("b"),
                "fromHeaders": [{"name": "x-token", "prefix": "Token "}],
                "fromParams": ["t"],
                "fromCookies": ["session"],
                "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
                "outputPayloadToHeader": "x-payload",
                "forwardOriginalToken": True,
            },
            {"issuer": REMOTE, "jwksUri": f"http://127.0.0.1:{keys_port}/keys"},
        ],
    }
    found.append(document(Kind.REQUEST_AUTHENTICATION, "several", several))
    tried = {"selector": {"matchLabels": {"app": "tried"}}, "rules": [operations(paths=["/ok"])]}
    dry = {"istio.io/dry-run": "true"}
    return [*found, document(Kind.AUTHORIZATION_POLICY, "tried", tried, annotations=dry)]


@dataclasses.dataclass(frozen=True)
class Mesh:
    admin: Admin
    log: Path


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def peers(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("peers")
    ids = {"caller": spiffe("caller"), "other": spiffe("other"), "batch": spiffe("batch", "prod")}
    return {
        name: client_context(folder, authority, authority.issue(uri), "istio", "http/1.1")
        for name, uri in ids.items()
    }


@pytest.fixture(scope="module", autouse=True)
def mesh(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("sidecars")
    PORTS.update(zip(POLICIES, free_pairs(len(POLICIES), 1), strict=True))
    log = folder / "access.log"
    with Backends() as backends:
        app, keys = backends.add("app"), backends.add("keys")
        keys.behave = lambda seen: Reply(content=key_set("c").encode())
        world = world_of({}, Choices(access_log=str(log))).with_policies(Policies(documents(keys.port)))
        clients = []
        for name, port in PORTS.items():
            inbound = (
                Inbound(port, app.ports["tcp"], Protocol.TCP)
                if name in STREAMS
                else Inbound(port, app.port, service_port=80)
            )
            clients.append(
                Client(ClientKind.SIDECAR, name, "default", address="127.0.0.1", inbound=(inbound,))
            )
        with (
            SecretService(authority, authority.issue(spiffe("any"))) as secrets,
            fixed.sidecars(folder, world, clients, secrets.path) as admin,
        ):
            yield Mesh(admin, log)


Peers = Mapping[str, ssl.SSLContext]
PLAIN = ""


def status(
    name: str, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET", tls: Any = None
) -> int:
    return fixed.get(PORTS[name], path, headers, tls, method).status


@pytest.mark.parametrize(("name", "expected"), [("open", 200), ("closed", 403), ("everybody", 200)])
def test_without_a_policy_all_is_allowed_and_without_a_rule_nothing(name: str, expected: int) -> None:
    assert status(name) == expected


def test_what_is_denied_is_refused_whatever_allows_it() -> None:
    assert [status("deny-wins", path) for path in ("/", "/admin", "/administration")] == [200, 403, 403]


@pytest.mark.parametrize("path", ["/x/../admin", "/admin/./x", "/%61dmin", "/admin?x=/public"])
def test_another_spelling_of_a_path_does_not_get_past_a_denial(path: str) -> None:
    assert status("deny-wins", path) == 403


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("principals", {"caller"}),
        ("namespaces", {"batch"}),
        ("accounts", {"caller", "batch"}),
        ("authenticated", {"caller", "other", "batch"}),
        ("not-principals", {PLAIN, "other", "batch"}),
    ],
)
def test_by_identity(name: str, allowed: set[str], peers: Peers) -> None:
    got = {peer: status(name, tls=peers.get(peer)) for peer in (PLAIN, *peers)}
    assert got == {peer: 200 if peer in allowed else 403 for peer in got}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/exact", 200),
        ("/exact?query=/other", 200),
        ("/exactly", 403),
        ("/prefix/a/b", 200),
        ("/prefix", 403),
        ("/x/y.html", 200),
        ("/books/7/pages", 200),
        ("/books/7/8/pages", 403),
        ("/deep/a/b/c", 200),
        ("/", 403),
    ],
)
def test_by_path(path: str, expected: int) -> None:
    assert status("paths", path) == expected


def test_by_method_host_and_header() -> None:
    assert [status("methods", method=method) for method in ("GET", "POST")] == [200, 403]
    hosts = ("shop.example", "SHOP.EXAMPLE", "a.internal", "shop.example.org")
    assert [status("hosts", headers={"host": host}) for host in hosts] == [200, 200, 200, 403]
    assert [status("headers", headers={"x-version": value}) for value in ("v1.2", "v2")] == [200, 403]
    assert status("headers") == 403


def test_by_port_as_called_and_as_the_services() -> None:
    assert [status(name) for name in ("own-port", "service-port", "other-port")] == [200, 200, 403]


def test_by_the_callers_network() -> None:
    assert [status(name) for name in ("networks", "other-networks")] == [200, 403]


def test_a_rule_asks_for_all_its_parts(peers: Peers) -> None:
    caller = peers["caller"]
    assert status("both", method="POST", tls=caller) == 200
    assert status("both", method="GET", tls=caller) == 403
    assert status("both", method="POST", tls=peers["batch"]) == 403
    assert status("both", method="POST") == 403


def bearer(claims: Mapping[str, Any], key: str = "a") -> dict[str, str]:
    return {"authorization": f"Bearer {token(claims, key)}"}


ALICE = {"iss": ISSUER, "sub": "alice", "aud": "shop", "exp": 9_999_999_999}


@pytest.mark.parametrize(
    ("claims", "key", "expected"),
    [
        (ALICE, "a", 200),
        ({**ALICE, "aud": ["x", "shop"]}, "a", 200),
        (ALICE, "b", 401),
        ({**ALICE, "iss": "nobody"}, "a", 401),
        ({**ALICE, "exp": 1_000_000_000}, "a", 401),
        ({**ALICE, "aud": "other"}, "a", 403),
    ],
    ids=["valid", "audiences", "forged", "unknown-issuer", "expired", "other-audience"],
)
def test_a_token_that_does_not_hold_is_refused(claims: dict[str, Any], key: str, expected: int) -> None:
    got = fixed.get(PORTS["tokens"], headers=bearer(claims, key))
    assert got.status == expected, got.body


def test_a_request_without_a_token_passes_and_is_nobody() -> None:
    assert status("tokens") == 200
    assert status("users") == 403
    assert status("no-token-refused") == 403
    for name in ("users", "no-token-refused"):
        assert status(name, headers=bearer(ALICE)) == 200


@pytest.mark.parametrize("name", ["one-user", "issuers-users"])
def test_by_a_tokens_principal(name: str) -> None:
    assert status(name, headers=bearer(ALICE)) == 200
    assert status(name, headers=bearer({**ALICE, "sub": "bob"})) == (403 if name == "one-user" else 200)


def test_by_claims() -> None:
    realm = {**ALICE, "realm": {"roles": ["user", "admin"]}}
    assert status("roles", headers=bearer(realm)) == 200
    assert status("roles", headers=bearer({**ALICE, "realm": {"roles": ["user"]}})) == 403
    assert status("scopes", headers=bearer({**ALICE, "scope": "read write"})) == 200
    assert status("scopes", headers=bearer({**ALICE, "scope": "read writer"})) == 403
    assert status("audiences", headers=bearer({**ALICE, "aud": ["x", "shop"]})) == 200


def test_tokens_of_several_issuers_from_several_places() -> None:
    other = token({"iss": OTHER, "sub": "bob"}, "b")
    for headers in ({"x-token": f"Token {other}"}, {"cookie": f"session={other}"}):
        got = fixed.get(PORTS["tokens"], headers=headers)
        assert (got.status, got.echo["headers"]["x-user"]) == (200, "bob")
        assert "x-payload" in got.echo["headers"]
    assert status("tokens", f"/?t={other}") == 200
    assert status("tokens", headers={"x-token": f"Token {token({'iss': OTHER, 'sub': 'bob'}, 'a')}"}) == 401


def test_keys_are_fetched_from_where_the_document_says() -> None:
    assert status("tokens", headers=bearer({"iss": REMOTE, "sub": "carol"}, "c")) == 200
    assert status("tokens", headers=bearer({"iss": REMOTE, "sub": "carol"}, "a")) == 401


def test_an_audited_request_is_marked_in_the_access_log(mesh: Mesh) -> None:
    assert [status("audited", path) for path in ("/watched", "/unwatched")] == [200, 200]

    def lines() -> dict[str, Any]:
        found = fixed.log_lines(mesh.log, 1)
        return {line["path"]: line.get("audited") for line in found if "watched" in line.get("path", "")}

    mesh.admin.wait(lambda _: len(lines()) == 2, "both requests in the access log")
    assert lines() == {"/watched": True, "/unwatched": False}


def test_a_policy_on_trial_counts_and_lets_through(mesh: Mesh) -> None:
    assert [status("tried", path) for path in ("/ok", "/refused")] == [200, 200]
    prefix = f"http.inbound_{PORTS['tried']}.rbac.dry_run_allow"
    counted = [mesh.admin.stat(f"{prefix}.shadow_{what}") for what in ("allowed", "denied")]
    assert counted == [1, 1]


def test_by_identity_over_a_byte_stream(peers: Peers) -> None:
    assert fixed.say(PORTS["stream"], "hello", peers["caller"]) == "app hello"
    assert fixed.say(PORTS["stream"], "hello", peers["other"]) == ""
    assert fixed.say(PORTS["stream"], "hello") == ""


@pytest.mark.parametrize("name", ["stream-asks-http", "stream-denies-http", "stream-closed"])
def test_in_doubt_a_byte_stream_is_refused(name: str, peers: Peers) -> None:
    """What asks for a method neither allows a stream nor leaves one that it would deny alone."""
    assert fixed.say(PORTS[name], "hello", peers["caller"]) == ""
