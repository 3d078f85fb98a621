"""A network of its own: one namespace a node, all plugged into a bridge in a namespace without nodes.

The host's own namespace is not touched. Names carry the process id; whoever makes a network first removes the
namespaces of test runs that are gone. Two ways to cut: ``drop`` (packets vanish, as on a real partition) and
``unplug`` (the cable is out, the node sees its link go down).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PREFIX = "atoll"
SUBNET = "10.77.0"
NODES_MAX = 200
COMMAND_TIMEOUT_S = 20.0


class Network:
    """``nodes`` are names; each gets a namespace and an address. Made by ``network()``."""

    def __init__(self, nodes: Sequence[str]) -> None:
        if len(nodes) > NODES_MAX:
            raise AssertionError(f"{len(nodes)} nodes; at most {NODES_MAX} fit into {SUBNET}.0/24")
        self.nodes = list(nodes)
        self._prefix = f"{PREFIX}-{os.getpid()}-"
        self._switch = f"{self._prefix}switch"

    def namespace(self, node: str) -> str:
        return f"{self._prefix}{node}"

    def address(self, node: str) -> str:
        return f"{SUBNET}.{self.nodes.index(node) + 1}"

    def make(self) -> None:
        remove_stale_namespaces()
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for number, node in enumerate(self.nodes):
            self._plug(node, f"port{number}")

    def _plug(self, node: str, port: str) -> None:
        inside = self.namespace(node)
        _ip("netns", "add", inside)
        _ip("-n", inside, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
        _ip("-n", inside, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
        _ip("-n", inside, "link", "set", "eth0", "up")
        _ip("-n", inside, "link", "set", "lo", "up")

    def remove(self) -> None:
        for namespace in _namespaces():
            if namespace.startswith(self._prefix):
                _ip("netns", "delete", namespace)

    # ---------------------------------------------------------------------------------------- faults

    def drop(self, node: str, others: Iterable[str]) -> None:
        """Between ``node`` and each of ``others`` no packet arrives any more, in either direction."""
        for other in others:
            self._iptables(node, "-A", "INPUT", "-s", self.address(other), "-j", "DROP")
            self._iptables(node, "-A", "OUTPUT", "-d", self.address(other), "-j", "DROP")

    def isolate(self, node: str) -> None:
        self.drop(node, [other for other in self.nodes if other != node])

    def unplug(self, node: str) -> None:
        self._set_port(node, "down")

    def heal(self) -> None:
        """Undo all cuts."""
        for node in self.nodes:
            self._iptables(node, "-F")
            self._set_port(node, "up")

    def _set_port(self, node: str, state: str) -> None:
        _ip("-n", self._switch, "link", "set", f"port{self.nodes.index(node)}", state)

    def _iptables(self, node: str, *arguments: str) -> None:
        _run("ip", "netns", "exec", self.namespace(node), "iptables", "-w", *arguments)


@contextmanager
def network(nodes: Sequence[str]) -> Iterator[Network]:
    """A network for the length of a test."""
    made = Network(nodes)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def remove_stale_namespaces() -> None:
    """Those of earlier test runs whose process is gone."""
    for namespace in _namespaces():
        prefix, _, rest = namespace.partition("-")
        pid, _, _ = rest.partition("-")
        if prefix == PREFIX and pid.isdigit() and not Path("/proc", pid).exists():
            _ip("netns", "delete", namespace)


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()]


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
