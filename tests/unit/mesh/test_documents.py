"""Documents applied, deleted and compared on a store: one transaction, under guards, with an audit entry each."""

from __future__ import annotations

import asyncio

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import CHANGES_OF_TXN_MAX
from atoll.resources.mesh.document_api import (
    CHANGED,
    CREATED,
    DELETED,
    MISSING,
    UNCHANGED,
    DeleteOrder,
    DocumentName,
    DocumentsAsked,
    FileText,
)
from atoll.resources.mesh.documents.kinds import DocumentKey, Kind
from atoll.store.api import Put, Range, prefix_end
from atoll.store.audit import hash_of
from tests.unit.mesh.documents_kit import (
    ANN,
    BOTH,
    ROUTE,
    SUBSETS,
    Ailing,
    Kit,
    order,
    service,
    with_documents,
)

ROUTE_KEY = DocumentKey(Kind.VIRTUAL_SERVICE, "default", "reviews")
RULE_KEY = DocumentKey(Kind.DESTINATION_RULE, "default", "reviews")


def outcomes(applied: object) -> list[tuple[str, str]]:
    return [(each.kind, each.outcome) for each in applied.documents]  # type: ignore[attr-defined]


def entry(name: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\nspec: {{hosts: [{name}.test], ports: [{{number: 80, name: http}}]}}\n"
    )


def test_what_others_refer_to_is_written_first_and_both_are_in_force_at_once() -> None:
    async def scenario(kit: Kit) -> None:
        applied = await kit.apply(BOTH)
        assert outcomes(applied) == [("DestinationRule", CREATED), ("VirtualService", CREATED)]
        assert set(kit.documents.policies.documents) == {ROUTE_KEY, RULE_KEY}
        route = kit.documents.policies.get(ROUTE_KEY)
        assert route is not None and route.created == route.revision == applied.revision

    with_documents(scenario)


def test_applying_again_writes_nothing() -> None:
    async def scenario(kit: Kit) -> None:
        first = await kit.apply(BOTH)
        again = await kit.apply(BOTH)
        assert [each.outcome for each in again.documents] == [UNCHANGED, UNCHANGED]
        assert again.revision == 0
        changed = await kit.apply(ROUTE, SUBSETS.replace("version: v1", "version: v2"))
        assert outcomes(changed) == [("DestinationRule", CHANGED), ("VirtualService", UNCHANGED)]
        rule = kit.documents.policies.get(RULE_KEY)
        assert rule is not None and (rule.created, rule.revision) == (first.revision, changed.revision)

    with_documents(scenario)


def test_each_document_has_its_audit_entry_in_the_same_revision() -> None:
    async def scenario(kit: Kit) -> None:
        applied = await kit.apply(BOTH)
        after = hash_of(kit.documents.view.held[RULE_KEY].content)
        assert kit.audited[0] == ("ann", "mesh-document.created", str(RULE_KEY), "", after)
        written = await kit.store.range(Range(document_view.PREFIX, prefix_end(document_view.PREFIX)))
        assert {kv.mod_revision for kv in written.kvs} == {applied.revision}
        deleted = await kit.documents.delete(ANN, DeleteOrder((FileText("a", BOTH),)))
        assert outcomes(deleted) == [("VirtualService", DELETED), ("DestinationRule", DELETED)]
        assert kit.audited[-1] == ("ann", "mesh-document.deleted", str(RULE_KEY), after, "")

    with_documents(scenario)


def test_an_order_with_an_error_writes_nothing_and_names_every_place() -> None:
    async def scenario(kit: Kit) -> None:
        with pytest.raises(AtollError) as caught:
            await kit.apply(BOTH.replace("host: reviews, subset: v1", "host: revews"), SUBSETS + "  a: 1\n")
        error = caught.value
        assert (error.code, error.reason) == (Code.INVALID, Reason.CONTENT_INVALID)
        assert error.facts == {"file": "2.yaml", "line": 8, "column": 3, "path": "spec.a"}
        assert error.message.splitlines() == [
            "2 errors, nothing was changed",
            "2.yaml:8:3: error: spec.a: there is no field 'a' here; "
            "there are host, trafficPolicy, subsets, exportTo, workloadSelector",
            "1.yaml:8:27: error: spec.http[0].route[0].destination.host: there is no service 'revews'; "
            "did you mean reviews?",
        ]
        assert not kit.documents.view.held

    with_documents(scenario)


