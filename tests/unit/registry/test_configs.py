"""Publish, query, remove, compare-and-set and listening, on a store in memory."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_listeners import Listener
from atoll.resources.config_item import Capacity, ConfigKey, md5_of
from atoll.resources.config_views import Changed, Details, Published, Search
from atoll.resources.consumer import Consumer
from atoll.resources.namespace import Namespace
from atoll.runtime import loop
from tests.unit.registry.config_kit import ANN, KEY, Kit, open_kit, with_configs


async def outcome(work: Awaitable[Published]) -> Published | AtollError:
    """What came of ``work``, as a value."""
    try:
        return await work
    except AtollError as error:
        return error


def test_what_was_published_is_served_at_once_with_its_md5() -> None:
    async def scenario(kit: Kit) -> None:
        assert kit.configs.query(KEY) is None
        published = await kit.configs.publish(ANN, KEY, "a: 1\n", Details(type="YAML", tags=("x",)))
        served = kit.configs.query(KEY)
        assert served is not None
        assert (served.content, served.md5, served.type) == ("a: 1\n", md5_of("a: 1\n"), "yaml")
        assert published.changed and published.md5 == served.md5
        item = kit.configs.item(KEY)
        assert item is not None and (item.tags, item.user, item.created_from) == (("x",), "ann", "10.0.0.9")
        assert kit.configs.item_by_id(item.id) == item
        again = await kit.configs.publish(ANN, KEY, "a: 1\n")
        assert not again.changed
        assert [entry[1] for entry in kit.audited] == ["create"]

    with_configs(scenario)


def test_a_removed_item_is_gone_and_removing_it_again_is_no_error() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, "x")
        assert await kit.configs.remove(ANN, KEY)
        assert kit.configs.query(KEY) is None
        assert not await kit.configs.remove(ANN, KEY)
        assert kit.configs.view.namespaces() == []

    with_configs(scenario)


def test_compare_and_set_takes_only_the_md5_that_is_there() -> None:
    async def scenario(kit: Kit) -> None:
        with pytest.raises(AtollError) as absent:
            await kit.configs.publish(ANN, KEY, "x", Details(cas_md5=md5_of("y")))
        assert absent.value.reason is Reason.CONFIG_CHANGED and absent.value.facts["md5"] == ""
        await kit.configs.publish(ANN, KEY, "x")
        with pytest.raises(AtollError) as other:
            await kit.configs.publish(ANN, KEY, "z", Details(cas_md5=md5_of("y")))
        assert other.value.facts["md5"] == md5_of("x")
        await kit.configs.publish(ANN, KEY, "z", Details(cas_md5=md5_of("x")))
        with pytest.raises(AtollError) as there:
            await kit.configs.publish(ANN, KEY, "w", Details(create_only=True))
        assert there.value.reason is Reason.CONFIG_EXISTS

    with_configs(scenario)


def test_a_large_content_is_cut_and_put_together_again() -> None:
    text = "".join(f"line {number} \N{SNOWMAN}\n" for number in range(200_000))

    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, text)
        served = kit.configs.query(KEY)
        assert served is not None and served.content == text and served.md5 == md5_of(text)
        item = kit.configs.item(KEY)
        assert item is not None and item.chunks == 3
        with pytest.raises(AtollError) as large:
            await kit.configs.publish(ANN, KEY, "x" * (10 * 1024 * 1024 + 1))
        assert (large.value.code, large.value.reason) == (Code.EXHAUSTED, Reason.CONTENT_TOO_LARGE)

    with_configs(scenario)


def test_a_listener_is_told_only_when_its_own_version_changed() -> None:
    async def scenario(kit: Kit) -> None:
        heard: list[tuple[str, Changed]] = []
        inside = Listener("inside", Consumer("10.0.0.1"), "", lambda told: heard.append(("inside", told)))
        outside = Listener("outside", Consumer("10.0.0.2"), "", lambda told: heard.append(("outside", told)))
        assert not kit.configs.listen(inside, KEY)
        assert not kit.configs.listen(outside, KEY)
        await kit.configs.publish(ANN, KEY, "one")
        assert {who for who, _ in heard} == {"inside", "outside"}
        heard.clear()
        await kit.configs.publish(ANN, KEY, "two", Details(gray=gray.beta("10.0.0.1,10.0.0.3")))
        assert [(who, told.md5, told.gray_name) for who, told in heard] == [("inside", md5_of("two"), "beta")]
        heard.clear()
        await kit.configs.publish(ANN, KEY, "three")
        assert [who for who, _ in heard] == ["outside"]
        heard.clear()
        await kit.configs.remove(ANN, KEY, "beta")
        assert [(who, told.md5) for who, told in heard] == [("inside", md5_of("three"))]
        heard.clear()
        kit.configs.client_closed("inside")
        await kit.configs.remove(ANN, KEY)
        assert [(who, told.md5) for who, told in heard] == [("outside", "")]
        late = Listener("late", Consumer(), md5_of("old"), lambda told: heard.append(("late", told)))
        assert kit.configs.listen(late, KEY)

    with_configs(scenario)


def test_listens_are_bounded_for_a_client_and_for_the_node() -> None:
    async def scenario(kit: Kit) -> None:
        def listen(client: str, name: str) -> None:
            listener = Listener(client, Consumer(), "", lambda told: None)
            kit.configs.listen(listener, ConfigKey("public", "g", name))

        listen("c1", "a")
        listen("c1", "a")
        listen("c1", "b")
        for client, name in (("c1", "c"), ("c2", "c")):
            if client == "c2":
                listen("c2", "a")
            with pytest.raises(AtollError) as refused:
                listen(client, name)
            assert refused.value.reason is Reason.RATE_LIMITED
        kit.configs.client_closed("c1")
        listen("c2", "b")

    with_configs(scenario, ConfigLimits(listens_max=3, client_listens_max=2))


def test_namespaces_come_and_go() -> None:
    async def scenario(kit: Kit) -> None:
        made = await kit.namespaces.create(ANN, Namespace(id="", name="Blue"))
        assert len(made.id) == 36 and made.kind == "custom"
        with pytest.raises(AtollError) as twice:
            await kit.namespaces.create(ANN, Namespace(id=made.id))
        assert twice.value.reason is Reason.NAMESPACE_EXISTS
        await kit.configs.publish(ANN, ConfigKey(made.id, "g", "d"), "x")
        assert [each.configs for each in kit.namespaces.every()] == [0, 1]
        with pytest.raises(AtollError) as in_use:
            await kit.namespaces.remove(ANN, made.id)
        assert in_use.value.reason is Reason.IN_USE
        assert (
            await kit.namespaces.update(ANN, Namespace(id="public", name="Everybody"))
        ).name == "Everybody"
        assert await kit.namespaces.remove(ANN, made.id, force=True)
        assert not await kit.namespaces.remove(ANN, made.id)
        with pytest.raises(AtollError) as unknown:
            await kit.configs.publish(ANN, ConfigKey("nowhere", "g", "d"), "x")
        assert unknown.value.reason is Reason.NAMESPACE_NOT_FOUND

    with_configs(scenario, ConfigLimits(require_namespace=True))


def test_history_holds_what_was_before_and_brings_it_back() -> None:
    async def scenario(kit: Kit) -> None:
        for number, text in enumerate(("one", "two", "three")):
            kit.clock.wall += 1
            await kit.configs.publish(ANN, KEY, text, Details(desc="first" if number == 0 else ""))
        kit.clock.wall += 1
        await kit.configs.remove(ANN, KEY)
        page = await kit.configs.history.page(KEY, 1, 3)
        assert page.total == 4 and page.pages == 2
        assert [(each.op, each.content, each.md5_after) for each in page.entries] == [
            ("D", "three", ""),
            ("U", "two", md5_of("three")),
            ("U", "one", md5_of("two")),
        ]
        assert (await kit.configs.history.page(KEY, 2, 3)).entries[0].op == "I"
        await kit.configs.history.rollback(ANN, KEY, page.entries[2].id)
        item = kit.configs.item(KEY)
        assert item is not None and (item.content, item.desc) == ("one", "first")
        assert kit.audited[-1][1] == "rollback"
        newest = await kit.configs.history.newest(KEY)
        assert (newest.op, newest.content) == ("I", "one")
        with pytest.raises(AtollError) as absent:
            await kit.configs.history.rollback(ANN, KEY, 1)
        assert absent.value.reason is Reason.CONFIG_NOT_FOUND

    with_configs(scenario)


def test_a_large_content_comes_back_from_history_without_being_written_again() -> None:
    large = "x" * 3_000_000

    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, large)
        first = kit.configs.item(KEY)
        await kit.configs.publish(ANN, KEY, "small")
        entry = await kit.configs.history.newest(KEY)
        assert entry.content == large
        await kit.configs.history.rollback(ANN, KEY, entry.id)
        again = kit.configs.item(KEY)
        assert first is not None and again is not None
        assert (again.content, again.chunks_id) == (large, first.chunks_id)

    with_configs(scenario)


def test_search_is_exact_or_by_wildcards_and_pages_do_not_overlap() -> None:
    async def scenario(kit: Kit) -> None:
        for name, kind in (("a.yaml", "yaml"), ("b.yaml", "yaml"), ("b.json", "json")):
            text = '{"x": 1}' if kind == "json" else "x: 1"
            await kit.configs.publish(
                ANN, ConfigKey("public", "g1", name), text, Details(type=kind, tags=(kind,))
            )
        await kit.configs.publish(ANN, ConfigKey("other", "g1", "a.yaml"), "x")
        await kit.configs.publish(ANN, ConfigKey("public", "g1", "cipher-aes-a"), "x: 1")

        def names(search: Search) -> list[str]:
            return [each.key.data_id for each in kit.configs.search(search).items]

        assert names(Search(data_id="b")) == []
        assert names(Search(data_id="b*", blur=True)) == ["b.json", "b.yaml"]
        assert names(Search(types=("json",))) == ["b.json"]
        assert names(Search(tags=("yaml",), group="g1")) == ["a.yaml", "b.yaml"]
        assert names(Search(content="x: 1")) == ["a.yaml", "b.yaml"]
        assert names(Search(all_namespaces=True, data_id="a.yaml")) == ["a.yaml", "a.yaml"]
        pages = [kit.configs.search(Search(), page, 3) for page in (1, 2)]
        assert [each.key.data_id for page in pages for each in page.items] == [
            "a.yaml",
            "b.json",
            "b.yaml",
            "cipher-aes-a",
        ]
        with pytest.raises(AtollError):
            kit.configs.search(Search(), 1, 0)

    with_configs(scenario)


def test_a_quota_is_not_passed_by_two_publishers_at_once() -> None:
    async def scenario(kit: Kit) -> None:
        usage = await kit.configs.capacity.put(ANN, Capacity(scope="group", name="g1", items_max=2))
        assert usage.items_max == 2
        other = await open_kit(kit.store, kit.tasks)
        at_once = [
            part.configs.publish(ANN, ConfigKey("public", "g1", f"d{number}"), "x")
            for number, part in enumerate((kit, other, kit, other, kit, other))
        ]
        outcomes = await loop.gather(*(outcome(each) for each in at_once))
        assert sum(isinstance(each, Published) for each in outcomes) == 2
        refused = [each for each in outcomes if isinstance(each, AtollError)]
        assert {each.reason for each in refused} == {Reason.CAPACITY_REACHED}
        assert {each.facts["scope"] for each in refused} == {"group"}
        await kit.configs.publish(ANN, ConfigKey("public", "g1", "d0"), "changed")
        await kit.configs.capacity.remove(ANN, "group", "g1")
        await kit.configs.publish(ANN, ConfigKey("public", "g1", "d9"), "x")

    with_configs(scenario)
