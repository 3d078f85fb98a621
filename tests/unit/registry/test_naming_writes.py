"""The consistent half of naming on a store in memory: services, persistent instances, overrides, health, switches."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.model.naming_decisions import MetadataChange, OverrideChange, ServiceChange
from atoll.planes.registry.service.override_cleaning import OverrideCleaner
from atoll.resources import naming_keys, records
from atoll.resources.election import Token
from atoll.resources.service import Cluster, HealthChecker, Selector, Service, ServiceKey
from atoll.runtime import loop
from atoll.store.api import Delete, Put, Range
from atoll.store.term import Term
from tests.unit.registry.naming_kit import ANN, AUDITED, KEY, Bench, Listener, at, on_a_node


async def refused(going: Awaitable[object]) -> tuple[Code, Reason]:
    with pytest.raises(AtollError) as caught:
        await going
    return caught.value.code, caught.value.reason


def test_a_service_is_made_changed_and_removed_each_with_its_audit_entry() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        await naming.create_service(ANN, Service(key=KEY, protect_threshold=0.5, metadata={"a": "b"}))
        assert await refused(naming.create_service(ANN, Service(key=KEY))) == (
            Code.CONFLICT,
            Reason.SERVICE_EXISTS,
        )
        await naming.update_service(ANN, KEY, ServiceChange(selector=Selector("nearby", "zone")))
        found = naming.service(KEY)
        assert (found.explicit, found.service.protect_threshold, found.service.metadata) == (
            True,
            0.5,
            {"a": "b"},
        )
        assert found.service.selector == Selector("nearby", "zone")
        await naming.delete_service(ANN, KEY)
        assert naming.services("public") == []
        assert await refused(naming.delete_service(ANN, KEY)) == (Code.NOT_FOUND, Reason.SERVICE_NOT_FOUND)
        actions = ["service.create", "service.update", "service.delete"]
        assert bench.audited == [("ann", action, str(KEY)) for action in actions]

    on_a_node(scenario)


def test_a_service_with_instances_cannot_be_deleted() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        naming.register(bench.client(), KEY, [at(1)])
        assert await refused(naming.delete_service(ANN, KEY)) == (Code.CONFLICT, Reason.SERVICE_NOT_EMPTY)
        naming.register("c1", KEY, [])
        assert naming.services("public") == [KEY]
        await naming.delete_service(ANN, KEY)
        assert naming.services("public") == []

    on_a_node(scenario)


def test_a_persistent_instance_stays_without_its_client() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        listener = Listener()
        naming.subscribe(bench.client(), KEY, Selection(), listener)
        await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
        bench.pass_s(100)
        assert bench.asked() == [1] and listener.ports == [[1]]
        assert await naming.register_persistent(ANN, KEY, at(1, ephemeral=False)) == 0
        await naming.deregister_persistent(ANN, KEY, at(1).id)
        assert bench.asked() == []
        assert await naming.deregister_persistent(ANN, KEY, at(1).id) == 0

    on_a_node(scenario)


MIXTURES = {
    "ephemeral first": (True, None),
    "persistent first": (False, None),
    "declared ephemeral": (None, True),
    "declared persistent": (None, False),
}


@pytest.mark.parametrize(("first", "declared"), MIXTURES.values(), ids=MIXTURES)
def test_a_service_takes_one_kind_of_instance_only(first: bool | None, declared: bool | None) -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        client = bench.client()
        if declared is not None:
            await naming.create_service(ANN, Service(key=KEY, ephemeral=declared))
        elif first:
            naming.register(client, KEY, [at(1)])
        else:
            await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
        if first or declared:
            mixed = naming.register_persistent(ANN, KEY, at(2, ephemeral=False))
            assert await refused(mixed) == (Code.INVALID, Reason.SERVICE_KIND)
            naming.register(client, KEY, [at(2)])
        else:
            with pytest.raises(AtollError) as caught:
                naming.register(client, KEY, [at(2)])
            assert caught.value.reason is Reason.SERVICE_KIND
            await naming.register_persistent(ANN, KEY, at(2, ephemeral=False))
        assert 2 in bench.asked()

    on_a_node(scenario)


def test_an_override_wins_over_the_client_and_survives_its_return() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        listener = Listener()
        naming.register(bench.client(), KEY, [at(1, weight=1.0, metadata={"v": "1"}), at(2)])
        naming.subscribe("c1", KEY, Selection(), listener)
        await naming.override_instance(ANN, KEY, at(1).id, OverrideChange(enabled=False, weight=5.0))
        bench.pass_s(1)
        assert bench.asked() == [2] and listener.ports == [[2]]
        naming.register("c1", KEY, [at(2)])
        bench.pass_s(59)
        naming.register("c1", KEY, [at(1, weight=2.0, metadata={"v": "2"}), at(2)])
        assert bench.asked() == [2]
        seen = naming.instance(KEY, at(1).id)
        assert (seen.enabled, seen.weight, seen.metadata) == (False, 5.0, {"v": "2"})
        await naming.remove_override(ANN, KEY, at(1).id)
        assert bench.asked() == [1, 2]
        assert naming.instance(KEY, at(1).id).weight == 2.0

    on_a_node(scenario)


def test_single_entries_of_metadata_are_changed_on_many_instances() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        naming.register(bench.client(), KEY, [at(1, metadata={"a": "1", "b": "2"}), at(2)])
        both = [at(1).id, at(2).id]
        await naming.override_metadata(ANN, KEY, both, MetadataChange(put={"a": "9"}))
        assert naming.instance(KEY, both[0]).metadata == {"a": "9", "b": "2"}
        assert naming.instance(KEY, both[1]).metadata == {"a": "9"}
        await naming.override_metadata(ANN, KEY, both[:1], MetadataChange(remove=("b",)))
        assert naming.instance(KEY, both[0]).metadata == {"a": "9"}
        missing = naming.override_metadata(ANN, KEY, [at(7).id], MetadataChange(put={"a": "9"}))
        assert await refused(missing) == (Code.NOT_FOUND, Reason.INSTANCE_NOT_FOUND)

    on_a_node(scenario)


@pytest.mark.parametrize("checker", ["TCP", "HTTP", "MYSQL", "NONE"])
def test_health_is_set_by_hand_only_where_nothing_probes(checker: str) -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
        await naming.update_cluster(
            ANN, KEY, Cluster(checker=HealthChecker(checker, user="u", command="select 1"))
        )
        setting = naming.set_health(ANN, KEY, at(1).id, False)
        if checker == "NONE":
            assert await setting > 0
            assert bench.ports() == [-1]
        else:
            assert await refused(setting) == (Code.INVALID, Reason.HEALTH_CHECKED)
            assert bench.ports() == [1]

    on_a_node(scenario)


def test_what_a_probe_found_is_kept_once_and_not_audited() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
        audited = len(bench.audited)
        assert await naming.record_health(KEY, at(1).id, False, "refused") > 0
        assert await naming.record_health(KEY, at(1).id, False, "refused") == 0
        assert bench.ports() == [-1] and len(bench.audited) == audited
        assert await naming.record_health(KEY, at(9).id, False, "refused") == 0
        await naming.deregister_persistent(ANN, KEY, at(1).id)
        await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
        assert bench.ports() == [1]

    on_a_node(scenario)


def test_the_threshold_of_the_record_protects_and_labels_choose() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        instances = [at(1, healthy=False, metadata={"zone": "a"}), at(2, metadata={"zone": "b"})]
        naming.register(bench.client(), KEY, instances)
        await naming.update_service(ANN, KEY, ServiceChange(protect_threshold=0.5))
        info = naming.query(KEY, Selection())
        assert info.protected and all(each.healthy for each in info.hosts)
        expression = "CONSUMER.label.zone=PROVIDER.label.zone"
        await naming.update_service(ANN, KEY, ServiceChange(selector=Selector("label", expression)))
        assert [each.port for each in naming.query(KEY, Selection(address="10.9.9.9")).hosts] == []
        await naming.set_labels(ANN, "10.9.9.9", {"zone": "b"})
        assert [each.port for each in naming.query(KEY, Selection(address="10.9.9.9")).hosts] == [2]
        await naming.set_labels(ANN, "10.9.9.9", {})
        assert naming.query(KEY, Selection(address="10.9.9.9")).hosts == ()
        wrong = naming.update_service(ANN, KEY, ServiceChange(selector=Selector("label", "zone=zone")))
        assert await refused(wrong) == (Code.INVALID, Reason.SELECTOR_INVALID)

    on_a_node(scenario)


def test_a_label_that_changes_parts_subscribers_who_were_given_the_same() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        listeners = {name: Listener() for name in ("a", "b")}
        naming.register(bench.client(), KEY, [at(1, metadata={"zone": "a"}), at(2, metadata={"zone": "b"})])
        for name, listener in listeners.items():
            bench.client(name)
            naming.subscribe(name, KEY, Selection(address=f"10.9.9.{ord(name)}"), listener)
        await naming.update_service(ANN, KEY, ServiceChange(selector=Selector("nearby", "zone")))
        for name in listeners:
            await naming.set_labels(ANN, f"10.9.9.{ord(name)}", {"zone": name})
        bench.pass_s(1)
        assert listeners["a"].ports == [[1]] and listeners["b"].ports == [[2]]
        naming.register("c1", KEY, [at(1, metadata={"zone": "a"}), at(3, metadata={"zone": "b"})])
        bench.pass_s(1)
        assert listeners["a"].ports == [[1]] and listeners["b"].ports == [[2], [3]]

    on_a_node(scenario)


def test_two_writers_that_decide_at_once_are_both_heard() -> None:
    async def scenario(bench: Bench) -> None:
        from_both = [
            bench.naming.update_cluster(ANN, KEY, Cluster(name, metadata={"n": name})) for name in ("x", "y")
        ]
        bench.naming.register(bench.client(), KEY, [at(1)])
        await loop.gather(*from_both)
        assert set(bench.naming.service(KEY).service.clusters) == {"x", "y"}

    on_a_node(scenario)


SWITCHES = [
    ("pushEnabled", "false", None),
    ("pushEnabled", "perhaps", "value"),
    ("clientBeatInterval", "3000", None),
    ("clientBeatInterval", "-1", "value"),
    ("pushCacheMillis", "9999", "value"),
    ("tcpHealthParams", '{"max":5000,"min":1000,"factor":0.75}', None),
    ("tcpHealthParams", "{}", "value"),
    ("limitedUrlMap", "/nacos/v1/x:404", None),
    ("limitedUrlMap", "x:404", "value"),
    ("pushVersion", "java:1.0.0", None),
    ("pushVersion", "java", "value"),
    ("nothing", "true", "entry"),
]


@pytest.mark.parametrize(("entry", "value", "wrong"), SWITCHES)
def test_switches_take_their_values_and_name_what_is_wrong(entry: str, value: str, wrong: str | None) -> None:
    async def scenario(bench: Bench) -> None:
        if wrong is None:
            await bench.naming.set_switch(ANN, entry, value)
            assert bench.naming.directory.switches.revision > 0
        else:
            with pytest.raises(AtollError) as caught:
                await bench.naming.set_switch(ANN, entry, value)
            assert caught.value.facts["parameter"] == wrong
            assert entry in caught.value.message

    on_a_node(scenario)


def test_nothing_is_pushed_while_the_switch_is_off_and_all_of_it_afterwards() -> None:
    async def scenario(bench: Bench) -> None:
        listener = Listener()
        bench.naming.subscribe(bench.client(), KEY, Selection(), listener)
        await bench.naming.set_switch(ANN, "pushEnabled", "false")
        bench.naming.register("c1", KEY, [at(1)])
        bench.pass_s(2)
        assert listener.pushes == [] and bench.asked() == [1]
        await bench.naming.set_switch(ANN, "pushEnabled", "true")
        bench.pass_s(2)
        assert listener.ports == [[1]]

    on_a_node(scenario)


def test_while_the_store_is_away_reads_are_marked_and_ephemeral_writes_go_on() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.naming.create_service(ANN, Service(key=KEY, protect_threshold=1.0))
        assert not bench.naming.query(KEY, Selection()).stale
        await bench.store.close()
        bench.naming.stale = True
        bench.naming.register(bench.client(), KEY, [at(1, healthy=False)])
        info = bench.naming.query(KEY, Selection())
        assert info.stale and info.protected and [each.port for each in info.hosts] == [1]
        with pytest.raises(AtollError) as caught:
            await bench.naming.update_service(ANN, KEY, ServiceChange(protect_threshold=0.0))
        assert caught.value.code is Code.UNAVAILABLE

    on_a_node(scenario)


def test_the_audit_entry_is_in_the_transaction_of_its_change() -> None:
    async def scenario(bench: Bench) -> None:
        revision = await bench.naming.create_service(ANN, Service(key=KEY))
        (entry,) = (await bench.store.range(Range(AUDITED))).kvs
        assert entry.mod_revision == revision and entry.value.startswith(b"ann service.create")

    on_a_node(scenario)


def test_an_override_is_forgotten_after_its_instance_was_gone_for_long_and_by_the_leader_alone() -> None:
    async def scenario(bench: Bench) -> None:
        naming, key = bench.naming, b"atoll/tests/leader"
        cleaner = OverrideCleaner(naming, bench.store)
        stands = await bench.store.put(Put(key, b"n1"))
        term = Term("demo", Token(0, stands.revision), key, 0, bench.clock)
        term.extend(bench.clock.boot_s + 1e6)
        naming.register(bench.client(), KEY, [at(1), at(2)])
        await naming.override_instance(ANN, KEY, at(1).id, OverrideChange(enabled=False))

        async def looks(seconds: int) -> None:
            for _ in range(seconds // 10):
                bench.pass_s(10, 1.0)
                await cleaner.look(term)

        def is_kept() -> bool:
            state = naming.directory.service(KEY)
            return state is not None and at(1).id in state.overrides

        await looks(700)
        naming.register("c1", KEY, [at(2)])
        await looks(590)
        naming.register("c1", KEY, [at(1), at(2)])
        await looks(10)
        naming.register("c1", KEY, [at(2)])
        await looks(590)
        naming.stale = True
        await looks(10)
        naming.stale = False
        await looks(600)
        assert is_kept()
        await bench.store.delete(Delete(key))
        assert (await refused(looks(20)))[0] is Code.CONFLICT
        assert is_kept()
        again = await bench.store.put(Put(key, b"n1"))
        term = Term("demo", Token(0, again.revision), key, 0, bench.clock)
        term.extend(bench.clock.boot_s + 1e6)
        await looks(10)
        await naming.follower.at((await bench.store.status()).revision)
        assert not is_kept()

    on_a_node(scenario)


def test_a_record_that_this_release_cannot_read_leaves_the_others_and_the_last_word() -> None:
    async def scenario(bench: Bench) -> None:
        naming, at_ = bench.naming, naming_keys.stored_service(KEY)
        await naming.create_service(ANN, Service(key=KEY, protect_threshold=0.5))
        strange = Service(key=KEY, selector=Selector("by the moon"))
        for value in (b"{", b'{"format":99}', records.encode(strange)):
            written = await bench.store.put(Put(at_, value))
            await naming.follower.at(written.revision)
            assert naming.service(KEY).service.protect_threshold == 0.5
        await naming.register_persistent(ANN, ServiceKey("public", "g", "other"), at(1, ephemeral=False))
        assert len(naming.services("public")) == 2

    on_a_node(scenario)


def test_fields_of_a_newer_release_survive_a_change() -> None:
    async def scenario(bench: Bench) -> None:
        naming, at_ = bench.naming, naming_keys.stored_service(KEY)
        await naming.create_service(ANN, Service(key=KEY))
        kept = (await bench.store.range(Range(at_))).kvs[0].value
        written = await bench.store.put(Put(at_, kept[:-1] + b',"colour":"red"}'))
        await naming.follower.at(written.revision)
        await naming.update_service(ANN, KEY, ServiceChange(protect_threshold=0.5))
        now = (await bench.store.range(Range(at_))).kvs[0].value
        assert b'"colour":"red"' in now and b"0.5" in now

    on_a_node(scenario)
