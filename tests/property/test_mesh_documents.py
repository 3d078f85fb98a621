"""Policy documents at random: reading tells and never fails; what holds for whom is what a dumb search finds.

The dumb model keeps a list of documents and looks at every one of them, each time, by the words of the specifications.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import DocumentView, Held
from atoll.planes.mesh.model.policies import Policies, Workload
from atoll.planes.mesh.policy import document_orders
from atoll.resources.mesh import hosts
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.document_api import UNCHANGED, FileText
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.mesh.documents.reading import Severity
from atoll.resources.mesh.services import Endpoint, MeshService, Port, host_of
from tests import mesh_documents
from tests.mesh_documents import Written

ROOT = "istio-system"
DOMAIN = "cluster.local"
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("reviews", "ratings")
NAMESPACES = ("default", "other")
LABELS: tuple[dict[str, str], ...] = ({}, {"version": "v1"}, {"version": "v2", "tier": "backend"})


def as_text(*written: Written) -> str:
    return "\n---\n".join(msgspec.json.encode(each.content).decode() for each in written)


# ------------------------------------------------------------------------------------------------ reading


@SLOW
@given(st.text(max_size=200) | mesh_documents.broken().map(as_text))
def test_whatever_is_read_is_told_with_a_place_in_the_text_and_advice(text: str) -> None:
    found = reading.read(text, "f")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for each in found.problems:
        assert each.message and each.suggestion
        assert each.line >= 1 and each.column >= 1
        assert "\x85" in text or "\u2028" in text or "\u2029" in text or each.line <= len(lines) + 1


@SLOW
@given(mesh_documents.documents())
def test_what_is_taken_is_the_same_again_from_the_store_and_from_yaml(written: Written) -> None:
    found = reading.read(as_text(written), "f")
    for each in found.documents:
        assert reading.decode(each.content).spec == each.document.spec
        again = reading.read(reading.to_yaml([each.content]), "f")
        assert [one.content for one in again.documents] == [each.content]
        assert again.problems == ()


# ------------------------------------------------------------------------------------------- who gets what

KINDS = (
    Kind.VIRTUAL_SERVICE,
    Kind.DESTINATION_RULE,
    Kind.SIDECAR,
    Kind.PEER_AUTHENTICATION,
    Kind.AUTHORIZATION_POLICY,
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[DocumentKey, Document[Any] | None]]:
    """Documents that come, change and go, one a revision."""
    history: list[tuple[DocumentKey, Document[Any] | None]] = []
    created: dict[DocumentKey, int] = {}
    for revision in range(1, draw(st.integers(1, 12)) + 1):
        read = reading.read(as_text(draw(mesh_documents.documents(KINDS))))
        for each in read.documents:
            key = each.key
            if key in created and draw(st.booleans()):
                del created[key]
                history.append((key, None))
                continue
            created.setdefault(key, revision)
            document = msgspec.structs.replace(each.document, created=created[key], revision=revision)
            history.append((key, document))
    return history


@SLOW
@given(histories())
def test_changes_one_by_one_make_what_all_at_once_make_and_a_dumb_search_finds(
    history: list[tuple[DocumentKey, Document[Any] | None]],
) -> None:
    step_by_step = Policies()
    there: dict[DocumentKey, Document[Any]] = {}
    for key, document in history:
        step_by_step.virtual_services(
            "default"
        )  # indexes are built in between, and must not be kept too long
        step_by_step = step_by_step.with_changes({key: document})
        if document is None:
            there.pop(key, None)
        else:
            there[key] = document
    at_once = Policies(there.values())
    dumb = Dumb(list(there.values()))
    assert step_by_step.documents == at_once.documents == there
    for name in NAMES:
        for namespace in NAMESPACES:
            for labels in LABELS:
                client = Client(ClientKind.SIDECAR, name, namespace, labels)
                for policies in (step_by_step, at_once):
                    _compare(policies, dumb, client)


def _compare(policies: Policies, dumb: Dumb, client: Client) -> None:
    workload = policies.workload(client)
    for name in NAMES:
        host = host_of(name, "default", DOMAIN)
        first = next(iter(policies.virtual_services_for(host, client.namespace)), None)
        assert first == dumb.virtual_service(host, client.namespace)
        rule = policies.destination_rule_for(host, "default", client)
        assert (rule.documents[0] if rule is not None else None) == dumb.destination_rule(
            host, "default", client, workload
        )
    assert policies.sidecar_for(client) == dumb.sidecar(workload)
    modes = policies.peer_modes(workload)
    for port in (80, 9080):
        assert modes.of_port(port) == dumb.mode(workload, port)
    assert list(policies.authorization_policies(workload)) == dumb.authorization(workload)


class Dumb:
    """A list of documents, the oldest first."""

    def __init__(self, documents: list[Document[Any]]) -> None:
        self._documents = sorted(documents, key=lambda each: (each.created, each.namespace, each.name))

    def of(self, kind: Kind, *namespaces: str) -> list[Document[Any]]:
        return [
            each
            for each in self._documents
            if each.key.kind is kind and (not namespaces or each.namespace in namespaces)
        ]

    def virtual_service(self, host: str, namespace: str) -> Document[Any] | None:
        """The longest pattern wins, a name itself is longer than any; then the oldest."""
        best: tuple[int, Document[Any]] | None = None
        for each in self.of(Kind.VIRTUAL_SERVICE):
            if (each.spec.gateways and "mesh" not in each.spec.gateways) or not _sees(each, namespace):
                continue
            for rank in (_rank(name, each, host) for name in each.spec.hosts):
                if rank and (best is None or rank > best[0]):
                    best = (rank, each)
        return best[1] if best is not None else None

    def destination_rule(
        self, host: str, of_service: str, client: Client, workload: Workload
    ) -> Document[Any] | None:
        for namespace in (client.namespace, of_service, ROOT):
            here = [
                each
                for each in self.of(Kind.DESTINATION_RULE, namespace)
                if _sees(each, client.namespace) and _rank(each.spec.host, each, host)
            ]
            own = [
                each
                for each in here
                if each.spec.workloadSelector is not None
                and namespace == client.namespace
                and _has(workload.labels, each.spec.workloadSelector.matchLabels)
            ]
            for group in (own, [each for each in here if each.spec.workloadSelector is None]):
                if group:
                    return max(group, key=lambda each: _rank(each.spec.host, each, host))
        return None

    def sidecar(self, workload: Workload) -> Document[Any] | None:
        here = self.of(Kind.SIDECAR, workload.namespace)
        labelled = [each for each in here if each.spec.workloadSelector and each.spec.workloadSelector.labels]
        for each in labelled:
            if _has(workload.labels, each.spec.workloadSelector.labels):
                return each
        for each in (*here, *self.of(Kind.SIDECAR, ROOT)):
            if not (each.spec.workloadSelector and each.spec.workloadSelector.labels):
                return each
        return None

    def mode(self, workload: Workload, port: int) -> str:
        narrow, wide, mesh = self._peers(workload)
        found = [each for each in (narrow, wide, mesh) if each is not None]
        for each in found:
            on_port = each.spec.portLevelMtls.get(str(port))
            if on_port is not None and on_port.mode != "UNSET":
                return str(on_port.mode)
        for each in found:
            if each.spec.mtls is not None and each.spec.mtls.mode != "UNSET":
                return str(each.spec.mtls.mode)
        return "PERMISSIVE"

    def _peers(self, workload: Workload) -> tuple[Document[Any] | None, ...]:
        here = self.of(Kind.PEER_AUTHENTICATION, workload.namespace)
        narrow = [each for each in here if each.spec.selector and each.spec.selector.matchLabels]
        chosen = [each for each in narrow if _has(workload.labels, each.spec.selector.matchLabels)]
        wide = [each for each in here if each not in narrow]
        mesh = [
            each
            for each in self.of(Kind.PEER_AUTHENTICATION, ROOT)
            if not (each.spec.selector and each.spec.selector.matchLabels)
        ]
        return tuple(group[0] if group else None for group in (chosen, wide, mesh))

    def authorization(self, workload: Workload) -> list[Document[Any]]:
        found = []
        for each in self.of(Kind.AUTHORIZATION_POLICY, workload.namespace, ROOT):
            targets = [target.name for target in each.spec.targetRefs if target.kind == "Service"]
            if each.spec.targetRefs:
                chosen = workload.service in targets
            else:
                chosen = each.spec.selector is None or _has(workload.labels, each.spec.selector.matchLabels)
            if chosen:
                found.append(each)
        return found


def _has(labels: Any, wanted: Any) -> bool:
    return all(item in labels.items() for item in wanted.items())


def _sees(document: Document[Any], namespace: str) -> bool:
    exported = document.spec.exportTo
    return (
        not exported
        or "*" in exported
        or namespace in exported
        or ("." in exported and namespace == document.namespace)
    )


def _rank(name: str, document: Document[Any], host: str) -> int:
    """0: no match; the longer the better."""
    for candidate in hosts.candidates(name, document.namespace, DOMAIN):
        if candidate == host:
            return 1_000
        if candidate.startswith("*") and host.endswith(candidate[1:]):
            return len(candidate)
    return 0


# ------------------------------------------------------------------------------------------------- orders


@SLOW
@given(
    st.lists(mesh_documents.documents(), min_size=1, max_size=6),
    st.lists(mesh_documents.documents(), max_size=4),
)
def test_an_order_is_judged_and_what_is_in_force_is_as_it_was_told(
    first: list[Written], second: list[Written]
) -> None:
    services = {
        each.host: each
        for each in (
            MeshService(
                host_of(name, "default", DOMAIN), name, "default", (Port(9080),), (Endpoint("10.0.0.1", 1),)
            )
            for name in NAMES
        )
    }
    view = document_view.empty_view()
    for written in (first, second):
        if not written:
            continue
        files = document_orders.read_files(
            [FileText(f"{number}", as_text(each)) for number, each in enumerate(written)], "default"
        )
        forced = document_orders.prepare(view, files, services, force=True)
        told = document_orders.prepare(view, files, services, force=False)
        assert [each.message for each in forced.problems] == [each.message for each in told.problems]
        assert len(forced.errors) == len([each for each in files.problems if each.severity is Severity.ERROR])
        view = _after(view, forced)
        again = document_orders.prepare(view, files, services, force=True)
        assert {each.outcome for each in again.changes} <= {UNCHANGED}
        assert forced.policies.documents.keys() == view.policies.documents.keys()


def _after(view: DocumentView, prepared: document_orders.Prepared) -> DocumentView:
    revision = view.revision + 1
    held = dict(view.held)
    for change in prepared.changes:
        document = prepared.policies.get(change.key)
        if change.is_write and change.read is not None and document is not None:
            held[change.key] = Held(document, change.read.content)
    return DocumentView(prepared.policies, held, revision)
