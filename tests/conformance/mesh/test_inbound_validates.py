"""What the inbound compiler makes of every field that it knows, judged by the real Envoy's own validation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile
from atoll.resources.mesh.clients import Capture, Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.services import Protocol
from tests.conformance.mesh import static_form
from tests.conformance.mesh.documents import document

pytestmark = pytest.mark.peers

KEY = {"kty": "oct", "alg": "HS256", "kid": "one", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}
SOURCE = {
    "principals": ["cluster.local/ns/default/sa/x", "*/sa/y", "cluster.local/ns/z/*", "*"],
    "notPrincipals": ["cluster.local/ns/default/sa/w"],
    "namespaces": ["prod", "pre-*"],
    "notNamespaces": ["dev"],
    "requestPrincipals": ["*", "https://issuer/sub", "https://issuer/*", "*/sub", "nobody"],
    "notRequestPrincipals": ["a/b"],
    "serviceAccounts": ["foo", "other/bar"],
    "ipBlocks": ["10.0.0.0/8", "::1"],
    "remoteIpBlocks": ["192.168.7.7"],
}
OPERATION = {
    "paths": ["/a/*", "*.html", "/b/{*}/c", "/d/{**}", "*"],
    "notPaths": ["/a/private"],
    "methods": ["GET", "P*"],
    "ports": ["8080"],
    "notPorts": ["1"],
    "hosts": ["*.example.org", "Example.org"],
    "notHosts": ["bad.example.org"],
}
CONDITIONS = [
    {"key": "request.headers[x-version]", "values": ["1*"], "notValues": ["13"]},
    {"key": "request.auth.claims[realm][roles]", "values": ["admin"]},
    {"key": "request.auth.audiences", "values": ["a"]},
    {"key": "request.auth.presenter", "values": ["p"]},
    {"key": "request.auth.principal", "notValues": ["i/s"]},
    {"key": "source.ip", "values": ["10.0.0.0/8"]},
    {"key": "remote.ip", "notValues": ["10.1.0.0/16"]},
    {"key": "source.namespace", "values": ["default"]},
    {"key": "source.principal", "values": ["*"]},
    {"key": "source.serviceAccount", "values": ["default/x"]},
    {"key": "destination.ip", "values": ["127.0.0.1"]},
    {"key": "destination.port", "values": ["8080"]},
    {"key": "connection.sni", "notValues": ["b"]},
]
TOKENS = [
    {
        "issuer": "https://issuer",
        "jwksUri": "https://issuer.example/keys",
        "audiences": ["a"],
        "fromHeaders": [{"name": "x-token", "prefix": "Token "}],
        "fromParams": ["token"],
        "fromCookies": ["token"],
        "outputPayloadToHeader": "x-payload",
        "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}],
        "forwardOriginalToken": True,
        "timeout": 2.0,
    },
    {"issuer": "other", "jwks": json.dumps({"keys": [KEY]})},
    {"issuer": "plain", "jwksUri": "http://127.0.0.1:8081/keys"},
]
LIMITS = [
    {"requests": 3, "match": {"uri": {"exact": "/x"}, "headers": {"a": {}}}},
    {"requests": 4, "match": {"uri": {"regex": "/y.*"}, "method": {"exact": "POST"}}, "burst": 8},
    {"requests": 5, "status": 503, "interval": 0.5},
]
TELEMETRY = {
    "tracing": [
        {
            "randomSamplingPercentage": 50.0,
            "customTags": {
                "header": {"header": {"name": "x"}},
                "literal": {"literal": {"value": "v"}},
                "environment": {"environment": {"name": "HOME", "defaultValue": "d"}},
            },
        }
    ],
    "accessLogging": [
        {"filter": {"expression": "response.code >= 400 && response.duration < 0 || response.code != 200"}}
    ],
}
RULE = {"from": [{"source": SOURCE}], "to": [{"operation": OPERATION}], "when": CONDITIONS}
DOCUMENTS = [
    document(Kind.AUTHORIZATION_POLICY, "deny", {"action": "DENY", "rules": [RULE]}),
    document(Kind.AUTHORIZATION_POLICY, "allow", {"rules": [RULE, {}]}),
    document(Kind.AUTHORIZATION_POLICY, "audit", {"action": "AUDIT", "rules": [{}]}),
    document(Kind.AUTHORIZATION_POLICY, "dry", {"rules": [RULE]}, annotations={"istio.io/dry-run": "true"}),
    document(Kind.REQUEST_AUTHENTICATION, "tokens", {"jwtRules": TOKENS}),
    document(Kind.LOCAL_RATE_LIMIT, "limits", {"limits": LIMITS}),
    document(Kind.TELEMETRY, "telemetry", TELEMETRY),
]
PORTS = (
    Inbound(8080, 18080),
    Inbound(9090, 19090, Protocol.TCP),
    Inbound(9091, 0, Protocol.GRPC, app_path="app.sock"),
    Inbound(9092, 19092, Protocol.TLS),
)


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
@pytest.mark.parametrize("capture", list(Capture))
def test_envoy_takes_every_field(capture: Capture, mode: str, tmp_path: Path) -> None:
    peers = document(Kind.PEER_AUTHENTICATION, "peers", {"mtls": {"mode": mode}})
    world = world_of({}, Choices(otlp="127.0.0.1:4317", access_log=str(tmp_path / "access.log")))
    world = world.with_policies(Policies([*DOCUMENTS, peers]))
    client = Client(ClientKind.SIDECAR, "reviews", "default", capture=capture, inbound=PORTS)
    compiled = compile(world, client, Memo())
    assert compiled.problems == ()
    names = [name for name in compiled.snapshot.listeners if "inbound" in name]
    assert len(names) == (1 if capture is Capture.REDIRECT else len(PORTS))
    assert static_form.validate(compiled.snapshot, tmp_path) == ""
