"""The fail-over client of the registry, asyncio and blocking, against nodes that say what a test tells them to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.client import registry as asyncio_side
from atoll.client.blocking import registry as blocking_side
from atoll.client.registry import Options
from atoll.errors import AtollError, Code
from atoll.resources.instance import Instance
from atoll.resources.naming_api import Beating, Hosts, InstanceAsked, InstanceOrder
from atoll.resources.node import Done
from atoll.resources.service import ServiceKey
from atoll.resources.watch_api import ConfigTold, ServiceFollowed, ServiceTold, Told, WatchOrder
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.http1 import Http1Server
from atoll.runtime.http_api import Asked, Endpoint, application
from atoll.runtime.http_guard import Gate
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from tests.peers.ports import free_ports
from tests.waiting import wait_until

WITHIN_S = 20.0
ORDER = InstanceOrder("shop", "10.0.0.5", 8080)


class Board:
    """What the nodes of a test know together."""

    def __init__(self) -> None:
        self.configs = {"a": "one"}
        self.hosts: tuple[Instance, ...] = ()
        self.instances: set[InstanceAsked] = set()
        self.orders: list[WatchOrder] = []
        self.registered = 0
        self.beats = 0
        self.signals: list[loop.Event] = []

    def change(self) -> None:
        for signal in self.signals:
            signal.set()

    async def watch(self, asked: Asked) -> AsyncIterator[Told]:
        order: WatchOrder = asked.body
        self.orders.append(order)
        if any(each.data_id == "bad" for each in order.configs):
            raise AtollError(Code.INVALID, "no such name")
        signal = loop.Event()
        self.signals.append(signal)
        try:
            yield Told(0.0)
            while True:
                for wanted in order.configs:
                    content = self.configs.get(wanted.data_id)
                    told = ConfigTold(wanted.namespace, wanted.group, wanted.data_id, content, f"m-{content}")
                    yield Told(0.0, told)
                for service in order.services:
                    yield Told(0.0, None, ServiceTold(service, self.of(service)))
                await signal.wait()
                signal.clear()
        finally:
            self.signals.remove(signal)

    def of(self, service: ServiceFollowed) -> Hosts:
        return Hosts(ServiceKey("public", service.group, service.name), self.hosts)

    async def register(self, asked: Asked) -> Beating:
        order: InstanceOrder = asked.body
        self.registered += 1
        self.instances.add(asyncio_side._instance(order))
        return Beating(True, 0.02)

    async def beat(self, asked: Asked) -> Beating:
        self.beats += 1
        return Beating(asked.fields in self.instances, 0.02)

    async def deregister(self, asked: Asked) -> Done:
        self.instances.remove(asked.fields)
        return Done()


@contextlib.asynccontextmanager
async def node(board: Board, port: int = 0) -> AsyncIterator[str]:
    endpoints = [
        Endpoint("POST", "/v1/watch", "", board.watch, Told, body=WatchOrder, streams=True),
        Endpoint("POST", "/v1/instance", "", board.register, Beating, body=InstanceOrder),
        Endpoint("PUT", "/v1/instance/beat", "", board.beat, Beating, query=InstanceAsked),
        Endpoint("DELETE", "/v1/instance", "", board.deregister, Done, query=InstanceAsked),
    ]
    address = Address("127.0.0.1", port)
    app = application(endpoints, Gate(address), Log("api"), "1", {})
    listener = listen(address, "--listen", http1=Http1Server(app, BootClock()))
    try:
        yield f"http://{listener.address}"
    finally:
        await listener.close(0.0)


class Side:
    """One of the twins, driven alike: what blocks runs in a thread."""

    def __init__(self, blocking: bool) -> None:
        self.blocking = blocking

    def open(self, urls: str, options: Options | None = None) -> Any:
        options = options or Options()
        if not self.blocking:
            return asyncio_side.Registry(urls, options)
        kept = {name: getattr(options, name) for name in options.__struct_fields__}
        return blocking_side.Registry(urls, blocking_side.Options(**kept))

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.blocking:
            return await loop.in_thread(function, *arguments)
        return await function(*arguments)


@pytest.fixture(params=[False, True], ids=["asyncio", "blocking"])
def side(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with loop.bounded(WITHIN_S, "the scenario"):
            await scenario()

    loop.run(within())


async def until(condition: Callable[[], object]) -> None:
    await loop.in_thread(wait_until, condition, WITHIN_S, "what the test waits for")


def test_what_is_followed_is_kept_new(side: Side) -> None:
    async def scenario() -> None:
        board = Board()
        async with node(board) as url:
            registry = side.open(url)
            config = await side.call(registry.follow_config, "a")
            assert (config.value.content, config.fresh) == ("one", True)
            service = await side.call(registry.follow_service, "payments")
            assert service.value.instances == ()
            board.configs["a"] = "two"
            board.hosts = (Instance("10.0.0.1", 80),)
            board.change()
            await until(lambda: config.value.content == "two" and service.value.instances)
            gone = await side.call(registry.follow_config, "absent")
            assert gone.value.content is None
            await side.call(registry.close)
            assert config.ended

    run(scenario)


def test_a_stream_tells_the_node_what_it_has_already(side: Side) -> None:
    async def scenario() -> None:
        board = Board()
        async with node(board) as url:
            registry = side.open(url)
            await side.call(registry.follow_config, "a")
            await side.call(registry.follow_config, "b")
            await side.call(registry.close)
        assert [each.md5 for each in board.orders[-1].configs] == ["m-one", ""]

    run(scenario)


def test_waiting_for_changes_yields_the_newest(side: Side) -> None:
    async def scenario() -> None:
        board = Board()
        async with node(board) as url:
            registry = side.open(url)
            config = await side.call(registry.follow_config, "a")
            seen: list[str] = []

            def collect_blocking() -> None:
                for value in config.changes(5.0):
                    seen.append(value.content)
                    if value.content == "two":
                        return

            async def collect() -> None:
                async for value in config.changes(5.0):
                    seen.append(value.content)
                    if value.content == "two":
                        return

            collecting = side.call(collect_blocking if side.blocking else collect)

            async def change() -> None:
                await until(lambda: seen)
                board.configs["a"] = "two"
                board.change()

            await loop.gather(collecting, change())
            assert (seen[0], seen[-1]) == ("one", "two")
            await side.call(registry.close)

    run(scenario)


def test_a_snapshot_is_used_when_no_node_answers(side: Side, tmp_path: Path) -> None:
    async def scenario() -> None:
        board, port = Board(), free_ports(1)[0]
        board.hosts = (Instance("10.0.0.1", 80),)
        options = Options(cache=tmp_path / "cache")
        async with node(board, port) as url:
            registry = side.open(url, options)
            await side.call(registry.follow_config, "a")
            await side.call(registry.follow_service, "pay/ments")
            await until(lambda: len(list((tmp_path / "cache").glob("*.json"))) == 2)
            await side.call(registry.close)
        registry = side.open(url, options)
        config = await side.call(registry.follow_config, "a")
        service = await side.call(registry.follow_service, "pay/ments")
        assert (config.value.content, config.fresh, service.value.instances) == ("one", False, board.hosts)
        board.configs["a"] = "three"
        async with node(board, port):
            await until(lambda: config.fresh)
            assert config.value.content == "three"
            await side.call(registry.close)

    run(scenario)


def test_without_node_and_snapshot_it_says_so(side: Side) -> None:
    async def scenario() -> None:
        registry = side.open(f"http://127.0.0.1:{free_ports(1)[0]}", Options(first_within_s=0.2))
        with pytest.raises(AtollError, match="a: no node answered within 0.2 s, and there is no snapshot"):
            await side.call(registry.follow_config, "a")
        await side.call(registry.close)

    run(scenario)


def test_a_refusal_is_told_and_does_not_stop_the_rest(side: Side) -> None:
    async def scenario() -> None:
        board = Board()
        async with node(board) as url:
            registry = side.open(url)
            config = await side.call(registry.follow_config, "a")
            with pytest.raises(AtollError, match="no such name"):
                await side.call(registry.follow_config, "bad")
            board.configs["a"] = "four"
            await until(lambda: board.signals)
            board.change()
            await until(lambda: config.value.content == "four")
            await side.call(registry.close)

    run(scenario)


def test_another_node_takes_over(side: Side) -> None:
    async def scenario() -> None:
        board = Board()
        async with node(board) as second:
            async with node(board) as first:
                registry = side.open(f"{first},{second}")
                config = await side.call(registry.follow_config, "a")
                await side.call(registry.register, ORDER)
            board.configs["a"] = "five"
            board.change()
            await until(lambda: config.value.content == "five")
            beats = board.beats
            await until(lambda: board.beats > beats)
            await side.call(registry.close)
        assert not board.instances

    run(scenario)


def test_a_forgotten_registration_is_made_again(side: Side) -> None:
    async def scenario() -> None:
        board = Board()
        async with node(board) as url:
            registry = side.open(url, Options(namespace="ns"))
            name = await side.call(registry.register, ORDER)
            assert (name.namespace, board.instances) == ("ns", {name})
            board.instances.clear()
            await until(lambda: board.instances == {name})
            await side.call(registry.deregister, name)
            assert not board.instances
            registered = board.registered
            await side.call(registry.close)
        assert board.registered == registered

    run(scenario)


def test_a_snapshot_that_is_damaged_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        board, port = Board(), free_ports(1)[0]
        options = Options(cache=tmp_path, first_within_s=0.2)
        async with node(board, port) as url, asyncio_side.open_registry(url, options) as registry:
            await registry.follow_config("a")
        for file in tmp_path.glob("*.json"):
            file.write_bytes(b"{")
        async with asyncio_side.open_registry(url, options) as registry:
            with pytest.raises(AtollError, match="no snapshot"):
                await registry.follow_config("a")

    run(scenario)


def test_options_are_the_same_for_both() -> None:
    fields = [
        [each.name for each in msgspec.structs.fields(kind)] for kind in (Options, blocking_side.Options)
    ]
    assert fields[0] == fields[1]
