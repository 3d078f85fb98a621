"""Where the registry's faults are played: an etcd, three nodes and the clients, each in a network namespace.

The clients are never cut off: they reach every node at any time, so what they are told is what the nodes know.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.atoll import clean_environment
from tests.e2e.registry import verdict
from tests.e2e.registry.plan import EVENTS, Event, Plan, Role, config_name
from tests.peers.etcd import Cluster, etcd_cluster
from tests.peers.network import Network, network
from tests.peers.nodes import Layout, Member, atoll_nodes
from tests.peers.processes import Process
from tests.waiting import wait_until

ETCD = "etcd1"
NODES = ["node1", "node2", "node3"]
CLIENTS = "clients"
WITHIN_S = 60.0


class Fleet(Process):
    """A fleet in its process; ``events`` are all that it has written so far."""

    def __init__(self, folder: Path, name: str, plan: Plan, namespace: str) -> None:
        file = folder / f"{name}.plan"
        file.write_bytes(msgspec.json.encode(plan))
        line = [sys.executable, "-m", "tests.e2e.registry.fleet", str(file)]
        super().__init__(line, folder / f"{name}.log", namespace=namespace, env=clean_environment())
        self.plan = plan
        self._events: list[Event] = []
        self._read_bytes = 0

    def events(self) -> list[Event]:
        file = Path(self.plan.out)
        with file.open("rb") as lines:
            lines.seek(self._read_bytes)
            whole = lines.read().rpartition(b"\n")[0]
        self._read_bytes += len(whole) + 1 if whole else 0
        self._events += [EVENTS.decode(line) for line in whole.splitlines()]
        return self._events


class Stage:
    """``subscribers`` run from the beginning to the end; other fleets come and go."""

    def __init__(self, folder: Path, net: Network, cluster: Cluster, nodes: list[Member]) -> None:
        self.net = net
        self.etcd = cluster.members[0]
        self.cluster = cluster
        self.nodes = nodes
        self._folder = folder
        self._fleets: list[Fleet] = []
        self.subscribers = self.fleet("subscribers", role="subscribers", clients=15)

    def fleet(self, name: str, role: Role = "providers", **more: Any) -> Fleet:
        """Start one; it is killed at the end of the stage."""
        out = self._folder / f"{name}.jsonl"
        out.touch()
        plan = Plan(role=role, servers=[node.address for node in self.nodes], out=str(out), **more)
        fleet = Fleet(self._folder, name, plan, self.net.namespace(CLIENTS))
        self._fleets.append(fleet)
        fleet.start()
        return fleet

    def wait_settled(self, *fleets: Fleet, within_s: float = WITHIN_S) -> None:
        """Until every subscriber holds exactly what ``fleets`` register."""
        expected = hosts(self.subscribers, *fleets)
        count = self.subscribers.plan.clients

        def settled() -> bool:
            return not verdict.unsettled(self.subscribers.events(), count, expected)

        try:
            wait_until(settled, within_s, "all subscribers to hold what is registered")
        except AssertionError as error:
            wrong = verdict.unsettled(self.subscribers.events(), count, expected)
            raise AssertionError(f"{error}: {wrong[:5]} of {len(wrong)}; {self.logs()}") from error

    def stored(self) -> dict[str, dict[str, str]]:
        """The content of every configuration, by the word of every node, over HTTP."""
        names = [config_name(number) for number in range(self.subscribers.plan.configs)]
        return {node.name: {name: self._content(node, name) for name in names} for node in self.nodes}

    def _content(self, node: Member, name: str) -> str:
        url = f"http://{node.address}/nacos/v1/cs/configs?dataId={name}&group=DEFAULT_GROUP"
        line = ["ip", "netns", "exec", self.net.namespace(CLIENTS), "curl", "-sSf", "-m", "10", url]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=20).stdout

    def logs(self) -> str:
        """The end of what every node wrote."""
        return "\n".join(f"{node.name}: {node.process.log_tail(5)}" for node in self.nodes)

    def end(self) -> None:
        for fleet in self._fleets:
            fleet.kill()


def hosts(*fleets: Fleet) -> dict[str, set[str]]:
    """All that the providers among ``fleets`` register, by service; every service of the first one is named."""
    together: dict[str, set[str]] = {service: set() for service in fleets[0].plan.hosts()}
    for fleet in fleets:
        if fleet.plan.role == "providers":
            for service, addresses in fleet.plan.hosts().items():
                together[service] |= addresses
    return together


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    with (
        network([ETCD, *NODES, CLIENTS]) as net,
        etcd_cluster(folder, network=net) as cluster,
        atoll_nodes(folder, Layout(cluster.url, net), len(NODES)) as nodes,
    ):
        made = Stage(folder, net, cluster, nodes)
        try:
            yield made
        finally:
            made.end()
