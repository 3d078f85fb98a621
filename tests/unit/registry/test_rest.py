"""The registry's own API through its typed client: services, configurations, namespaces, accounts, the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from atoll.client.access import Access, Namespaces
from atoll.client.configs import Configs
from atoll.client.node import Client
from atoll.client.registry import Options, Registry
from atoll.client.services import Services
from atoll.client.session import SessionTransport
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code, Reason
from atoll.resources.access_api import AuditAsked, Right
from atoll.resources.config_api import (
    CloneOrder,
    ConfigAsked,
    ConfigRemoval,
    ConfigsAsked,
    EntryAsked,
    ExportAsked,
    HistoryAsked,
    ImportAsked,
    PublishOrder,
    RollbackOrder,
    RolloutMove,
    RolloutOrder,
    ServedAsked,
)
from atoll.resources.config_item import GrayRule
from atoll.resources.config_views import Details
from atoll.resources.namespace_api import NamespaceOrder, NamespaceRemoval
from atoll.resources.naming_api import (
    AddressLabels,
    ClusterOrder,
    HealthOrder,
    InstanceAsked,
    InstanceOrder,
    InstancesAsked,
    OverrideOrder,
    OverrideRemoval,
    ServiceAsked,
    ServiceChangeOrder,
    ServiceOrder,
    ServicesAsked,
)
from atoll.resources.rollout import Gate as RolloutGate
from atoll.resources.rollout import HealthyGate, HttpGate, Plan, PrometheusGate
from atoll.resources.service import Cluster, HealthChecker, Selector
from atoll.runtime import loop
from atoll.runtime.http_api import Endpoint, application
from atoll.runtime.http_guard import Gate
from atoll.runtime.logs import Log
from tests.unit.registry.rest_kit import ADDRESS, TOKEN, Kit, run
from tests.waiting import wait_until

OPEN = {("POST", "/v1/login"), ("POST", "/v1/login/first")}


def test_a_configuration_is_published_read_and_removed() -> None:
    async def scenario(kit: Kit) -> None:
        configs = Configs(kit.client)
        published = await configs.publish(PublishOrder("a.yaml", "a: 1", details=Details(type="yaml")))
        assert published.changed
        shown = await configs.one(ConfigAsked("a.yaml"))
        assert (shown.there, shown.content, shown.type, shown.user) == (True, "a: 1", "yaml", "(operator)")
        beta = Details(gray=GrayRule("beta", "10.0.0.7"))
        await configs.publish(PublishOrder("a.yaml", "a: 2", details=beta))
        told = [
            await configs.served(ServedAsked("a.yaml", address=each)) for each in ("10.0.0.7", "10.0.0.8")
        ]
        assert [each.content for each in told] == ["a: 2", "a: 1"]
        assert [each.name for each in (await configs.one(ConfigAsked("a.yaml"))).grays] == ["beta"]
        assert (await configs.remove(ConfigRemoval("a.yaml", gray_name="beta"))).removed
        assert (await configs.remove(ConfigRemoval("a.yaml"))).removed
        assert not (await configs.remove(ConfigRemoval("a.yaml"))).removed
        assert not (await configs.one(ConfigAsked("a.yaml"))).there

    run(scenario)


def test_configurations_are_listed_and_what_one_was_comes_back() -> None:
    async def scenario(kit: Kit) -> None:
        configs = Configs(kit.client)
        for content in ("a: 1", "a: 2", "a: 3"):
            await configs.publish(PublishOrder("a.yaml", content))
        await configs.publish(PublishOrder("b.json", "{}", group="g", details=Details(tags=("x", "y"))))
        page = await configs.every(ConfigsAsked(page_size=1))
        assert (page.total, [each.key.data_id for each in page.configs]) == (2, ["a.yaml"])
        found = await configs.every(ConfigsAsked(data_id="*.json", tags="y, x"))
        assert [each.key.group for each in found.configs] == ["g"]
        history = await configs.history(HistoryAsked("a.yaml"))
        assert [each.op for each in history.entries] == ["U", "U", "I"]
        second = history.entries[0]
        assert (await configs.entry(EntryAsked("a.yaml", second.id))).content == "a: 2"
        await configs.rollback(RollbackOrder("a.yaml", second.id))
        assert (await configs.one(ConfigAsked("a.yaml"))).content == "a: 2"
        with pytest.raises(AtollError) as caught:
            await configs.rollback(RollbackOrder("a.yaml", 1))
        assert caught.value.code is Code.NOT_FOUND

    run(scenario)


def test_a_list_shows_what_its_reader_may_read() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.require_login()
        access = Access(kit.client)
        await access.create_user("ann", "ann's")
        await access.give_role("dev", "ann")
        await access.give_right(Right("dev", "public:*:config/shop.*", "r"))
        for name in ("shop.yaml", "other.yaml"):
            await Configs(kit.client).publish(PublishOrder(name, "a: 1"))
        ann = Configs(kit.of((await access.login("ann", "ann's")).token))
        assert [each.key.data_id for each in (await ann.every(ConfigsAsked())).configs] == ["shop.yaml"]

    run(scenario)


def test_a_malformed_content_is_refused_with_its_place_and_previewed() -> None:
    async def scenario(kit: Kit) -> None:
        configs = Configs(kit.client)
        await configs.publish(PublishOrder("a.yaml", "a: 1\nb: 2\n", details=Details(type="yaml")))
        wrong = PublishOrder("a.yaml", "a: 1\nb: [2\n", details=Details(type="yaml"))
        preview = await configs.preview(wrong)
        assert preview.refusal and preview.faults[0].line >= 2
        with pytest.raises(AtollError) as caught:
            await configs.publish(wrong)
        assert caught.value.reason is Reason.CONTENT_INVALID
        assert int(caught.value.facts["line"]) >= 2
        preview = await configs.preview(PublishOrder("a.yaml", "a: 1\nb: 3\n"))
        assert [(each.before, each.after) for each in preview.changes] == [("2", "3")]
        assert not preview.refusal

    run(scenario)


def test_a_staged_release_reaches_its_share_and_is_taken_back() -> None:
    async def scenario(kit: Kit) -> None:
        configs = Configs(kit.client)
        await configs.publish(PublishOrder("a", "all"))
        async with kit.listening() as url:
            apps = [Registry(url, Options(token=TOKEN, client=f"host-{number}")) for number in range(20)]
            followed = [await app.follow_config("a") for app in apps]
            assert len((await configs.listeners(ConfigAsked("a"))).listeners) == 20
            plan = Plan(steps=(50.0, 100.0), interval_s=3_600.0)
            shown = await configs.start_rollout(RolloutOrder("a", "some", plan))
            assert (shown.state, shown.percent) == ("running", 50.0)

            def having(content: str) -> int:
                return sum(each.value is not None and each.value.content == content for each in followed)

            await _until(lambda: having("some"))
            assert having("all") > 0 and [each.state for each in await configs.rollouts()] == ["running"]
            moved = await configs.move_rollout(RolloutMove("a", "abort", why="looks odd"))
            assert moved.state == "cancelled" or moved.state == "rolled_back"
            await _until(lambda: having("all") == 20)
            assert (await configs.rollout(ConfigAsked("a"))).decisions[-1].why == "looks odd"
            with pytest.raises(AtollError) as caught:
                await configs.move_rollout(RolloutMove("a", "advance"))
            assert caught.value.code is Code.CONFLICT
            for app in apps:
                await app.close()

    run(scenario)


@pytest.mark.parametrize(
    "gate, allowed",
    [
        (HealthyGate(("orders",)), True),
        (HealthyGate(("orders", "g@@payments")), False),
        (HealthyGate(("orders",), namespace="other"), False),
        (HttpGate("http://127.0.0.1:7070/"), False),
        (PrometheusGate("http://127.0.0.1:9090", "up"), False),
    ],
    ids=["own", "another service", "another namespace", "a URL", "a Prometheus"],
)
def test_a_gate_looks_only_where_its_author_may(gate: RolloutGate, allowed: bool) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.require_login()
        access, order = Access(kit.client), RolloutOrder("a", "b", Plan(gates=(gate,)))
        await access.create_user("ann", "ann's")
        await access.give_role("dev", "ann")
        await access.give_right(Right("dev", "public:*:config/*", "rw"))
        await access.give_right(Right("dev", "public:DEFAULT_GROUP:naming/orders", "r"))
        ann = Configs(kit.of((await access.login("ann", "ann's")).token))
        if allowed:
            assert (await ann.start_rollout(order)).state == "running"
            return
        with pytest.raises(AtollError) as caught:
            await ann.start_rollout(order)
        assert caught.value.reason is Reason.PERMISSION_DENIED
        assert await ann.rollouts() == []
        assert (await Configs(kit.client).start_rollout(order)).state == "running"

    run(scenario)


def test_configurations_go_out_and_come_in_as_an_archive_and_are_copied() -> None:
    async def scenario(kit: Kit) -> None:
        configs = Configs(kit.client)
        await Namespaces(kit.client).create(NamespaceOrder("dev"))
        await configs.publish(PublishOrder("a.yaml", "a: 1", details=Details(type="yaml", desc="of a")))
        await configs.publish(PublishOrder("b.json", "{}", group="g", details=Details(type="json")))
        archive = await configs.export(ExportAsked(data_id="a*"))
        done = await configs.take_archive(archive, ImportAsked("dev", "abort"))
        assert [(each.namespace, each.data_id) for each in done.published] == [("dev", "a.yaml")]
        shown = await configs.one(ConfigAsked("a.yaml", namespace="dev"))
        assert (shown.content, shown.type) == ("a: 1", "yaml")
        again = await configs.take_archive(archive, ImportAsked("dev", "skip"))
        assert [each.data_id for each in again.skipped] == ["a.yaml"] and not again.published
        copied = await configs.clone(CloneOrder("public", "dev", policy="overwrite"))
        assert {each.data_id for each in copied.published} == {"a.yaml", "b.json"}
        with pytest.raises(AtollError) as caught:
            await configs.take_archive(b"no archive", ImportAsked("dev"))
        assert caught.value.reason is Reason.IMPORT_INVALID

    run(scenario)


def test_a_large_content_passes_and_a_too_large_one_is_named() -> None:
    async def scenario(kit: Kit) -> None:
        configs = Configs(kit.client)
        content = "\n" * 10_485_760  # two bytes each as JSON
        with pytest.raises(AtollError, match="blank"):
            await configs.publish(PublishOrder("large", content))
        await configs.publish(PublishOrder("large", "x" * 10_485_760))
        with pytest.raises(AtollError) as caught:
            await configs.publish(PublishOrder("large", "x" * 10_485_761))
        assert caught.value.reason is Reason.CONTENT_TOO_LARGE

    run(scenario)


def test_an_instance_lives_by_beats() -> None:
    async def scenario(kit: Kit) -> None:
        services = Services(kit.client)
        asked = InstanceAsked("shop", "10.0.0.5", 8080)
        assert not (await services.beat(asked)).known
        beating = await services.register(InstanceOrder("shop", "10.0.0.5", 8080, metadata={"v": "1"}))
        assert (beating.known, beating.interval_s) == (True, 5.0)
        assert (await services.beat(asked)).known
        hosts = await services.instances(InstancesAsked("shop"))
        assert [(each.ip, each.metadata) for each in hosts.instances] == [("10.0.0.5", {"v": "1"})]
        assert (await services.instance(asked)).port == 8080
        page = await services.every(ServicesAsked(name="sho"))
        assert [(each.key.name, each.instances, each.healthy) for each in page.services] == [("shop", 1, 1)]
        assert (await services.one(ServiceAsked("shop"))).service.ephemeral is True
        publishers = await services.publishers(ServiceAsked("shop"))
        assert [(each.client, each.node) for each in publishers] == [("10.0.0.5:8080#true", "n1")]
        assert (await services.deregister(asked)).removed
        assert not (await services.deregister(asked)).removed
        assert not (await services.instances(InstancesAsked("shop"))).instances

    run(scenario)


def test_an_operator_has_the_last_word_on_an_instance() -> None:
    async def scenario(kit: Kit) -> None:
        services = Services(kit.client)
        order = InstanceOrder("shop", "10.0.0.5", 8080, metadata={"v": "1"})
        await services.register(order)
        await services.override(OverrideOrder("shop", "10.0.0.5", 8080, enabled=False))
        await services.override(OverrideOrder("shop", "10.0.0.5", 8080, weight=0.5))
        await services.register(order)
        shown = (await services.one(ServiceAsked("shop"))).instances
        assert [(each.enabled, each.weight, each.metadata) for each in shown] == [(False, 0.5, {"v": "1"})]
        assert (await services.instances(InstancesAsked("shop"))).instances == ()
        await services.remove_override(OverrideRemoval("shop", "10.0.0.5", 8080))
        hosts = (await services.instances(InstancesAsked("shop"))).instances
        assert [(each.enabled, each.weight) for each in hosts] == [(True, 1.0)]
        entries = (await Access(kit.client).audit(AuditAsked(subject="*shop*"))).entries
        assert len(entries) == 3 and {each.entry.user for each in entries} == {"(operator)"}

    run(scenario)


def test_a_consumer_is_given_what_is_near_by_the_labels_of_addresses() -> None:
    async def scenario(kit: Kit) -> None:
        services = Services(kit.client)
        await services.create(ServiceOrder("shop", selector=Selector("nearby", "zone")))
        for ip in ("10.0.0.5", "10.0.0.6"):
            await services.register(InstanceOrder("shop", ip, 8080))
        for address, zone in (("10.0.0.5", "a"), ("10.0.0.6", "b"), ("10.9.9.9", "b")):
            await services.set_labels(AddressLabels(address, {"zone": zone}))
        near = InstancesAsked("shop", address="10.9.9.9")
        assert [each.ip for each in (await services.instances(near)).instances] == ["10.0.0.6"]
        await services.set_labels(AddressLabels("10.9.9.9"))
        assert len((await services.instances(near)).instances) == 2
        assert [each.address for each in await services.labels()] == ["10.0.0.5", "10.0.0.6"]

    run(scenario)


def test_a_service_is_made_changed_and_removed_and_its_persistent_instances_stay() -> None:
    async def scenario(kit: Kit) -> None:
        services = Services(kit.client)
        await services.create(ServiceOrder("db", ephemeral=False, protect_threshold=0.5))
        with pytest.raises(AtollError) as caught:
            await services.create(ServiceOrder("db"))
        assert caught.value.reason is Reason.SERVICE_EXISTS
        await services.update(ServiceChangeOrder("db", metadata={"a": "1"}))
        cluster = Cluster("DEFAULT", HealthChecker("NONE"))
        await services.update_cluster(ClusterOrder("db", cluster))
        persistent = InstanceOrder("db", "10.0.0.9", 3306, ephemeral=False)
        assert (await services.register(persistent)).interval_s == 0
        shown = await services.one(ServiceAsked("db"))
        assert (shown.service.protect_threshold, shown.service.metadata) == (0.5, {"a": "1"})
        assert [(each.port, each.ephemeral, each.healthy) for each in shown.instances] == [
            (3306, False, True)
        ]
        await services.set_health(HealthOrder("db", "10.0.0.9", 3306, healthy=False))
        assert not (await services.one(ServiceAsked("db"))).instances[0].healthy
        with pytest.raises(AtollError) as caught:
            await services.remove(ServiceAsked("db"))
        assert caught.value.reason is Reason.SERVICE_NOT_EMPTY
        asked = InstanceAsked("db", "10.0.0.9", 3306, ephemeral=False)
        assert (await services.deregister(asked)).removed
        assert not (await services.deregister(asked)).removed
        assert (await services.remove(ServiceAsked("db"))).removed

    run(scenario)


@pytest.mark.parametrize(
    ("order", "code", "message"),
    [
        (InstanceOrder("", "10.0.0.5", 1), Code.INVALID, "serviceName is empty"),
        (InstanceOrder("shop", "a b", 1), Code.INVALID, "ip"),
        (InstanceOrder("shop", "10.0.0.5", 70_000), Code.INVALID, "65535"),
        (InstanceOrder("shop", "10.0.0.5", 1, weight=-1), Code.INVALID, "weight"),
        (InstanceOrder("shop", "10.0.0.5", 1, namespace="a b"), Code.INVALID, "namespace id"),
    ],
)
def test_a_wrong_instance_is_refused_with_what_is_wrong(
    order: InstanceOrder, code: Code, message: str
) -> None:
    async def scenario(kit: Kit) -> None:
        with pytest.raises(AtollError, match=message) as caught:
            await Services(kit.client).register(order)
        assert caught.value.code is code

    run(scenario)


def test_the_members_are_listed() -> None:
    async def scenario(kit: Kit) -> None:
        assert [(each.node, each.me) for each in await Services(kit.client).members()] == [("n1", True)]

    run(scenario)


def test_namespaces_are_made_described_and_removed() -> None:
    async def scenario(kit: Kit) -> None:
        namespaces = Namespaces(kit.client)
        made = await namespaces.create(NamespaceOrder("dev", "Development"))
        assert (made.id, made.name, made.kind) == ("dev", "Development", "custom")
        await namespaces.update(NamespaceOrder("dev", "Dev", "for us"))
        assert [each.id for each in await namespaces.every()] == ["public", "dev"]
        assert (await namespaces.one("dev")).description == "for us"
        await Configs(kit.client).publish(PublishOrder("a", "1", namespace="dev"))
        with pytest.raises(AtollError):
            await namespaces.remove(NamespaceRemoval("dev"))
        assert (await namespaces.remove(NamespaceRemoval("dev", force=True))).removed

    run(scenario)


def test_users_may_do_what_their_roles_say_and_nothing_else() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.require_login()
        access = Access(kit.client)
        await access.create_user("ann", "ann's")
        await access.give_role("dev", "ann")
        await access.give_right(Right("dev", "public:*:config/shop.*", "rw"))
        assert [each.name for each in await access.users()] == ["ann", "root"]
        session = await access.login("ann", "ann's")
        ann = kit.of(session.token)
        await Configs(ann).publish(PublishOrder("shop.yaml", "a: 1"))
        await Configs(kit.client).publish(PublishOrder("other.yaml", "a: 1"))
        refused: tuple[tuple[Callable[[], Awaitable[object]], Reason], ...] = (
            (lambda: Configs(ann).publish(PublishOrder("other.yaml", "2")), Reason.PERMISSION_DENIED),
            (lambda: Configs(ann).one(ConfigAsked("other.yaml")), Reason.PERMISSION_DENIED),
            (lambda: Services(ann).register(InstanceOrder("s", "1.1.1.1", 1)), Reason.PERMISSION_DENIED),
            (lambda: Access(ann).users(), Reason.PERMISSION_DENIED),
            (lambda: Access(ann).change_password("root", "x"), Reason.PERMISSION_DENIED),
            (lambda: Access(ann).audit(AuditAsked()), Reason.PERMISSION_DENIED),
            (lambda: Configs(kit.of("")).one(ConfigAsked("shop.yaml")), Reason.INVALID_TOKEN),
            (lambda: Configs(kit.of("forged")).one(ConfigAsked("shop.yaml")), Reason.INVALID_TOKEN),
        )
        for ask, reason in refused:
            with pytest.raises(AtollError) as caught:
                await ask()
            assert caught.value.reason is reason
        await Access(ann).change_password("ann", "new")
        with pytest.raises(AtollError):
            await Configs(ann).one(ConfigAsked("shop.yaml"))
        assert [each.rights for each in await access.roles() if each.name == "dev"][0]
        page = await access.audit(AuditAsked(subject="*shop.yaml"))
        assert [(each.entry.user, each.entry.via) for each in page.entries] == [("ann", "api")]

    run(scenario)


def test_no_endpoint_answers_without_credentials_but_those_that_are_listed() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.require_login()
        nobody = kit.of("")
        for endpoint in kit.opened.endpoints:
            code = await _refusal(nobody, endpoint)
            is_open = (endpoint.method, endpoint.path) in OPEN
            assert (code is Reason.INVALID_TOKEN) is not is_open, (endpoint.method, endpoint.path, code)
        found = {(each.method, each.path) for each in kit.opened.endpoints if each.open_to_all}
        assert found == OPEN

    run(scenario)


async def _refusal(client: Client, endpoint: Endpoint) -> Reason | None:
    try:
        await client.send(endpoint.method, endpoint.path, None, msgspec.Raw)
    except AtollError as error:
        return error.reason
    return None


def test_who_needed_no_token_is_the_operator_only_while_nobody_needs_one() -> None:
    async def scenario(kit: Kit) -> None:
        gate = Gate(ADDRESS, "", kit.opened.user_of)
        kit.app = application(kit.opened.endpoints, gate, Log("api"), "1", {})
        await Configs(kit.of("")).publish(PublishOrder("a", "1"))
        await kit.require_login()
        with pytest.raises(AtollError) as caught:
            await Configs(kit.of("")).publish(PublishOrder("a", "2"))
        assert caught.value.reason is Reason.INVALID_TOKEN

    run(scenario)


def test_an_application_follows_and_registers_as_a_user() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.require_login()
        access = Access(kit.client)
        await access.create_user("app", "app's")
        await access.give_role("apps", "app")
        await access.give_right(Right("apps", "public:*:*/*", "rw"))
        await Configs(kit.client).publish(PublishOrder("a", "one"))
        async with kit.listening() as url:
            registry = Registry(url, Options(user="app", password="app's", app="shop"))
            config = await registry.follow_config("a")
            service = await registry.follow_service("shop")
            subscribers = await Services(kit.client).subscribers(ServiceAsked("shop"))
            assert [(each.app, each.node, each.version) for each in subscribers] == [
                ("shop", "n1", "atoll-api")
            ]
            clients = await Services(kit.client).clients()
            assert [(each.app, each.kind, each.subscribed) for each in clients] == [("shop", "connection", 1)]
            await registry.register(InstanceOrder("shop", "10.0.0.5", 8080))
            await _until(lambda: service.value is not None and service.value.instances)
            await Configs(kit.client).publish(PublishOrder("a", "two"))
            await _until(lambda: config.value is not None and config.value.content == "two")
            await Configs(kit.client).remove(ConfigRemoval("a"))
            await _until(lambda: config.value is not None and config.value.content is None)
            await access.take_right(Right("apps", "public:*:*/*", "rw"))
            await Configs(kit.client).publish(PublishOrder("a", "secret"))
            with pytest.raises(AtollError) as caught:
                await registry.follow_config("b")
            assert caught.value.reason is Reason.PERMISSION_DENIED
            assert config.value is not None and config.value.content is None
            await registry.close()

    run(scenario)


def test_a_share_of_the_consumers_is_told_of_a_gray_release() -> None:
    async def scenario(kit: Kit) -> None:
        await Configs(kit.client).publish(PublishOrder("a", "all"))
        async with kit.listening() as url:
            some = Registry(url, Options(token=TOKEN, labels={"zone": "1"}))
            rest = Registry(url, Options(token=TOKEN, labels={"zone": "2"}))
            first, second = await some.follow_config("a"), await rest.follow_config("a")
            details = Details(gray=GrayRule("label", "zone=1"), gray_name="z1")
            await Configs(kit.client).publish(PublishOrder("a", "some", details=details))
            await _until(lambda: first.value is not None and first.value.content == "some")
            assert second.value is not None and second.value.content == "all"
            assert first.value is not None and first.value.gray_name == "z1"
            await some.close()
            await rest.close()

    run(scenario)


def test_a_session_is_renewed_when_its_token_has_ended() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.require_login()
        access = Access(kit.client)
        await access.create_user("ann", "ann's")
        async with kit.listening() as url:
            ann = Client(SessionTransport(HttpTransport(url), "ann", "ann's"))
            assert [each.id for each in await Namespaces(ann).every()] == ["public"]
            await access.delete_user("ann")
            await access.create_user("ann", "ann's")
            assert [each.id for each in await Namespaces(ann).every()] == ["public"]
            await access.change_password("ann", "other")
            with pytest.raises(AtollError, match="cannot log in"):
                await Namespaces(ann).every()

    run(scenario)


async def _until(condition: Callable[[], object]) -> None:
    await loop.in_thread(wait_until, condition, 10.0, "what the test waits for")
