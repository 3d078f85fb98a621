"""Previews: what would be refused, which keys change, and whom it would reach."""

from __future__ import annotations

import pytest

from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_listeners import Listener
from atoll.planes.registry.policy.key_changes import changes
from atoll.resources.config_views import Details, KeyChange
from atoll.resources.consumer import Consumer
from tests.unit.registry.config_kit import ANN, KEY, Kit, with_configs


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("yaml", "a: 1\nb: {c: x}\n", "b:\n  c: y\nd: [1]\n", [("a", "1", None), ("b.c", "x", "y"), ("d[0]", None, "1")]),
        ("json", '{"a": null}', '{"a": {}}', [("a", "null", "{}")]),
        ("toml", "[t]\na = 1\n", "[t]\na = 2\n", [("t.a", "1", "2")]),
        ("properties", "# c\na.b=1\nc = 2\n", "a.b = \\\n  3\nc=2", [("a.b", "1", "3")]),
        ("text", "one\ntwo\n", "one\nthree\n", [("line 2", "two", "three")]),
        ("yaml", "a: 1", "a: [", [("line 1", "a: 1", "a: [")]),
        ("yaml", "a: 1", "# said twice\na:   1", []),
        ("text", "", "x", [("line 1", None, "x")]),
    ],
)  # fmt: skip
def test_the_keys_that_change(
    kind: str, before: str, after: str, expected: list[tuple[str, str | None, str | None]]
) -> None:
    found, more = changes(kind, before, after)
    assert (list(found), more) == ([KeyChange(*each) for each in expected], 0)


def test_more_changes_than_are_shown_are_counted() -> None:
    found, more = changes("properties", "", "\n".join(f"k{number}=1" for number in range(250)))
    assert (len(found), more) == (200, 50)


def test_a_preview_says_who_would_get_it_and_writes_nothing() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, "a: 1", Details(type="yaml"))
        await kit.configs.publish(ANN, KEY, "a: 9", Details(gray=gray.tag("blue")))
        for name, consumer in (("c1", Consumer("10.0.0.1")), ("c2", Consumer("10.0.0.2", tag="blue"))):
            kit.configs.listen(Listener(name, consumer, "", lambda told: None), KEY)
        revision = kit.configs.view.revision
        reach = kit.configs.reach
        formal = await reach.preview(ANN, KEY, "a: 2", Details())
        assert formal.changes == (KeyChange("a", "1", "2"),) and not formal.refusal
        assert {each.listener.client: each.changes for each in formal.reaches} == {"c1": True, "c2": False}
        assert {each.listener.client: each.listener.gray_name for each in formal.reaches}["c2"] == "tag_blue"
        beta = await reach.preview(ANN, KEY, "a: 3", Details(gray=gray.beta("10.0.0.2")))
        assert {each.listener.client: each.changes for each in beta.reaches} == {"c1": False, "c2": True}
        broken = await reach.preview(ANN, KEY, "a: [", Details())
        assert broken.faults[0].line == 2 and "not valid yaml" in broken.refusal
        stale = await reach.preview(ANN, KEY, "a: 2", Details(cas_md5="0"))
        assert "has changed" in stale.refusal and not any(each.changes for each in stale.reaches)
        assert kit.configs.view.revision == revision
        listened, unasked = await reach.listened("10.0.0.2")
        assert [each.key for each in listened] == [KEY] and unasked == ()

    with_configs(scenario)
