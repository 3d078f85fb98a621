"""The matrix: who may call whom. The service is a workload of the mesh as well: behind an Envoy, or a gRPC server without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.resources.mesh import proxyless
from atoll.resources.mesh.clients import Client, Inbound, Kind
from atoll.resources.mesh.services import Endpoint, Protocol
from tests.conformance.mesh.backends import Backend
from tests.conformance.mesh.case import GRPC_PORT, HTTP_PORT, Case, Rig
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import (
    Answer,
    Caller,
    ClientClass,
    GrpcProgram,
    Request,
    backends_of,
    http_requests,
)
from tests.conformance.mesh.secured import Workloads
from tests.conformance.mesh.test_matrix_resilience import rule
from tests.conformance.mesh.workloads import spiffe
from tests.peers.certificates import make_certificates
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers

CALLER = "teller"
FORBIDDEN = (403, 7)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://issuer.example"


class Vault:
    """The workload ``{vault}`` of one class of client, and ``teller``, who calls it. STRICT unless a test says otherwise."""

    def __init__(self, rig: Rig, client: ClientClass, workloads: Workloads) -> None:
        self.name = f"vault-{client.name.lower().replace('_', '-')}"
        self.port, self.grpc_port = free_ports(2)
        self.is_grpc = client is ClientClass.GRPCIO
        self.backend = rig.backends.add(f"behind.{self.name}")
        if self.is_grpc:
            inbound: tuple[Inbound, ...] = (
                Inbound(self.port, self.port, Protocol.GRPC, service_port=GRPC_PORT),
            )
            self.server: Caller = workloads.proxyless(self._client(Kind.GRPC, inbound), rig.plane)
        else:
            inbound = (
                Inbound(self.port, self.backend.port, Protocol.HTTP, service_port=HTTP_PORT),
                Inbound(self.grpc_port, self.backend.port, Protocol.GRPC, service_port=GRPC_PORT),
            )
            self.server = workloads.sidecar(self._client(Kind.SIDECAR, inbound), client, rig.plane)
        kind = Kind.GRPC if self.is_grpc else Kind.SIDECAR
        told = Client(
            kind, CALLER, "default", extensions=frozenset({proxyless.CERTIFICATES} if self.is_grpc else ())
        )
        self.caller = (
            workloads.proxyless(told, rig.plane)
            if self.is_grpc
            else workloads.sidecar(told, client, rig.plane)
        )
        self.endpoint = Endpoint(
            "127.0.0.1",
            self.port,
            ports={HTTP_PORT: self.port, GRPC_PORT: self.port if self.is_grpc else self.grpc_port},
            mutual_tls=True,
            account=self.name,
        )

    def _client(self, kind: Kind, inbound: tuple[Inbound, ...]) -> Client:
        extensions = frozenset({proxyless.CERTIFICATES} if kind is Kind.GRPC else ())
        return Client(kind, self.name, "default", address="127.0.0.1", inbound=inbound, extensions=extensions)

    def plainly(self) -> Answer:
        """A request past the mesh, without TLS."""
        if not self.is_grpc:
            return http_requests("127.0.0.1", self.port, Request(self.name), 1)[0]
        program = GrpcProgram()
        try:
            return program.call(f"127.0.0.1:{self.port}", Request("", within_s=2.0))[0]
        finally:
            program.close()


class Secured(Case):
    vault: Vault

    def asks(self, **request: Any) -> Answer:
        return self.ask("vault", **request)[0]

    def is_let_in(self, **request: Any) -> None:
        self.until(lambda: self.asks(**request).ok, f"{request or 'a request'} to be let in")

    def is_refused(self, **request: Any) -> None:
        self.until(
            lambda: self.asks(**request).status in FORBIDDEN, f"{request or 'a request'} to be refused"
        )

    def policy(self, text: str) -> None:
        self.apply(f"{METADATA.replace('KIND', 'AuthorizationPolicy')}  {text}")


METADATA = """
apiVersion: security.istio.io/v1
kind: KIND
metadata: {name: "{vault}"}
spec:
  selector: {matchLabels: {app: "{vault}"}}
