"""Hypothesis strategies for policy documents of every kind, made from the documents' own types.

Rule: a field that a kind gains is in the documents that are made here without a change: what a field takes is read from its
annotation. Names that mean something (hosts, subsets, ports, gateways) come from a small world, so that documents meet.
What contradicts itself is repaired by leaving out the field that the part's own ``faults`` point at; so most documents are
valid, and ``broken`` makes others of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from atoll.resources.mesh.documents import decoding, grpc_route, http_route, parts
from atoll.resources.mesh.documents.kinds import FORMS, Kind

HOSTS = (
    "reviews",
    "reviews.default",
    "ratings",
    "ratings.default.svc.cluster.local",
    "details.other",
    "web.test",
)
WILD = ("*.web.test", "*.default.svc.cluster.local")
STREAM_HOSTS = ("mysql", "cache", "secure", "orders", "ledger")
BACKENDS = ("reviews", "ratings", "mysql", "nobody")
SUBSETS = ("v1", "v2")
PORTS = (9080, 80, 443, 3306)
GATEWAY_PORTS = (8080, 8443, 9443, 7000)
GATEWAYS = ("mesh", "ingress", "default/ingress")
NAMESPACES = ("default", "other", "istio-system")
REGEXES = ("/api/.*", "v[0-9]+", "(a|b)c?", "[^/]+", "canary|stable", "(?i)abc", r"\d{1,3}", r"^/x$")
DURATIONS = ("5s", "100ms", "1m", "1h30m", "0.5s", "2s")
WORDS = (
    "alpha",
    "beta",
    "x-user",
    "canary",
    "a.b",
    "Ünï",
    "with space",
    "100%",
    "%REQ(X-A)",
    "{brace}",
    '"q"',
    "*",
)
HEADER_NAMES = ("x-user", "x-stage", "X-Trace-Id", "cookie", "accept", "user-agent")
PATHS = ("/", "/api", "/api/v1/", "/a%20b", "/very/long/path", "/Case")
CIDRS = ("10.0.0.0/8", "127.0.0.1", "192.168.0.0/16", "::1", "0.0.0.0/0")
LABELS = ({"version": "v1"}, {"version": "v2"}, {"app": "reviews"}, {"app": "ingress"}, {"tier": "backend"})
KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1", "alg": "HS256"}]}'
CERTIFICATES = "FOLDER-OF-CERTIFICATES"
"""Stands for a folder with cert.pem, key.pem and crl.pem on the machine of the proxy."""
OPTIONAL_PERCENT = 25
NEAR_PERCENT = 40  # beside a field that is wanted
ATTEMPTS_MAX = 16
DEPTH_MAX = 12


@dataclasses.dataclass(frozen=True)
class Written:
    """A document as it is written. ``content``: JSON-like, whole."""

    kind: Kind
    content: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.content["spec"])


def documents(kinds: tuple[Kind, ...] = tuple(Kind)) -> st.SearchStrategy[Written]:
    """Valid ones, as far as each can be told by itself. One field of all that there are is wanted in each, so that deep
    ones are not rare.
    """
    features_of = {kind: st.sampled_from(sorted(all_features(kind))) for kind in kinds}
    wanted = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(st.just(kind), features_of[kind]))
    return wanted.flatmap(lambda each: document_with(*each))


@st.composite
def document_with(draw: st.DrawFn, kind: Kind, feature: str) -> Written:
    """A document that uses the field ``feature``, if that can be."""
    form = FORMS[kind]
    wanted = tuple(feature.removeprefix(f"{kind}.").split("."))
    spec = _Maker(draw).struct(form.spec, 0, wanted)
    namespace = draw(st.sampled_from(NAMESPACES)) if draw(_percent(25)) else "default"
    metadata: dict[str, Any] = {
        "name": draw(st.sampled_from(("one", "two", "ingress"))),
        "namespace": namespace,
    }
    if kind is Kind.AUTHORIZATION_POLICY and draw(_percent(15)):
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    version = draw(st.sampled_from(form.api_versions))
    content = {"apiVersion": version, "kind": form.name, "metadata": metadata, "spec": spec}
    return Written(kind, content)


@st.composite
def broken(draw: st.DrawFn) -> Written:
    """A document with one to three slips: a field that is not there, another type, a missing one, a contradiction."""
    written = draw(documents())
    content = _copied(written.content)
    for _ in range(draw(st.integers(1, 3))):
        place, key = draw(st.sampled_from(list(_places(content))))
        slip = draw(st.sampled_from(("drop", "rename", "type", "null", "text", "nest")))
        value = place[key]
        if slip == "drop":
            del place[key]
        elif slip == "rename" and isinstance(place, dict):
            del place[key]
            place[draw(st.sampled_from((f"{key}x", str(key).upper(), "zzz", "")))] = value
        elif slip == "null":
            place[key] = None
        elif slip == "text":
            place[key] = draw(st.text(max_size=20))
        elif slip == "nest":
            place[key] = [value]
        else:
            place[key] = draw(_ANYTHING)
        if not content:
            break
    return Written(written.kind, content)


_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found += _places(inner)
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _percent(percent: int) -> st.SearchStrategy[bool]:
    return st.integers(0, 99).map(lambda drawn: drawn < percent)


# -------------------------------------------------------------------------------------------- what a field takes

# By class and field, or by field alone: what types do not say.
_NAMED: Mapping[str, st.SearchStrategy[Any]] = {
    "host": st.sampled_from(HOSTS),
    "DestinationRule.host": st.sampled_from((*HOSTS, *WILD, *STREAM_HOSTS)),
    "hosts": st.lists(st.sampled_from((*HOSTS, *WILD)), min_size=1, max_size=2, unique=True),
    "subset": st.sampled_from(("", *SUBSETS)),
    "Subset.name": st.sampled_from(SUBSETS),
    "number": st.sampled_from((9080, 9080, 9080, 80, 443, 3306)),
    "gateways": st.lists(st.sampled_from(GATEWAYS), min_size=1, max_size=2, unique=True),
    "exportTo": st.sampled_from((["*"], ["."], ["default"])),
    "labels": st.sampled_from(LABELS),
    "matchLabels": st.sampled_from(LABELS),
    "sourceLabels": st.sampled_from(LABELS),
    "namespace": st.sampled_from(("", "default")),
    "sourceNamespace": st.sampled_from(NAMESPACES),
    "uri": st.sampled_from(PATHS),
    "methods": st.lists(st.sampled_from(("GET", "POST", "G*", "*")), min_size=1, max_size=2),
    "grpcStatus": st.sampled_from(("UNAVAILABLE", "14", "DEADLINE_EXCEEDED")),
    "retryOn": st.sampled_from(("5xx", "connect-failure,503", "gateway-error, reset", "retriable-4xx")),
    "jwks": st.just(KEYS),
    "jwksUri": st.sampled_from(("https://keys.test/jwks.json", "http://reviews.default:9080/keys")),
    "tableSize": st.sampled_from((65_537, 101, 5)),
    "key": st.sampled_from(
        (
            "source.ip",
            "request.headers[x-user]",
            "request.auth.claims[sub]",
            "destination.port",
            "connection.sni",
        )
    ),
    "Condition.values": st.sampled_from((["10.0.0.1"], ["9080"], ["80", "443"], ["web*"])),
    "Condition.notValues": st.sampled_from((["10.0.0.1"], ["9080"])),
    "ports": st.lists(st.sampled_from(("9080", "443")), min_size=1, max_size=2, unique=True),
    "notPorts": st.sampled_from((["9080"], ["1"])),
    "paths": st.lists(
        st.sampled_from((*PATHS, "/a*", "*.html", "/v1/{*}/x", "/{**}")), min_size=1, max_size=2
    ),
    "notPaths": st.lists(st.sampled_from(PATHS), min_size=1, max_size=2),
    "bytes": st.just("aGVsbG8="),
    "from": st.sampled_from(("*", "region-a/*", "region-a/zone-1/*", "region-a")),
    "Distribute.to": st.sampled_from(({"region-a/*": 80, "region-b/*": 20}, {"*": 100})),
    "Failover.to": st.sampled_from(("region-b", "region-c")),
    "failoverPriority": st.sampled_from((["version"], ["version=v1"], ["topology.kubernetes.io/region"])),
    "EgressListener.hosts": st.sampled_from((["*/*"], ["./*"], ["default/*", "other/*"], ["~/*"])),
    "Server.hosts": st.sampled_from((["*"], ["web.test"], ["default/web.test"], ["*.web.test", "api.test"])),
    "ServerPort.number": st.sampled_from(GATEWAY_PORTS),
    "Listener.port": st.sampled_from(GATEWAY_PORTS),
    "Listener.name": st.sampled_from(("web", "other")),
    "BackendRef.name": st.sampled_from(BACKENDS),
    "HttpBackendRef.name": st.sampled_from(BACKENDS),
    "GrpcBackendRef.name": st.sampled_from(BACKENDS),
    "selector": st.sampled_from(({"app": "ingress"}, {"istio": "ingressgateway"})),
    "expression": st.sampled_from(("response.code >= 400", "response.code == 200 && response.duration > 5")),
    "ProviderRef.name": st.sampled_from(("envoy", "otel")),
    "WorkloadEntry.address": st.sampled_from(("10.1.2.3", "db.test", "unix:///run/x.sock", "fd00::1")),
    "WorkloadEntry.ports": st.sampled_from(({"http": 8080}, {"tcp": 99})),
    "WorkloadEntry.locality": st.sampled_from(("region-a/zone-1", "region-b", "r/z/s")),
    "ServicePort.number": st.sampled_from(PORTS),
    "ServicePort.name": st.sampled_from(("http", "tcp", "tls")),
    "addresses": st.sampled_from((["10.9.9.9"], ["10.8.0.0/24"])),
    "clientCertificate": st.just(f"{CERTIFICATES}/cert.pem"),
    "serverCertificate": st.just(f"{CERTIFICATES}/cert.pem"),
    "privateKey": st.just(f"{CERTIFICATES}/key.pem"),
    "caCertificates": st.just(f"{CERTIFICATES}/cert.pem"),
    "caCrl": st.just(f"{CERTIFICATES}/crl.pem"),
    "credentialName": st.sampled_from(("web-cert", "other-cert")),
    "bind": st.sampled_from(("127.0.0.1", "0.0.0.0")),
}


_GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "ingress"}
_SERVICE = {"group": "", "kind": "Service", "name": "reviews"}

# Parts whose fields depend on each other in ways that drawing them one by one seldom meets.
_PARTS: Mapping[str, st.SearchStrategy[dict[str, Any]]] = {
    "TargetRef": st.sampled_from((_GATEWAY, _SERVICE, {**_SERVICE, "namespace": "default"})),
    "ParentRef": st.sampled_from(
        (
            {"name": "ingress"},
            {**_GATEWAY, "sectionName": "web"},
            {**_GATEWAY, "namespace": "default", "port": 8080},
            _SERVICE,
            {**_SERVICE, "port": 9080},
            {**_SERVICE, "name": "ratings", "namespace": "default"},
        )
    ),
}
# The field that a part's ``type`` names.
_FIELD_OF_TYPE: Mapping[str, Mapping[str, str]] = {
    "HttpFilter": http_route.FIELD_OF_TYPE,
    "GrpcFilter": grpc_route.FIELD_OF_TYPE,
    "PathModifier": {
        "ReplaceFullPath": "replaceFullPath",
        "ReplacePrefixMatch": "replacePrefixMatch",
    },
}
_NAMES: Mapping[str, tuple[str, ...]] = {"portLevelMtls": ("9080", "80")}


class _Maker:
    """``wanted``: names of fields, each in the part that the one before it holds."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def struct(self, kind: Any, depth: int, wanted: tuple[str, ...] = ()) -> dict[str, Any]:
        """A part without faults of its own, unless ``ATTEMPTS_MAX`` drawings had some."""
        if kind.__name__ in _PARTS:
            return dict(self.draw(_PARTS[kind.__name__]))
        made: dict[str, Any] = {}
        for _ in range(ATTEMPTS_MAX):
            made = self._fields(kind, depth, wanted)
            for _ in range(ATTEMPTS_MAX):
                _, faults = decoding.decode(kind, made)
                if not faults:
                    return made
                if not _without(made, faults[0].path, wanted[:1]):
                    break
        return made

    def _fields(self, kind: Any, depth: int, wanted: tuple[str, ...]) -> dict[str, Any]:
        made = {}
        chance = NEAR_PERCENT if wanted else OPTIONAL_PERCENT if depth < DEPTH_MAX else 0
        for name, field in decoding.fields_of(kind).items():
            is_wanted = name in wanted[:1]
            if field.required or is_wanted or self.draw(_percent(chance)):
                made[name] = self._field(kind, name, depth, wanted[1:] if is_wanted else ())
        if kind.__name__ in _FIELD_OF_TYPE:
            return self._typed(kind, made, depth, wanted)
        return made

    def _typed(self, kind: Any, made: dict[str, Any], depth: int, wanted: tuple[str, ...]) -> dict[str, Any]:
        """The one field that the type names, the wanted one if there is one."""
        fields = _FIELD_OF_TYPE[kind.__name__]
        type_of = {field: name for name, field in fields.items()}
        name = type_of.get(wanted[0], made["type"]) if wanted else made["type"]
        given = made.get(fields[name]) or self._field(kind, fields[name], depth, ())
        return {"type": name, fields[name]: given}

    def _field(self, owner: Any, name: str, depth: int, wanted: tuple[str, ...]) -> Any:
        kind = decoding.fields_of(owner)[name].type
        if name in _NAMES and _holds_structs(kind):
            held = struct_of(kind)
            assert held is not None
            return {self.draw(st.sampled_from(_NAMES[name])): self.struct(held, depth + 1, wanted)}
        for key in (f"{owner.__name__}.{name}", name):
            if key in _NAMED and not _holds_structs(kind):
                return self.draw(_NAMED[key])
        return self._value(kind, depth, wanted)

    def _value(self, kind: inspect.Type, depth: int, wanted: tuple[str, ...]) -> Any:
        form = ""
        if isinstance(kind, inspect.Metadata):
            form = (kind.extra or {}).get("form", "")
            kind = kind.type
        if isinstance(kind, inspect.UnionType):
            given = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            return self._value(given[0], depth, wanted)
        if isinstance(kind, inspect.StructType):
            return self.struct(kind.cls, depth + 1, wanted)
        if isinstance(kind, inspect.VarTupleType):
            count = self.draw(st.integers(max(kind.min_length or 0, 1), 2))
            return [self._value(kind.item_type, depth, wanted) for _ in range(count)]
        if isinstance(kind, inspect.DictType):
            names = [self._value(kind.key_type, depth, ()) for _ in range(self.draw(st.integers(1, 2)))]
            return {name: self._value(kind.value_type, depth, wanted) for name in names}
        return self.draw(_scalar(kind, form))


