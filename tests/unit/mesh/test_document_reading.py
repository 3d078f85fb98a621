"""Policy documents read from YAML: what is taken, what is refused, and where a fault is said to stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atoll.errors import AtollError
from atoll.resources.mesh.documents import decoding, reading
from atoll.resources.mesh.documents.destination_rule import DestinationRule
from atoll.resources.mesh.documents.kinds import FORMS, DocumentKey, Kind
from atoll.resources.mesh.documents.parts import Part
from atoll.resources.mesh.documents.virtual_service import VirtualService

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - route:
    - destination:
        host: reviews
"""


def spec_of(text: str) -> object:
    found = reading.read(text)
    assert found.problems == ()
    return found.documents[0].document.spec


def only(text: str) -> reading.Problem:
    found = reading.read(text, "file.yaml")
    assert len(found.problems) == 1, [str(each) for each in found.problems]
    return found.problems[0]


# ------------------------------------------------------------------------------------------- what is taken


def test_several_documents_with_comments_and_empty_ones_between() -> None:
    text = (
        f"# first\n---\n{ROUTE}---\n# nothing here\n---\n---\n{ROUTE.replace('name: reviews', 'name: other')}"
    )
    found = reading.read(text)
    assert found.problems == ()
    assert [each.key.name for each in found.documents] == ["reviews", "other"]


def test_what_an_api_server_adds_is_left_out_and_labels_and_annotations_stay() -> None:
    text = """\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: reviews
  namespace: shop
  uid: 8f1c
  resourceVersion: "12"
  generation: 3
  creationTimestamp: "2026-01-01T00:00:00Z"
  managedFields: [{manager: kubectl}]
  labels: {team: a}
  annotations:
    owner: someone
    kubectl.kubernetes.io/last-applied-configuration: "{}"
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}]}]
status: {conditions: []}
"""
    read = reading.read(text).documents[0]
    assert read.key == DocumentKey(Kind.VIRTUAL_SERVICE, "shop", "reviews")
    assert read.document.labels == {"team": "a"}
    assert read.document.annotations == {"owner": "someone"}
    for left_out in (b"uid", b"managedFields", b"status", b"last-applied", b"v1beta1"):
        assert left_out not in read.content


def test_a_list_stands_for_its_items_and_faults_have_their_place_in_it() -> None:
    text = """\
apiVersion: v1
kind: List
items:
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: a}
  spec: {host: a}
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: b}
  spec: {hosts: b, host: b}
"""
    found = reading.read(text, "list.yaml")
    assert [each.key.name for each in found.documents] == ["a"]
    assert str(found.problems[0]) == (
        "list.yaml:11:10: error: spec.hosts: there is no field 'hosts' here; did you mean host?"
    )


def test_anchors_aliases_and_merge_keys_are_what_they_stand_for() -> None:
    text = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /a}}]
    route:
    - destination: &there {host: reviews, subset: v1}
  - route:
    - destination: *there
      weight: 90
    - destination: {<<: *there, subset: v2}
      weight: 10
"""
    spec = spec_of(text)
    assert isinstance(spec, VirtualService)
    assert [each.destination.subset for each in spec.http[1].route] == ["v1", "v2"]
    assert [each.destination.host for each in spec.http[1].route] == ["reviews", "reviews"]


def test_json_is_yaml() -> None:
    text = '{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a"},'
    text += '"spec": {"host": "a"}}'
    assert isinstance(spec_of(text), DestinationRule)


def test_the_registrys_public_namespace_is_default() -> None:
    named = reading.read(ROUTE.replace("name: reviews", "name: reviews\n  namespace: public"))
    assert named.documents[0].key.namespace == "default"
    assert reading.read(ROUTE, namespace="shop").documents[0].key.namespace == "shop"


def test_durations_are_seconds() -> None:
    text = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy:
    outlierDetection: {interval: 1m30s, baseEjectionTime: 0.5s}
    connectionPool: {tcp: {connectTimeout: 250ms}, http: {idleTimeout: 1h}}
"""
    policy = spec_of(text).trafficPolicy  # type: ignore[attr-defined]
    assert (policy.outlierDetection.interval, policy.outlierDetection.baseEjectionTime) == (90.0, 0.5)
    assert policy.connectionPool.tcp.connectTimeout == 0.25
    assert policy.connectionPool.http.idleTimeout == 3600.0