def test_force_writes_what_refers_to_nothing_with_a_warning() -> None:
    async def scenario(kit: Kit) -> None:
        applied = await kit.apply(ROUTE, force=True)
        assert [each.message for each in applied.warnings] == ["reviews has no subset 'v1'"]
        assert ROUTE_KEY in kit.documents.view.held
        shown = kit.documents.get(DocumentName("vs", "reviews"))
        assert [each.message for each in shown.problems] == ["reviews has no subset 'v1'"]

    with_documents(scenario)


def test_a_dry_run_and_a_difference_write_nothing() -> None:
    async def scenario(kit: Kit) -> None:
        applied = await kit.apply(BOTH, dry_run=True)
        assert applied.dry_run and [each.outcome for each in applied.documents] == [CREATED, CREATED]
        differences = await kit.documents.differences(order(BOTH))
        assert [each.before for each in differences.documents] == ["", ""]
        assert "kind: DestinationRule" in differences.documents[0].after
        assert not kit.documents.view.held and not kit.audited

    with_documents(scenario)


def test_deleting_what_others_need_is_refused_by_the_name_of_who_needs_it() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.apply(BOTH)
        names = (DocumentName("dr", "reviews"),)
        with pytest.raises(AtollError, match=r"VirtualService/default/reviews: error: .*no subset 'v1'"):
            await kit.documents.delete(ANN, DeleteOrder(names=names))
        forced = await kit.documents.delete(ANN, DeleteOrder(names=names, force=True))
        assert outcomes(forced) == [("DestinationRule", DELETED)]
        again = await kit.documents.delete(ANN, DeleteOrder(names=names))
        assert outcomes(again) == [("DestinationRule", MISSING)] and again.revision == 0

    with_documents(scenario)


def test_two_nodes_that_write_at_once_both_succeed_and_each_decides_on_what_the_other_wrote() -> None:
    async def scenario(kit: Kit) -> None:
        done = await asyncio.gather(
            *(node.apply(ANN, order(entry(f"e{n}"))) for n in range(8) for node in (kit.documents, kit.other))
        )
        last = max(each.revision for each in done)
        assert await kit.documents.follower.at(last) and await kit.other.follower.at(last)
        assert kit.documents.policies.documents == kit.other.policies.documents
        assert len(kit.documents.policies.documents) == 8
        assert len([each for each in kit.audited if each[1] == "mesh-document.created"]) >= 8

    with_documents(scenario)


def test_contradicting_documents_of_two_nodes_are_not_both_written() -> None:
    """The second one is judged again once the first is there: it would never have been in force."""

    async def scenario(kit: Kit) -> None:
        text = ROUTE.replace(", subset: v1", "")
        other = text.replace("name: reviews}", "name: again}")
        done = await asyncio.gather(
            kit.documents.apply(ANN, order(text)), kit.other.apply(ANN, order(other)), return_exceptions=True
        )
        refused = [each for each in done if isinstance(each, AtollError)]
        assert len(refused) == 1 and "routes reviews already" in refused[0].message

    with_documents(scenario)


def test_what_was_prepared_on_other_documents_than_those_in_force_is_not_written() -> None:
    async def scenario(kit: Kit) -> None:
        text = ROUTE.replace(", subset: v1", "")
        files = await kit.documents.read(order(text).files, "default")
        again = await kit.other.read(order(text.replace("name: reviews}", "name: again}")).files, "default")
        first, second = kit.documents.prepare(files, force=False), kit.other.prepare(again, force=False)
        await kit.documents.commit(ANN, first)
        with pytest.raises(AtollError) as caught:
            await kit.other.commit(ANN, second)
        assert caught.value.code is Code.CONFLICT
        assert list(kit.documents.view.held) == [ROUTE_KEY]

    with_documents(scenario)


def test_more_documents_than_a_transaction_takes_are_written_in_pieces() -> None:
    async def scenario(kit: Kit) -> None:
        count = 2 * CHANGES_OF_TXN_MAX + 1
        applied = await kit.apply("---\n".join(entry(f"e{n}") for n in range(count)))
        assert len(kit.documents.view.held) == len(applied.documents) == count
        created = {held.document.created for held in kit.documents.view.held.values()}
        assert len(created) == 3

    with_documents(scenario)


