"""Many Nacos clients in one process: ``python -m tests.e2e.registry.fleet PLAN``; they write down what they see.

They fail over as the vendor's clients do: when a connection ends, or three health checks in a row are not answered,
the next server of the list is tried at once, then again after 0.1 s more with every turn; on it everything is done
anew: register, subscribe, listen. Of two lists the one with the older ``lastRefTime``, or the same, is dropped.

TERM: they take leave (deregister, close) and the process ends. KILL: nobody takes leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import msgspec

from atoll.runtime.clock import BootClock
from bench.load import nacos
from tests.e2e.registry.plan import (
    Down,
    Event,
    Held,
    Left,
    Listed,
    Plan,
    Published,
    Up,
    config_name,
    service_name,
)

CLOCK = BootClock()
GROUP = "DEFAULT_GROUP"
HEALTH_CHECK_EVERY_S = 5.0
HEALTH_CHECKS = 3
PAUSE_S = 0.1
PAUSE_TURNS_MAX = 50
LEAVE_S_MAX = 15.0


class Record:
    """The file that events go to, a line each, at once."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)

    def add(self, event: Event) -> None:
        self._file.write(msgspec.json.encode(event) + b"\n")


async def waited(left: asyncio.Event, duration_s: float) -> bool:
    """Wait for so long, or until it is time to leave: then True."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(duration_s):
            await left.wait()
    return left.is_set()


class Part(Protocol):
    """What a client is there for."""

    async def redo(self, connection: nacos.Connection) -> None:
        """Do everything on a new connection. May raise ``Lost`` and ``Refused``."""

    def on_push(self, type_name: str, body: dict[str, Any]) -> None: ...

    async def leave(self, connection: nacos.Connection) -> None:
        """Before a clean end."""


class Client:
    """One client with its fail-over, until ``left``. ``connection`` is None while it has none."""

    def __init__(self, number: int, servers: list[str], record: Record, left: asyncio.Event) -> None:
        self.number = number
        self.connection: nacos.Connection | None = None
        self._servers = servers
        self._record = record
        self._left = left

    async def run(self, part: Part) -> None:
        turn, failed = 0, 0
        while not self._left.is_set():
            server = self._servers[turn % len(self._servers)]
            try:
                connection = await nacos.connect(server, part.on_push)
                self.connection = connection
                await part.redo(connection)
                failed = 0
                self._record.add(Up(CLOCK.now_s(), self.number, server))
                await self._guard(connection)
            except (nacos.Lost, nacos.Refused) as error:
                self._record.add(Down(CLOCK.now_s(), self.number, f"{server}: {error}"))
            if self.connection is not None:
                self.connection.abort()
                self.connection = None
            await waited(self._left, PAUSE_S * min(failed, PAUSE_TURNS_MAX))
            turn, failed = turn + 1, failed + 1

    async def _guard(self, connection: nacos.Connection) -> None:
        """Until the connection is lost, or dead. Raises ``Lost``."""
        missed = 0
        while missed < HEALTH_CHECKS:
            done, _ = await asyncio.wait([connection.lost], timeout=HEALTH_CHECK_EVERY_S)
            if done:
                raise nacos.Lost("connection lost")
            try:
                await connection.call("HealthCheckRequest", {})
                missed = 0
            except nacos.Lost:
                missed += 1
        raise nacos.Lost(f"{missed} health checks without an answer")


class Provider:
    def __init__(self, plan: Plan, number: int) -> None:
        self._mine = plan.instances(number)

    async def redo(self, connection: nacos.Connection) -> None:
        for request in self._requests("registerInstance"):
            await connection.call("InstanceRequest", request)

    def on_push(self, type_name: str, body: dict[str, Any]) -> None:
        """A provider subscribes to nothing; what else is pushed needs no more than its acknowledgement."""

    async def leave(self, connection: nacos.Connection) -> None:
        for request in self._requests("deregisterInstance"):
            await connection.call("InstanceRequest", request)

    def _requests(self, kind: str) -> list[dict[str, Any]]:
        return [
            {
                "namespace": "public",
                "serviceName": service,
                "groupName": GROUP,
                "type": kind,
                "instance": {"ip": ip, "port": port, "weight": 1.0, "ephemeral": True, "metadata": {}},
            }
            for service, ip, port in self._mine
        ]


class Subscriber:
    """``lists`` by service: ``ip:port`` to whether it is healthy."""

    def __init__(self, plan: Plan, number: int, record: Record) -> None:
        self._plan = plan
        self._number = number
        self._record = record
        self._lists: dict[str, dict[str, bool]] = {}
        self._last_ref_ms: dict[str, int] = {}
        self._contents: dict[str, str] = {}
        self._connection: nacos.Connection | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, None] = {}

    async def redo(self, connection: nacos.Connection) -> None:
        self._connection = connection
        for number in range(self._plan.services):
            name = service_name(number)
            request = {"namespace": "public", "serviceName": name, "groupName": GROUP, "subscribe": True}
            answer = await connection.call("SubscribeServiceRequest", request)
            self._take_list(name, answer["serviceInfo"])
        for number in range(self._plan.configs):
            await self._look(connection, config_name(number))

    def on_push(self, type_name: str, body: dict[str, Any]) -> None:
        if type_name == "NotifySubscriberRequest":
            self._take_list(body["serviceInfo"]["name"], body["serviceInfo"])
        elif type_name == "ConfigChangeNotifyRequest":
            name = body["dataId"]
            self._changed[name] = None
            asking = self._asking.get(name)
            if asking is None or asking.done():
                self._asking[name] = asyncio.get_running_loop().create_task(self._ask_again(name))

    async def leave(self, connection: nacos.Connection) -> None:
        """The closing of its connection is all that a subscriber has to say."""

    async def _ask_again(self, name: str) -> None:
        """A notice that comes while one is being followed may be of a newer change: it is followed as well."""
        while name in self._changed and self._connection is not None:
            del self._changed[name]
            try:
                await self._look(self._connection, name)
            except (nacos.Lost, nacos.Refused):
                return  # the connection's end is seen elsewhere, and everything is looked at again on the next one

    async def _look(self, connection: nacos.Connection, name: str) -> None:
        """Listen with the digest of what is held; where that differs, read, and listen again."""
        while True:
            content = self._contents.get(name, "")
            digest = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest() if content else ""
            context = {"dataId": name, "group": GROUP, "tenant": "", "md5": digest}
            answer = await connection.call(
                "ConfigBatchListenRequest", {"listen": True, "configListenContexts": [context]}
            )
            if not answer.get("changedConfigs"):
                return
            found = await connection.call(
                "ConfigQueryRequest", {"dataId": name, "group": GROUP, "tenant": ""}
            )
            self._contents[name] = found["content"]
            self._record.add(Held(CLOCK.now_s(), self._number, name, found["content"]))

    def _take_list(self, service: str, info: dict[str, Any]) -> None:
        if info["lastRefTime"] <= self._last_ref_ms.get(service, -1):
            return
        self._last_ref_ms[service] = info["lastRefTime"]
        old = self._lists.get(service, {})
        new = {f"{host['ip']}:{host['port']}": bool(host["healthy"]) for host in info["hosts"]}
        self._lists[service] = new
        added = sorted(new.keys() - old.keys())
        removed = sorted(old.keys() - new.keys())
        turned = sorted(name for name in new.keys() & old.keys() if new[name] != old[name])
        sick = [name for name in (*added, *turned) if not new[name]]
        cured = [name for name in turned if new[name]]
        if added or removed or turned:
            at_s = CLOCK.now_s()
            self._record.add(Listed(at_s, self._number, service, added, removed, sick, cured))


class Writer:
    """Publishes growing numbers, each configuration in turn, whatever happens."""

    def __init__(self, plan: Plan, record: Record, left: asyncio.Event) -> None:
        self._plan = plan
        self._record = record
        self._left = left
        self._connection: nacos.Connection | None = None

    async def redo(self, connection: nacos.Connection) -> None:
        self._connection = connection

    def on_push(self, type_name: str, body: dict[str, Any]) -> None:
        """A writer listens to nothing."""

    async def leave(self, connection: nacos.Connection) -> None:
        """What it published stays."""

    async def write(self) -> None:
        number = self._plan.first
        while not await waited(self._left, self._plan.write_every_s):
            name, content = config_name(number % self._plan.configs), f"number={number}"
            await self._publish(name, content)
            number += 1

    async def _publish(self, name: str, content: str) -> None:
        ok = False
        body = {"dataId": name, "group": GROUP, "tenant": "", "content": content}
        body["additionMap"] = {"type": "properties"}  # type: ignore[assignment]
        if self._connection is not None:
            try:
                await self._connection.call("ConfigPublishRequest", body)
                ok = True
            except (nacos.Lost, nacos.Refused):
                ok = False
        self._record.add(Published(CLOCK.now_s(), name, content, ok))


class Fleet:
    """All clients of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._record = Record(Path(plan.out))
        self._left = asyncio.Event()
        self._clients: list[tuple[Client, Part]] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._left.set)
        tasks = []
        for number in range(self._plan.clients):
            client, part = Client(number, self._order(number), self._record, self._left), self._part(number)
            self._clients.append((client, part))
            tasks.append(loop.create_task(client.run(part)))
            if isinstance(part, Writer):
                tasks.append(loop.create_task(part.write()))
        leaving = loop.create_task(self._left.wait())
        await asyncio.wait([leaving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if not self._left.is_set():
            raise RuntimeError(f"a client ended: {[task for task in tasks if task.done()]}")
        await self._leave()

    async def _leave(self) -> None:
        async with asyncio.timeout(LEAVE_S_MAX):
            await asyncio.gather(*(self._take_leave(client, part) for client, part in self._clients))

    async def _take_leave(self, client: Client, part: Part) -> None:
        if client.connection is not None:
            await part.leave(client.connection)
            self._record.add(Left(CLOCK.now_s(), client.number))
            client.connection.close()

    def _order(self, number: int) -> list[str]:
        servers = self._plan.servers
        home = number if self._plan.home < 0 else self._plan.home
        return [servers[(home + at) % len(servers)] for at in range(len(servers))]

    def _part(self, number: int) -> Part:
        if self._plan.role == "providers":
            return Provider(self._plan, number)
        if self._plan.role == "subscribers":
            return Subscriber(self._plan, number, self._record)
        return Writer(self._plan, self._record, self._left)


def main() -> None:
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    asyncio.run(Fleet(plan).run())


if __name__ == "__main__":
    main()