def _without(made: dict[str, Any], path: parts.Path, wanted: tuple[str, ...]) -> bool:
    """Leave out what a fault points at; whether there was such a thing and nobody wants it."""
    if path and path[0] in made and path[0] not in wanted:
        del made[str(path[0])]
        return True
    return False


def _holds_structs(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _holds_structs(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(_holds_structs(each) for each in kind.types)
    if isinstance(kind, inspect.VarTupleType):
        return _holds_structs(kind.item_type)
    if isinstance(kind, inspect.DictType):
        return _holds_structs(kind.value_type)
    return isinstance(kind, inspect.StructType)


def _scalar(kind: inspect.Type, form: str) -> st.SearchStrategy[Any]:
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from([each for each in kind.values if each != ""] or [""])
    if isinstance(kind, inspect.BoolType):
        return st.booleans()
    if isinstance(kind, inspect.StrType):
        return _text(kind, form)
    if form == parts.DURATION:
        return st.sampled_from(DURATIONS)
    low = getattr(kind, "ge", None) or 0
    high = getattr(kind, "le", None) or 100_000
    low = low if getattr(kind, "gt", None) is None else getattr(kind, "gt", 0) + 1
    return st.sampled_from(sorted({low, min(low + 1, high), min(low + 50, high), high}))


def _text(kind: inspect.StrType, form: str) -> st.SearchStrategy[str]:
    if form == parts.REGEX:
        return st.sampled_from(REGEXES)
    if form == parts.HOST:
        return st.sampled_from((*HOSTS, *WILD))
    if form == parts.CIDR:
        return st.sampled_from(CIDRS)
    if kind.pattern is not None or form == parts.HEADER_NAME:
        return st.sampled_from(HEADER_NAMES)
    return st.sampled_from((*WORDS, *PATHS))


# ------------------------------------------------------------------------------------------------- features


def features(written: Written) -> set[str]:
    """The fields that a document uses: ``Kind.field.field``, positions and names of one's own left out."""
    found: set[str] = set()
    _collect(FORMS[written.kind].spec, written.content.get("spec", {}), str(written.kind), found)
    return found


def all_features(kind: Kind) -> set[str]:
    """Every field of the kind, but those behind a field that contains its own part again."""
    found: set[str] = set()
    _declared(FORMS[kind].spec, str(kind), found, ())
    return found


def _declared(kind: Any, path: str, found: set[str], above: tuple[type[Any], ...]) -> None:
    if kind in above:
        return
    for name, field in decoding.fields_of(kind).items():
        found.add(f"{path}.{name}")
        inner = struct_of(field.type)
        if inner is not None:
            _declared(inner, f"{path}.{name}", found, (*above, kind))


def _collect(kind: Any, value: Any, path: str, found: set[str]) -> None:
    fields = decoding.fields_of(kind)
    for name, inner in value.items():
        found.add(f"{path}.{name}")
        part = struct_of(fields[name].type)
        if part is None:
            continue
        each = inner if isinstance(inner, list) else [inner]
        if _is_mapping(fields[name].type):
            each = list(inner.values())
        for one in each:
            _collect(part, one, f"{path}.{name}", found)


def struct_of(kind: inspect.Type) -> type[Any] | None:
    """The part that a field holds, alone, in a list or by name."""
    if isinstance(kind, inspect.Metadata):
        return struct_of(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next((found for each in kind.types if (found := struct_of(each))), None)
    if isinstance(kind, inspect.VarTupleType):
        return struct_of(kind.item_type)
    if isinstance(kind, inspect.DictType):
        return struct_of(kind.value_type)
    return kind.cls if isinstance(kind, inspect.StructType) else None


def _is_mapping(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _is_mapping(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(_is_mapping(each) for each in kind.types)
    return isinstance(kind, inspect.DictType)
