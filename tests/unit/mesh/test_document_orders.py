"""What documents refer to and what they say against each other, judged as a whole."""

from __future__ import annotations

import pytest

from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import DocumentView
from atoll.planes.mesh.policy import document_orders
from atoll.resources.mesh.document_api import FileText
from atoll.resources.mesh.documents.reading import Severity
from atoll.resources.mesh.services import MeshService
from tests.unit.mesh.documents_kit import service

KNOWN = (
    service("reviews", "v1", "v2", ports=(9080,)),
    service("ratings", "v1", ports=(9080, 9090)),
    service("orders", namespace="shop"),
)
HEADS = {
    "vs": "networking.istio.io/v1, kind: VirtualService",
    "dr": "networking.istio.io/v1, kind: DestinationRule",
    "gw": "networking.istio.io/v1, kind: Gateway",
    "se": "networking.istio.io/v1, kind: ServiceEntry",
    "sidecar": "networking.istio.io/v1, kind: Sidecar",
    "pa": "security.istio.io/v1, kind: PeerAuthentication",
    "ap": "security.istio.io/v1, kind: AuthorizationPolicy",
    "telemetry": "telemetry.istio.io/v1, kind: Telemetry",
    "hr": "gateway.networking.k8s.io/v1, kind: HTTPRoute",
    "kg": "gateway.networking.k8s.io/v1, kind: Gateway",
}


def doc(kind: str, name: str, spec: str, namespace: str = "default") -> str:
    return (
        f"{{apiVersion: {HEADS[kind]}, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}\n"
    )


def judged(*texts: str, there: tuple[str, ...] = (), known: tuple[MeshService, ...] = KNOWN) -> list[str]:
    """The problems of applying ``texts`` where ``there`` is in force, as ``SEVERITY path message; suggestion``."""
    services = {each.host: each for each in known}
    view = in_force(there)
    files = document_orders.read_files([FileText("f", "---\n".join(texts))], "default")
    assert files.problems == ()
    found = document_orders.prepare(view, files, services, force=False).problems
    return [f"{each.severity.value} {each.path} {each.message}; {each.suggestion}" for each in found]


def in_force(texts: tuple[str, ...]) -> DocumentView:
    files = document_orders.read_files([FileText("f", "---\n".join(texts))], "default")
    assert files.problems == ()
    view = document_view.empty_view()
    for number, read in enumerate(files.documents, 1):
        changes = document_view.changes_of(view, [read], ())
        policies = document_view.policies_after(view, changes)
        document = policies.get(read.key)
        assert document is not None
        held = {**view.held, read.key: document_view.Held(document, read.content)}
        view = DocumentView(policies, held, revision=number)
    return view


def to(destination: str, rest: str = "") -> str:
    return f"{{hosts: [reviews], http: [{{route: [{{destination: {{{destination}}}}}]}}]{rest}}}"