"""
STRICT = METADATA.replace("KIND", "PeerAuthentication") + "  mtls: {mode: STRICT}\n"


@pytest.fixture(scope="module")
def vaults(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made: dict[ClientClass, Vault] = {}
    with ExitStack() as stack:
        workloads = stack.enter_context(Workloads(tmp_path_factory.mktemp("secured")))

        def vault(client: ClientClass) -> Vault:
            if client not in made:
                made[client] = Vault(rig, client, workloads)
            return made[client]

        yield vault


@pytest.fixture(params=list(ClientClass), ids=lambda each: each.name.lower())
def case(request: pytest.FixtureRequest, rig: Rig, vaults: Any) -> Iterator[Secured]:
    one = Secured(rig, request.param)
    one.vault = vaults(request.param)
    one.caller = one.vault.caller
    one.names["vault"] = one.vault.name
    one.apply(STRICT)
    one.service("vault", one.vault.endpoint)
    one.is_let_in()
    yield one
    one.close()


@row("Security", "mutual TLS: both prove who they are, plain text is refused (STRICT)")
def test_strict(case: Secured) -> None:
    answer = case.asks()
    proved = answer.echo["peers"] if case.is_grpc else [answer.echo["headers"]["x-forwarded-client-cert"]]
    assert any(spiffe(CALLER) in each for each in proved)
    assert not case.vault.plainly().ok


@row("Security", "PERMISSIVE: plain text and the mesh's TLS on one port")
def test_permissive(case: Secured) -> None:
    case.apply(STRICT.replace("STRICT", "PERMISSIVE"))
    case.until(lambda: case.vault.plainly().ok, "plain text to be taken")
    tls_alone = not case.asks().ok
    assert tls_alone is case.differs(Differs.PERMISSIVE)
    case.apply(STRICT)
    case.until(lambda: not case.vault.plainly().ok, "plain text to be refused")


@row("Security", "a server that proves to be somebody else is not called")
def test_impostor(case: Secured) -> None:
    at_vault = Endpoint("127.0.0.1", case.vault.port, mutual_tls=True, account="somebody")
    case.service("impostor", at_vault)
    port = GRPC_PORT if case.is_grpc else HTTP_PORT
    asked = Request(f"{case.names['impostor']}:{port}", within_s=2.0)
    not_heard_of = 502
    answer = case.until(
        lambda: next((each for each in case.caller.ask(asked) if each.status != not_heard_of), None),
        "an answer",
    )
    assert answer.status in (503, 14), answer
    case.service("impostor", msgspec.structs.replace(at_vault, account=case.vault.name))
    case.until(lambda: case.ask("impostor")[0].ok, "it to be called under the name that it proves")


@row("Security", "authorisation by principal")
def test_principal(case: Secured) -> None:
    who = "action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/%s]}}]}]"
    case.policy(_fields(who % "nobody"))
    case.is_refused()
    case.policy(_fields(who % CALLER))
    case.is_let_in()


@row("Security", "authorisation by namespace")
def test_namespace(case: Secured) -> None:
    case.policy(_fields("action: DENY, rules: [{from: [{source: {namespaces: [default]}}]}]"))
    case.is_refused()
    case.policy(_fields("action: DENY, rules: [{from: [{source: {namespaces: [other]}}]}]"))
    case.is_let_in()


@row("Security", "authorisation by path and header: refusals before permissions")
def test_path(case: Secured) -> None:
    case.policy(_fields("action: DENY, rules: [{to: [{operation: {paths: [/atoll.test.Admin/*]}}]}]"))
    case.is_refused(path="/atoll.test.Admin/Drop")
    assert case.asks().ok
    case.policy(_fields("action: DENY, rules: [{when: [{key: 'request.headers[x-old]', values: [y]}]}]"))
    case.is_refused(headers={"x-old": "y"})
    assert case.asks().ok


def _fields(text: str) -> str:
    """``a: 1, b: 2`` as lines of a spec."""
    action, _, rest = text.partition(", rules: ")
    return f"{action}\n  rules: {rest}\n"


def token(**claims: Any) -> dict[str, str]:
    made = jwt.encode({"iss": ISSUER, "sub": "ann", **claims}, KEY, algorithm="RS256", headers={"kid": "a"})
    return {"authorization": f"Bearer {made}"}


def tokens() -> str:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    keys = json.dumps({"keys": [{**key, "kid": "a", "alg": "RS256"}]})
    return (
        METADATA.replace("KIND", "RequestAuthentication")
        + f"  jwtRules: [{{issuer: '{ISSUER}', jwks: '{keys}'}}]\n"
    )


@row("Security", "JSON Web Tokens: a wrong one is refused, a rule may demand one and its claims")
def test_tokens(case: Secured) -> None:
    demands = _fields(
        "action: ALLOW, rules: [{from: [{source: {requestPrincipals: ['*']}}], "
        "when: [{key: 'request.auth.claims[group]', values: [staff]}]}]"
    )
    case.apply(tokens())
    case.policy(demands)
    case.is_refused()
    if case.differs(Differs.FILTERS):
        assert case.asks(headers=token(group="staff")).status in FORBIDDEN
        return
    case.is_let_in(headers=token(group="staff"))
    assert case.asks(headers=token(group="guest")).status == 403
    forged = {name: value[:-8] + "AAAAAAAA" for name, value in token(group="staff").items()}
    assert case.asks(headers=forged).status == 401


@row("Security", "local rate limit")
def test_rate_limit(case: Secured) -> None:
    case.apply(
        """
apiVersion: atoll/v1
kind: LocalRateLimit
metadata: {name: "{vault}"}
spec:
  selector: {matchLabels: {app: "{vault}"}}
  limits:
  - {requests: 3, interval: 60s, match: {headers: {x-many: {exact: "y"}}}}
"""
    )
    many = {"x-many": "y"}
    if case.differs(Differs.FILTERS):
        assert backends_of(case.ask("vault", count=20, headers=many)) == {"vault": 20}
        return
    case.until(lambda: case.asks(headers=many).status == 429, "requests to be too many")
    assert case.asks().ok


@row("Security", "TLS towards outside: a server that is not of the mesh")
def test_origination(case: Secured, tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    outside: Backend = case.rig.backends.add_https(
        f"outside.{case.vault.name}", files.server_cert, files.server_key
    )
    case.named("reviews")
    case.apply(
        rule(
            f"{{tls: {{mode: SIMPLE, caCertificates: '{files.ca}', sni: localhost, subjectAltNames: [localhost]}}}}"
        )
    )
    case.service("reviews", Endpoint("127.0.0.1", outside.port))
    if case.differs(Differs.TLS_ORIGINATION):
        assert case.ask(within_s=2.0)[0].status == 14
    else:
        case.reaches("outside")