def test_a_document_of_a_newer_release_is_left_as_it_was_known() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.apply(BOTH)
        known = kit.documents.policies.get(RULE_KEY)
        place = document_view.place_of(RULE_KEY)
        await kit.store.put(Put(place, b'{"format": 99}'))
        newer = document_view.AT + b"Hologram/default/x"
        put = await kit.store.put(Put(newer, b"{}"))
        assert await kit.documents.follower.at(put.revision)
        assert kit.documents.policies.get(RULE_KEY) is known
        assert sorted(kit.documents.view.unreadable) == [str(RULE_KEY), "Hologram/default/x"]
        await kit.apply(SUBSETS.replace("version: v1", "version: v2"))
        assert sorted(kit.documents.view.unreadable) == ["Hologram/default/x"]

    with_documents(scenario)


def test_a_node_that_starts_reads_what_is_there_and_forgets_what_is_gone() -> None:
    async def scenario(kit: Kit) -> None:
        applied = await kit.apply(BOTH, *(entry(f"e{n}") for n in range(3)))
        assert await kit.other.follower.at(applied.revision)
        await kit.documents.delete(ANN, DeleteOrder(names=(DocumentName("se", "e1"),)))
        await kit.other.follower.load()
        assert kit.other.policies.documents == kit.documents.policies.documents

    with_documents(scenario)


def test_documents_are_found_by_kind_namespace_and_name() -> None:
    async def scenario(kit: Kit) -> None:
        kit.know(service("ratings", "v1", namespace="shop"))
        shop = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ratings, namespace: shop}, "
        shop += "spec: {host: ratings}}"
        await kit.apply(BOTH, shop)
        find = kit.documents.find
        assert [each.name for each in find(DocumentsAsked("destinationrules"))] == ["reviews", "ratings"]
        assert [each.kind for each in find(DocumentsAsked(namespace="public"))] == [
            "DestinationRule",
            "VirtualService",
        ]
        assert [each.namespace for each in find(DocumentsAsked(name="ratings"))] == ["shop"]
        with pytest.raises(AtollError, match="no kind 'servicez'.*"):
            find(DocumentsAsked("servicez"))
        with pytest.raises(AtollError) as caught:
            kit.documents.get(DocumentName("vs", "nobody"))
        assert caught.value.code is Code.NOT_FOUND

    with_documents(scenario)


def test_while_the_store_is_away_what_was_last_known_is_in_force_and_nothing_is_changed() -> None:
    ailing = Ailing()

    async def scenario(kit: Kit) -> None:
        await kit.apply(BOTH)
        ailing.writes_left = 0
        with pytest.raises(AtollError) as caught:
            await kit.apply(SUBSETS.replace("version: v1", "version: v2"))
        assert (caught.value.code, caught.value.retry_after_s) == (Code.UNAVAILABLE, 1.0)
        assert set(kit.documents.policies.documents) == {ROUTE_KEY, RULE_KEY}
        assert [each.name for each in kit.documents.find(DocumentsAsked("vs"))] == ["reviews"]
        assert len((await kit.documents.differences(order(BOTH))).documents) == 2
        ailing.writes_left = None
        await kit.apply(SUBSETS.replace("version: v1", "version: v2"))

    with_documents(scenario, ailing)


def test_an_order_in_pieces_that_fails_on_its_way_says_how_far_it_came() -> None:
    ailing = Ailing()

    async def scenario(kit: Kit) -> None:
        text = "---\n".join(entry(f"e{n:03}") for n in range(2 * CHANGES_OF_TXN_MAX))
        ailing.writes_left = 1
        with pytest.raises(AtollError, match=rf"the first {CHANGES_OF_TXN_MAX} of .* are written") as caught:
            await kit.apply(text)
        assert caught.value.code is Code.UNKNOWN
        ailing.writes_left = None
        again = await kit.apply(text)
        assert [each.outcome for each in again.documents].count(UNCHANGED) == CHANGES_OF_TXN_MAX
        assert len(kit.documents.view.held) == 2 * CHANGES_OF_TXN_MAX

    with_documents(scenario, ailing)