REFERENCES = {
    "a service that is not": (
        [doc("vs", "a", to("host: ratngs"))],
        "error spec.http[0].route[0].destination.host there is no service 'ratngs'; did you mean ratings?",
    ),
    "a service of another namespace by its short name": (
        [doc("vs", "a", to("host: orders"))],
        "error spec.http[0].route[0].destination.host there is no service 'orders'; did you mean orders.shop?",
    ),
    "a port that is not": (
        [doc("vs", "a", to("host: ratings, port: {number: 80}"))],
        "error spec.http[0].route[0].destination.port.number ratings.default.svc.cluster.local has no port 80; "
        "it has 9080, 9090; a service's ports are in its metadata, mesh.ports",
    ),
    "a subset that is not": (
        [doc("vs", "a", to("host: reviews, subset: v3")), doc("dr", "a", "{host: reviews, subsets: [{name: v1}]}")],
        "error spec.http[0].route[0].destination.subset reviews has no subset 'v3'; did you mean v1?",
    ),
    "a subset without any rule": (
        [doc("vs", "a", to("host: reviews, subset: v1"))],
        "error spec.http[0].route[0].destination.subset reviews has no subset 'v1'; "
        "write a DestinationRule for reviews with that subset",
    ),
    "a mirror that is not": (
        [doc("vs", "a", "{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], mirror: {host: nobody}}]}")],
        "error spec.http[0].mirror.host there is no service 'nobody'; register it, write a ServiceEntry, or force it",
    ),
    "a gateway that is not": (
        [doc("vs", "a", to("host: reviews", ", gateways: [web]"))],
        "error spec.gateways[0] there is no Gateway default/web; "
        "write the Gateway first, as NAMESPACE/NAME where it is of another namespace",
    ),
    "a gateway in a match that the document does not name": (
        [doc("vs", "a", "{hosts: [reviews], http: [{match: [{gateways: [web]}], route: [{destination: {host: reviews}}]}]}")],
        "error spec.http[0].match[0].gateways 'web' is not among the gateways of the document; "
        "name it in spec.gateways as well",
    ),
    "a rule for a host that is not": (
        [doc("dr", "a", "{host: rewiews}")],
        "warning spec.host there is no service 'rewiews'; did you mean reviews?",
    ),
    "a subset of nobody": (
        [doc("dr", "a", "{host: reviews, subsets: [{name: v9, labels: {version: v9}}]}")],
        "warning spec.subsets[0].labels no instance of reviews has these labels now; "
        "give instances them as metadata, or correct them",
    ),
    "a host that a sidecar would never see": (
        [doc("sidecar", "a", "{egress: [{hosts: ['./rewiews']}]}")],
        "warning spec.egress[0].hosts[0] there is no service 'rewiews'; did you mean reviews?",
    ),
    "a parent that is not": (
        [doc("hr", "a", "{parentRefs: [{name: web}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}")],
        "error spec.parentRefs[0].name there is no Gateway default/web of the Gateway API; write the Gateway first",
    ),
    "a listener that is not": (
        [
            doc("kg", "web", "{gatewayClassName: atoll, listeners: [{name: http, port: 80, protocol: HTTP}]}"),
            doc("hr", "a", "{parentRefs: [{name: web, sectionName: https}]}"),
        ],
        "error spec.parentRefs[0].sectionName default/web has no listener 'https'; it has http",
    ),
    "a gateway that does not let the route attach itself": (
        [
            doc("kg", "web", "{gatewayClassName: atoll, listeners: [{name: http, port: 80, protocol: HTTP}]}"),
            doc("hr", "a", "{parentRefs: [{name: web, namespace: default}]}", "shop"),
        ],
        "error spec.parentRefs[0] no listener of default/web lets this route attach itself; "
        "set allowedRoutes: {namespaces: {from: All}} at the listener, or move the route",
    ),
    "a backend of the mesh that is not": (
        [doc("hr", "a", "{parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{backendRefs: [{name: b}]}]}")],
        "error spec.rules[0].backendRefs[0].name there is no service 'b'; register it, write a ServiceEntry, or force it",
    ),
    "a policy of nobody": (
        [doc("ap", "a", "{selector: {matchLabels: {app: rewiews}}}")],
        "warning spec.selector.matchLabels no instance of a service in this namespace has these labels now; "
        "correct them, or start the workload with them",
    ),
    "a policy at a service that is not": (
        [doc("ap", "a", "{targetRefs: [{kind: Service, name: rewiews}]}")],
        "error spec.targetRefs[0].name there is no service 'rewiews'; did you mean reviews?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFERENCES)
def test_what_is_referred_to_must_be_there(case: str) -> None:
    texts, problem = REFERENCES[case]
    assert judged(*texts) == [problem]


RIGHT = {
    "names of every length": doc("vs", "a", to("host: reviews.default.svc"))
    + "---\n"
    + doc("vs", "b", "{hosts: [x.test], http: [{route: [{destination: {host: orders.shop}}]}]}"),
    "a service that an entry tells of, in the same order": doc(
        "vs", "a", to("host: api.test, port: {number: 443}")
    )
    + "---\n"
    + doc("se", "a", "{hosts: [api.test], ports: [{number: 443, name: tls, protocol: TLS}]}"),
    "a host behind the wildcard of an entry": doc("vs", "a", to("host: x.api.test"))
    + "---\n"
    + doc("se", "a", "{hosts: ['*.api.test'], ports: [{number: 443, name: tls, protocol: TLS}]}"),
    "a policy by the app that is the service": doc(
        "ap", "a", "{selector: {matchLabels: {app: reviews, version: v2}}}"
    ),
    "a gateway of another namespace": doc("vs", "a", to("host: reviews", ", gateways: [shop/web, mesh]"))
    + "---\n"
    + doc(
        "gw",
        "web",
        "{selector: {a: b}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]}",
        "shop",
    ),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_there_may_be_referred_to(case: str) -> None:
    assert judged(RIGHT[case]) == []


SERVE = "{selector: {app: gw}, servers: [{port: {number: 80, protocol: HTTP}, hosts: [%s]}]}"
CONTRADICTIONS = {
    "two routes of one host": (
        doc("vs", "old", to("host: reviews")),
        doc("vs", "new", to("host: reviews").replace("[reviews]", "[reviews.default.svc.cluster.local]")),
        "error spec.hosts[0] VirtualService/default/old routes reviews.default.svc.cluster.local already, and holds; "
        "add the rules to it, or delete it",
    ),
    "two policies for one host": (
        doc("dr", "old", "{host: reviews, trafficPolicy: {}}"),
        doc("dr", "new", "{host: reviews.default.svc, trafficPolicy: {}}"),
        "error spec.trafficPolicy DestinationRule/default/old has a trafficPolicy for this host already, which holds; "
        "say it in one of them",
    ),
    "one subset twice": (
        doc("dr", "old", "{host: reviews, subsets: [{name: v1}]}"),
        doc("dr", "new", "{host: reviews, subsets: [{name: v2}, {name: v1}]}"),
        "error spec.subsets[1].name DestinationRule/default/old has a subset 'v1' already, which holds; "
        "give it another name",
    ),
    "two defaults of a namespace": (
        doc("pa", "old", "{mtls: {mode: STRICT}}"),
        doc("pa", "new", "{mtls: {mode: PERMISSIVE}}"),
        "error spec PeerAuthentication/default/old is for all of default already, and holds; say it in one of them",
    ),
    "two for the same workloads": (
        doc("sidecar", "old", "{workloadSelector: {labels: {app: reviews}}}"),
        doc("sidecar", "new", "{workloadSelector: {labels: {app: reviews}}}"),
        "error spec.workloadSelector Sidecar/default/old is for these workloads already, and holds; "
        "say it in one of them",
    ),
    "one host of one port at two gateways": (
        doc("gw", "old", SERVE % "a.test"),
        doc("gw", "new", SERVE % "b.test, a.test", "shop"),
        "error spec.servers[0].hosts Gateway/default/old serves a.test on port 80 already, and holds; "
        "take the host out of one of them",
    ),
    "one port of two protocols at two gateways": (
        doc("gw", "old", SERVE % "a.test"),
        doc("gw", "new", (SERVE % "b.test").replace("HTTP", "TCP")),
        "error spec.servers[0].port Gateway/default/old has port 80 for HTTP already; take another port",
    ),
    "a route of the Gateway API beside a VirtualService": (
        doc("vs", "old", to("host: reviews")),
        doc("hr", "new", "{parentRefs: [{group: '', kind: Service, name: reviews}]}"),
        "error spec.parentRefs[0] VirtualService/default/old routes reviews already, and holds; "
        "say all of it in one kind, and delete the other",
    ),
    "a VirtualService beside a route of the Gateway API, which would not hold any more": (
        doc("hr", "old", "{parentRefs: [{group: '', kind: Service, name: reviews}]}"),
        doc("vs", "new", to("host: reviews")),
        "error spec.parentRefs[0] VirtualService/default/new routes reviews already, and holds; "
        "say all of it in one kind, and delete the other",
    ),
    "plain text to where it is not taken": (
        doc("pa", "old", "{mtls: {mode: STRICT}}"),
        doc("dr", "new", "{host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}"),
        "warning spec.trafficPolicy.tls.mode PeerAuthentication/default/old takes nothing but the mesh's TLS, "
        "and this calls reviews without; write ISTIO_MUTUAL, or leave tls out",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_document_that_would_never_hold_is_refused_by_the_name_of_the_one_that_does(case: str) -> None:
    old, new, problem = CONTRADICTIONS[case]
    assert judged(new, there=(old,)) == [problem]


NO_CONTRADICTION = {
    "seen by different namespaces": (
        doc("vs", "old", to("host: reviews", ", exportTo: [shop]")),
        doc("vs", "new", to("host: reviews", ", exportTo: ['.']")),
    ),
    "one in sidecars, one at a gateway": (
        doc("gw", "web", SERVE % "'*'") + "---\n" + doc("vs", "old", to("host: reviews")),
        doc("vs", "new", to("host: reviews", ", gateways: [web]")),
    ),
    "subsets of one host in two documents": (
        doc("dr", "old", "{host: reviews, trafficPolicy: {}, subsets: [{name: v1}]}"),
        doc("dr", "new", "{host: reviews, subsets: [{name: v2}]}"),
    ),
    "other workloads": (
        doc("pa", "old", "{selector: {matchLabels: {app: reviews}}}"),
        doc("pa", "new", "{selector: {matchLabels: {app: ratings}}}"),
    ),
    "other gateways": (
        doc("gw", "old", SERVE % "a.test"),
        doc("gw", "new", (SERVE % "a.test").replace("app: gw", "app: other")),
    ),
}


@pytest.mark.parametrize("case", NO_CONTRADICTION)
def test_documents_that_add_up_are_both_taken(case: str) -> None:
    old, new = NO_CONTRADICTION[case]
    assert judged(new, there=(old,)) == []


def test_a_change_that_takes_something_from_another_document_is_told_there() -> None:
    there = (
        doc("dr", "a", "{host: reviews, subsets: [{name: v1}, {name: v2}]}"),
        doc("vs", "a", to("host: reviews, subset: v2")),
    )
    after = doc("dr", "a", "{host: reviews, subsets: [{name: v1}]}")
    assert judged(after, there=there) == [
        "error spec.http[0].route[0].destination.subset reviews has no subset 'v2'; did you mean v1?"
    ]


def test_what_was_wrong_before_does_not_stand_in_the_way_of_another_change() -> None:
    there = (doc("vs", "a", to("host: nobody")),)
    assert judged(doc("dr", "a", "{host: ratings}"), there=there) == []


def test_force_makes_errors_of_references_warnings_and_nothing_else() -> None:
    files = document_orders.read_files([FileText("f", doc("vs", "a", to("host: nobody")))], "default")
    prepared = document_orders.prepare(document_view.empty_view(), files, {}, force=True)
    assert [each.severity for each in prepared.problems] == [Severity.WARNING]
    broken = document_orders.read_files([FileText("f", doc("vs", "a", "{}"))], "default")
    assert document_orders.prepare(document_view.empty_view(), broken, {}, force=True).errors


def test_one_document_in_two_files_is_told_with_both_places() -> None:
    text = doc("dr", "a", "{host: reviews}")
    found = document_orders.read_files([FileText("one", text), FileText("two", "\n" + text)], "default")
    assert [str(each) for each in found.problems] == [
        "two:2:1: error: DestinationRule/default/a stands in one:1 as well; take one of them out"
    ]
