"""What the outbound compiler makes, judged by the real Envoy's own validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, Unknown, World, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile
from atoll.resources.mesh.clients import Capture, Client, Outbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol
from tests.conformance.mesh import static_form
from tests.conformance.mesh.documents import document

pytestmark = pytest.mark.peers

DOMAIN = "default.svc.cluster.local"
REVIEWS = MeshService(
    f"reviews.{DOMAIN}",
    "reviews",
    "default",
    ports=(Port(9080), Port(9090, Protocol.GRPC, "grpc")),
    endpoints=(
        Endpoint("127.0.0.1", 4001, labels={"version": "v1"}, locality=Locality("r", "z1"), mutual_tls=True),
        Endpoint("127.0.0.1", 4002, ports={9090: 4003}, healthy=False, locality=Locality("r", "z2")),
        Endpoint("", 0, path="app.sock"),
    ),
)
RATINGS = MeshService(f"ratings.{DOMAIN}", "ratings", "default", addresses=("10.0.0.7",))
STORE = MeshService(
    f"store.{DOMAIN}",
    "store",
    "default",
    ports=(Port(6000, Protocol.TCP), Port(6443, Protocol.TLS)),
    endpoints=(Endpoint("127.0.0.1", 4005),),
)
SERVICES = {one.host: one for one in (REVIEWS, RATINGS, STORE)}
CLIENT = Client(
    ClientKind.SIDECAR,
    "productpage",
    "default",
    labels={"tier": "web"},
    locality=Locality("r", "z1"),
    outbound=(
        Outbound("store", 6000, port=16000),
        Outbound("store", 6443, path="store.sock"),
        Outbound("ratings", 80, port=18080),
    ),
)

RULES: list[Mapping[str, Any]] = [
    {
        "name": "everything-about-a-match",
        "match": [
            {
                "uri": {"prefix": "/a"},
                "ignoreUriCase": True,
                "method": {"exact": "GET"},
                "scheme": {"exact": "http"},
                "authority": {"prefix": "reviews"},
                "headers": {"x-user": {"exact": "jason"}, "x-any": {}, "x-like": {"regex": "a.*"}},
                "withoutHeaders": {"x-not": {"prefix": "b"}, "x-gone": {}},
                "queryParams": {"q": {"exact": "1"}, "r": {"regex": "[0-9]+"}, "s": {}},
                "port": 9080,
                "sourceLabels": {"tier": "web"},
            },
            {"uri": {"regex": "/b/.*"}},
        ],
        "route": [
            {
                "destination": {"host": "reviews", "subset": "v1"},
                "weight": 90,
                "headers": {"request": {"set": {"x-leg": "100%"}}, "response": {"remove": ["x-secret"]}},
            },
            {"destination": {"host": "reviews.default", "subset": "v2"}, "weight": 10},
        ],
        "timeout": 1.5,
        "retries": {"attempts": 3, "perTryTimeout": 0.5, "retryOn": "5xx,reset,409", "backoff": 0.025},
        "mirrors": [{"destination": {"host": "ratings"}, "percentage": {"value": 12.5}}],
        "fault": {
            "delay": {"fixedDelay": 0.1, "percentage": {"value": 10}},
            "abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 0.1}},
        },
        "corsPolicy": {
            "allowOrigins": [{"exact": "https://example.com"}, {"regex": "https://.*"}],
            "allowMethods": ["GET", "POST"],
            "maxAge": 3600,
            "allowCredentials": True,
            "unmatchedPreflights": "IGNORE",
        },
        "headers": {"request": {"add": {"x-added": "1"}, "set": {"host": "other.example"}}},
    },
    {
        "match": [{"uri": {"exact": "/old"}}],
        "rewrite": {"uri": "/new", "authority": "new.example"},
        "route": [{"destination": {"host": "reviews"}}],
    },
    {
        "match": [{"uri": {"prefix": "/re"}}],
        "rewrite": {"uriRegexRewrite": {"match": "^/re/(.*)", "rewrite": "/\\1"}},
        "route": [{"destination": {"host": "reviews", "port": {"number": 9080}}}],
        "retries": {"attempts": 2, "retryRemoteLocalities": True, "retryIgnorePreviousHosts": False},
    },
    {
        "match": [{"uri": {"prefix": "/go"}}],
        "redirect": {"uri": "/gone", "scheme": "https", "redirectCode": 308},
    },
    {"match": [{"uri": {"prefix": "/no"}}], "directResponse": {"status": 418, "body": {"bytes": "AAEC"}}},
    {"route": [{"destination": {"host": "reviews"}}], "retries": {"attempts": 0}},
]
POLICY: Mapping[str, Any] = {
    "loadBalancer": {
        "consistentHash": {"httpCookie": {"name": "user", "ttl": 60}, "ringHash": {"minimumRingSize": 128}},
        "localityLbSetting": {"distribute": [{"from": "r/*", "to": {"r/z1": 80, "r/z2": 20}}]},
    },
    "connectionPool": {
        "tcp": {
            "maxConnections": 10,
            "connectTimeout": 0.5,
            "tcpKeepalive": {"time": 30, "interval": 5, "probes": 3},
            "maxConnectionDuration": 600,
        },
        "http": {
            "http1MaxPendingRequests": 5,
            "http2MaxRequests": 50,
            "maxRequestsPerConnection": 100,
            "idleTimeout": 60,
            "h2UpgradePolicy": "UPGRADE",
            "maxConcurrentStreams": 20,
        },
    },
    "outlierDetection": {
        "consecutive5xxErrors": 3,
        "consecutiveGatewayErrors": 2,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 4,
        "interval": 1,
        "baseEjectionTime": 5,
        "maxEjectionPercent": 50,
        "minHealthPercent": 30,
    },
    "retryBudget": {"percent": 10, "minRetryConcurrency": 1},
}
SUBSETS = [
    {"name": "v1", "labels": {"version": "v1"}},
    {
        "name": "v2",
        "labels": {"version": "v2"},
        "trafficPolicy": {
            "loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": 30, "aggression": 1.5}},
            "tls": {"mode": "ISTIO_MUTUAL"},
        },
    },
]
HTTP_ROUTE: Mapping[str, Any] = {
    "parentRefs": [{"group": "", "kind": "Service", "name": "ratings", "port": 80}],
    "rules": [
        {
            "matches": [
                {
                    "path": {"type": "Exact", "value": "/exact"},
                    "method": "POST",
                    "headers": [{"name": "x-a", "value": "1"}],
                    "queryParams": [{"name": "q", "value": "a+", "type": "RegularExpression"}],
                },
                {"path": {"value": "/prefix"}},
                {"path": {"type": "RegularExpression", "value": "/r[0-9]+"}},
            ],
            "filters": [
                {
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": {"set": [{"name": "x-b", "value": "2"}], "remove": ["x-c"]},
                },
                {
                    "type": "RequestMirror",
                    "requestMirror": {"backendRef": {"name": "reviews", "port": 9080}, "percent": 5},
                },
                {"type": "CORS", "cors": {"allowOrigins": ["https://*.example.com"], "maxAge": 10}},
            ],
            "backendRefs": [
                {"name": "ratings", "port": 80, "weight": 3},
                {"name": "reviews", "port": 9080, "weight": 1},
            ],
            "timeouts": {"request": 3, "backendRequest": 1},
            "retry": {"codes": [500, 503], "attempts": 2, "backoff": 0.1},
        },
        {
            "matches": [{"path": {"value": "/moved"}}],
            "filters": [
                {
                    "type": "RequestRedirect",
                    "requestRedirect": {
                        "hostname": "example.com",
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
                        "statusCode": 301,
                    },
                }
            ],
        },
        {
            "matches": [{"path": {"value": "/rewritten"}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {
                        "hostname": "inner",
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"},
                    },
                }
            ],
            "backendRefs": [{"name": "ratings", "port": 80}],
        },
    ],
}
DOCUMENTS: list[Document[Any]] = [
    document(Kind.VIRTUAL_SERVICE, "reviews", {"hosts": ["reviews"], "http": RULES}),
    document(
        Kind.VIRTUAL_SERVICE,
        "store",
        {
            "hosts": ["store"],
            "tls": [
                {
                    "match": [{"sniHosts": ["a.example", "*.b.example"], "port": 6443}],
                    "route": [{"destination": {"host": "store", "port": {"number": 6443}}}],
                }
            ],
            "tcp": [
                {
                    "match": [{"port": 6000}],
                    "route": [
                        {"destination": {"host": "store", "port": {"number": 6000}}, "weight": 1},
                        {"destination": {"host": "store", "port": {"number": 6443}}, "weight": 3},
                    ],
                }
            ],
        },
    ),
    document(
        Kind.VIRTUAL_SERVICE,
        "virtual",
        {"hosts": ["shop.example"], "http": [{"route": [{"destination": {"host": "ratings"}}]}]},
    ),
    document(
        Kind.DESTINATION_RULE,
        "reviews",
        {"host": "reviews", "trafficPolicy": POLICY, "subsets": SUBSETS},
    ),
    document(
        Kind.DESTINATION_RULE,
        "ratings",
        {
            "host": "*.default.svc.cluster.local",
            "trafficPolicy": {
                "loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {}}},
                "connectionPool": {"http": {"useClientProtocol": True, "maxRetries": 7}},
            },
        },
    ),
    document(Kind.HTTP_ROUTE, "ratings", HTTP_ROUTE),
    document(
        Kind.GRPC_ROUTE,
        "ratings",
        {
            "parentRefs": [{"group": "", "kind": "Service", "name": "ratings"}],
            "rules": [
                {
                    "matches": [
                        {"method": {"service": "shop.Cart", "method": "Add"}},
                        {"method": {"service": "shop.Cart"}},
                        {"method": {"method": "Get"}},
                        {"method": {"type": "RegularExpression", "service": "shop\\..*"}},
                    ],
                    "backendRefs": [{"name": "reviews", "port": 9090}],
                }
            ],
        },
    ),
    document(
        Kind.SERVICE_ENTRY,
        "outside",
        {
            "hosts": ["api.example", "*.wild.example"],
            "ports": [
                {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443},
                {"number": 8443, "name": "tls", "protocol": "TLS"},
            ],
            "resolution": "DNS",
            "endpoints": [{"address": "localhost", "locality": "r/z", "weight": 3}],
            "subjectAltNames": ["api.example"],
        },
    ),
    document(
        Kind.SERVICE_ENTRY,
        "anywhere",
        {"hosts": ["raw.example"], "ports": [{"number": 7000, "name": "tcp"}], "addresses": ["10.9.9.9"]},
    ),
    document(
        Kind.DESTINATION_RULE,
        "outside",
        {"host": "api.example", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}},
    ),
]


def _world(unknown: Unknown = Unknown.REFUSE) -> World:
    return world_of(SERVICES, Choices(unknown=unknown), Policies(DOCUMENTS))


def test_envoy_takes_services_without_any_document(tmp_path: Path) -> None:
    compiled = compile(world_of(SERVICES), Client(ClientKind.SIDECAR, "productpage", "default"), Memo())
    assert compiled.problems == ()
    assert sorted(compiled.snapshot.clusters) == [
        f"outbound|80||ratings.{DOMAIN}",
        f"outbound|9080||reviews.{DOMAIN}",
        f"outbound|9090||reviews.{DOMAIN}",
    ]
    assert static_form.validate(compiled.snapshot, tmp_path) == ""


@pytest.mark.parametrize("unknown", list(Unknown))
@pytest.mark.parametrize("capture", list(Capture))
def test_envoy_takes_every_field(capture: Capture, unknown: Unknown, tmp_path: Path) -> None:
    client = msgspec.structs.replace(CLIENT, capture=capture)
    compiled = compile(_world(unknown), client, Memo())
    assert compiled.problems == ()
    assert static_form.validate(compiled.snapshot, tmp_path) == ""