def test_equal_documents_have_equal_content_however_they_are_written() -> None:
    flow = "{kind: VirtualService, apiVersion: networking.istio.io/v1alpha3, metadata: {name: reviews}, spec: {http: "
    flow += "[{route: [{destination: {host: reviews}}]}], hosts: [reviews]}}"
    one, other = (reading.read(text).documents[0] for text in (ROUTE, flow))
    assert one.content == other.content
    assert one.document.hash8 == other.document.hash8
    changed = reading.read(ROUTE.replace("host: reviews", "host: ratings")).documents[0]
    assert changed.document.hash8 != one.document.hash8


def test_a_stored_content_is_the_same_document_again_and_as_yaml() -> None:
    read = reading.read(ROUTE).documents[0]
    again = reading.decode(read.content, created=3, revision=5)
    assert (again.spec, again.hash8, again.created, again.revision) == (
        read.document.spec,
        read.document.hash8,
        3,
        5,
    )
    assert reading.to_yaml([read.content]).startswith(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    )
    assert reading.read(reading.to_yaml([read.content])).documents[0].content == read.content


def test_a_stored_content_of_another_release_is_an_error_of_that_document() -> None:
    broken = reading.read(ROUTE).documents[0].content.replace(b'"hosts"', b'"hostz"')
    with pytest.raises(AtollError, match=r"stored by another release: hostz"):
        reading.decode(broken)
    with pytest.raises(AtollError, match="not a stored document"):
        reading.decode(b"[]")


# ----------------------------------------------------------------------------------------- what is refused

