"""Probing persistent instances: who is due, a connection tried, the finding written down.

Rule: an instance is probed by one node, the one that it falls on by ``kit.rendezvous`` over the nodes that are members;
what a probe found is written when it differs from what is known, and tried again with the next probe otherwise. While
the store is away nothing can be written, so what was known stands. ``PROBES_AT_ONCE_MAX`` bounds the connections.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from atoll.errors import AtollError
from atoll.kit import rendezvous
from atoll.planes.registry.model import checkers
from atoll.planes.registry.model.directory import ServiceState
from atoll.planes.registry.policy import probing
from atoll.planes.registry.policy.probing import Found, Outcome, Row
from atoll.planes.registry.policy.push_window import Agenda
from atoll.planes.registry.service.beating import Which
from atoll.planes.registry.service.naming import Naming
from atoll.resources import naming_keys
from atoll.resources.instance import Instance
from atoll.resources.service import Cluster
from atoll.runtime import loop, probes
from atoll.runtime.logs import Log
from atoll.runtime.mysql_probe import MysqlProbe
from atoll.runtime.net import Address
from atoll.runtime.probes import HttpProbe, ProbeFailed
from atoll.runtime.rng import Rng

PROBES_AT_ONCE_MAX: Final = 32
LOOKED_EVERY_S: Final = 1.0

Try: TypeAlias = Callable[[Address, Cluster], Awaitable[Found]]


class Prober:
    """Of one node."""

    def __init__(self, naming: Naming, rng: Rng, tries: Mapping[str, Try] | None = None) -> None:
        self._naming = naming
        self._rng = rng
        self._tries = tries if tries is not None else TRIES
        self._rows: dict[Which, Row] = {}
        self._agenda: Agenda[Which] = Agenda()
        self._due: loop.Queue[Which] = loop.Queue(PROBES_AT_ONCE_MAX)
        self._wake = loop.Event()
        self._log = Log("probes")

    def __len__(self) -> int:
        """How many instances this node probes."""
        return len(self._rows)

    async def run(self) -> None:
        """For as long as the node runs."""
        await loop.gather(self._schedule(), *(self._work() for _ in range(PROBES_AT_ONCE_MAX)))

    async def _schedule(self) -> None:
        looked_s = float("-inf")
        while True:
            now_s = self._naming.clock.now_s()
            if now_s >= looked_s + LOOKED_EVERY_S:
                looked_s = now_s
                self.look()
            for which in self._agenda.take(now_s):
                await self._due.put(which)
            until_s = min(self._agenda.next_s(), looked_s + LOOKED_EVERY_S)
            self._wake.clear()
            await loop.wait_event(self._wake, max(0.0, until_s - self._naming.clock.now_s()))

    async def _work(self) -> None:
        while True:
            await self.probe(await self._due.get())

    def look(self) -> None:
        """Find out which instances are this node's to probe."""
        mine = dict.fromkeys(self._mine())
        now_s = self._naming.clock.now_s()
        for which in list(self._rows):
            if which not in mine:
                del self._rows[which]
                self._agenda.discard(which)
        for which in mine:
            if which not in self._rows:
                self._rows[which] = Row()
                spread_s = self._rng.random() * probing.FIRST_SPREAD_S
                self._agenda.add(which, now_s + probing.FIRST_AFTER_S + spread_s)

    async def probe(self, which: Which) -> None:
        """Once, and write down what it changes."""
        state = self._naming.directory.service(which.key)
        row = self._rows.get(which)
        stored = state.persistent.get(which.identity) if state is not None else None
        if state is None or stored is None or row is None:
            return
        cluster = _cluster(state, which.identity.cluster)
        tried = self._tries.get(cluster.checker.kind)
        switches = self._naming.directory.switches
        if tried is None or not switches.health_check_enabled:
            self._rows.pop(which, None)
            return
        found = await tried(_address(stored.instance, cluster), cluster)
        seen = state.instance(which.identity)
        if seen is not None:
            verdict = probing.judge(row, found, seen.healthy, switches.check_times)
            if verdict is not None:
                await self._write_down(which, verdict, found)
        after_s = probing.next_after_s(row, found.took_s, probing.times_of(cluster.checker.kind, switches))
        if which in self._rows:
            self._agenda.add(which, self._naming.clock.now_s() + after_s)
            self._wake.set()

    async def _write_down(self, which: Which, healthy: bool, found: Found) -> None:
        try:
            await self._naming.record_health(which.key, which.identity, healthy, found.cause)
        except AtollError as error:
            self._log.warning("not written down", instance=str(which.identity), why=error.message)

    def _mine(self) -> list[Which]:
        if not self._naming.directory.switches.health_check_enabled:
            return []
        nodes = tuple(member.node for member in self._naming.peers.members())
        mine: list[Which] = []
        for key, state in self._naming.directory.services.items():
            for identity in state.persistent:
                if _cluster(state, identity.cluster).checker.kind in self._tries:
                    raw = naming_keys.instance_bytes(key, identity)
                    if _owner(raw, nodes) == self._naming.peers.node_id:
                        mine.append(Which(key, identity))
        return mine


_owner = functools.lru_cache(maxsize=65_536)(rendezvous.owner)


def _cluster(state: ServiceState, name: str) -> Cluster:
    return state.record.cluster(name) if state.record is not None else Cluster(name)


def _address(instance: Instance, cluster: Cluster) -> Address:
    return Address(instance.ip, instance.port if cluster.use_instance_port else cluster.check_port)


async def try_tcp(address: Address, cluster: Cluster) -> Found:
    """A connection is accepted."""
    return await _found(probes.tcp(address), lambda _: Outcome.OK)


async def try_http(address: Address, cluster: Cluster) -> Found:
    """A GET answers with the status that is expected."""
    checker = cluster.checker
    asked = HttpProbe(checkers.path_of(checker), checkers.headers_of(checker))
    expected = checker.expected_response_code
    return await _found(probes.http(address, asked), lambda status: probing.judge_status(status, expected))


async def try_mysql(address: Address, cluster: Cluster) -> Found:
    """A statement is carried out; the one that asks for read_only must not find it on."""
    checker = cluster.checker
    asked = MysqlProbe(checker.user, checker.password, checker.command)
    asks_read_only = checker.command.strip().lower() == checkers.READ_ONLY_COMMAND

    def judge(row: tuple[object, ...]) -> Outcome:
        read_only = asks_read_only and len(row) > 1 and str(row[1]).upper() == "ON"
        return Outcome.HARD if read_only else Outcome.OK

    return await _found(probes.mysql(address, asked), judge)


TRIES: Final[Mapping[str, Try]] = {"TCP": try_tcp, "HTTP": try_http, "MYSQL": try_mysql}


async def _found(going: Awaitable[probes.Answer], judge: Callable[..., Outcome]) -> Found:
    try:
        answer = await going
    except ProbeFailed as failure:
        return Found(Outcome.HARD if failure.refused else Outcome.SOFT, str(failure), failure.took_s)
    outcome = judge(answer.value)
    cause = "" if outcome is Outcome.OK else f"answered {answer.value!r}"
    return Found(outcome, cause, answer.took_s)