PLACES = {
    "a misspelt field, at its name": (
        ROUTE.replace("http:", "htpp:"),
        (8, 3, "spec.htpp", "there is no field 'htpp' here", "did you mean http?"),
    ),
    "a value, where it begins": (
        ROUTE + "    timeout: 5\n",
        (12, 14, "spec.http[0].timeout", "5 is no duration", "write 5s"),
    ),
    "text that YAML reads as a number": (
        ROUTE + "    headers: {request: {set: {x-version: 2}}}\n",
        (12, 42, "spec.http[0].headers.request.set.x-version", "2 is no text", 'write "2" in quotes'),
    ),
    "text that YAML reads as a boolean": (
        ROUTE.replace("host: reviews", "host: on"),
        (11, 15, "spec.http[0].route[0].destination.host", "true is no text", "put it in quotes"),
    ),
    "a number in quotes": (
        ROUTE + "      weight: '90'\n",
        (12, 15, "spec.http[0].route[0].weight", "'90' is no whole number", "write 90, without quotes"),
    ),
    "a scalar where a list is expected": (
        ROUTE.replace("  - reviews", "    reviews"),
        (7, 5, "spec.hosts", "'reviews' where a list is expected", "write a list: - ..."),
    ),
    "a missing field, at what lacks it": (
        ROUTE.replace("        host: reviews", "        subset: v1"),
        (10, 7, "spec.http[0].route[0].destination", "host is missing", "give host"),
    ),
    "a value that is none of the known ones": (
        ROUTE.replace("destination:\n        host: reviews", "destination: {host: reviews}")
        + "    redirect: {redirectCode: 300}\n",
        (
            11,
            30,
            "spec.http[0].redirect.redirectCode",
            "300 is none of its values",
            "there are 301, 302, 303, 307, 308",
        ),
    ),
    "a regular expression that RE2 does not have": (
        ROUTE.replace("  - route:", "  - match: [{uri: {regex: '(?=x)'}}]\n    route:"),
        (
            9,
            27,
            "spec.http[0].match[0].uri.regex",
            "'(?=x)' is no regular expression: invalid perl operator: (?=",
            "write RE2 syntax",
        ),
    ),
    "a kind that is not": (
        ROUTE.replace("VirtualService", "VirtualServce"),
        (2, 7, "kind", "VirtualServce is not supported", "did you mean VirtualService?"),
    ),
    "a kind of Istio's that is refused by name": (
        ROUTE.replace("VirtualService", "EnvoyFilter"),
        (2, 7, "kind", "EnvoyFilter is not supported", reading.REFUSED_KINDS["EnvoyFilter"]),
    ),
    "a version that is not": (
        ROUTE.replace("/v1", "/v7"),
        (
            1,
            13,
            "apiVersion",
            "there is no VirtualService in networking.istio.io/v7",
            "did you mean networking.istio.io/v1?",
        ),
    ),
    "a name that is none": (
        ROUTE.replace("name: reviews", "name: Reviews_1"),
        (
            4,
            9,
            "metadata.name",
            "'Reviews_1' is no name",
            "lower-case letters, digits, - and ., as in reviews-route",
        ),
    ),
    "an annotation of Istio's that would change its meaning": (
        ROUTE.replace("name: reviews", "name: reviews\n  annotations: {networking.istio.io/x: 'y'}"),
        (
            5,
            17,
            "metadata.annotations['networking.istio.io/x']",
            "the annotation networking.istio.io/x is not supported",
            "take it out",
        ),
    ),
    "routing by claims, as Istio writes it": (
        ROUTE.replace(
            "  - route:", "  - match: [{headers: {'@request.auth.claims.a': {exact: b}}}]\n    route:"
        ),
        (
            9,
            24,
            "spec.http[0].match[0].headers['@request.auth.claims.a']",
            "routing by claims of a token is not supported",
            "write an AuthorizationPolicy with when",
        ),
    ),
    "a header with a space in its name": (
        ROUTE + "    headers: {request: {remove: ['x y']}}\n",
        (
            12,
            34,
            "spec.http[0].headers.request.remove[0]",
            "'x y' is no name of a header",
            "letters, digits and -, as in x-user",
        ),
    ),
    "a command of Envoy's format, which would be sent as it stands": (
        ROUTE + "    headers: {request: {set: {x-a: '%REQ(X-B)%'}}}\n",
        (
            12,
            36,
            "spec.http[0].headers.request.set.x-a",
            "%REQ(X-B)% would be sent as it stands, not replaced",
            "write the value itself",
        ),
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_fault_is_told_with_its_place_and_what_would_be_right(case: str) -> None:
    text, (line, column, path, message, suggestion) = PLACES[case]
    found = only(text)
    assert (found.path, found.message, found.suggestion) == (path, message, suggestion)
    assert (found.file, found.line, found.column) == ("file.yaml", line, column)


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_text() -> None:
    text = ROUTE + "    timeout: 5\n    retries: {attempts: -1}\n    fault: {}\n"
    found = reading.read(text)
    assert [each.line for each in found.problems] == [12, 13, 14]
    assert found.documents == ()


def test_one_document_twice_is_told_with_the_place_of_the_first() -> None:
    found = only(f"{ROUTE}---\n{ROUTE}")
    assert found.message == "VirtualService/default/reviews is there twice, first at file.yaml:1"
    assert found.line == 13


def test_kinds_of_different_apis_with_one_name_are_told_apart() -> None:
    text = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: atoll, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec: {selector: {app: web}, servers: [{port: {number: 80, protocol: http}, hosts: ["*"]}]}
"""
    found = reading.read(text)
    assert found.problems == ()
    assert [each.key.kind for each in found.documents] == [Kind.KUBERNETES_GATEWAY, Kind.GATEWAY]


def _parts() -> Iterator[type[Part]]:
    seen: list[type[Part]] = [Part]
    for each in seen:
        seen += [inner for inner in each.__subclasses__() if inner not in seen]
    return iter(seen)


REFUSED = [(part, name) for part in _parts() for name in part.REFUSED]


@pytest.mark.parametrize(("part", "name"), REFUSED, ids=[f"{part.__name__}.{name}" for part, name in REFUSED])
def test_a_field_that_is_not_supported_is_refused_by_name_with_what_to_do(
    part: type[Part], name: str
) -> None:
    assert name not in decoding.fields_of(part)
    _, faults = decoding.decode(part, {name: {}})
    told = [each for each in faults if each.path == (name,)]
    assert [each.message for each in told] == [f"{name} is not supported"]
    assert told[0].suggestion == part.REFUSED[name]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_found_by_each_of_its_names(kind: Kind) -> None:
    form = FORMS[kind]
    for name in (kind.value, form.plural, f"{form.name}.{form.group}", form.short or kind.value):
        assert reading.form_of(name) is kind
    assert reading.form_of("nothing") is None
