"""Several Atoll nodes on one store: ``with atoll_nodes(folder, Layout("etcd://..."), 3) as nodes: ...``.

Rule: the Nacos clients of this world reckon the gRPC port from the one that they are given (1,000 above), so a node
has its two ports at that distance: free ones on the loopback address, or the defaults on an address of its own where
each node has a network namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.atoll import Node
from tests.peers.network import Network
from tests.peers.ports import free_pairs

GRPC_ABOVE = 1000
NACOS_PORT, NODES_PORT = 8848, 9849


@dataclass(frozen=True)
class Layout:
    """What the nodes share. ``arguments`` go to every ``atoll up``. In a ``network`` the nodes are its nodes ``node1``,
    ``node2`` and so on.
    """

    store_url: str
    network: Network | None = None
    arguments: Sequence[str] = ()


class Member(Node):
    """One node; ``name`` as in the network, ``address`` is ``host:port`` for Nacos clients, known before it runs."""

    def __init__(self, folder: Path, name: str, layout: Layout, port: int) -> None:
        folder.mkdir(exist_ok=True)
        network = layout.network
        host = network.address(name) if network else "127.0.0.1"
        line = ["--store", layout.store_url, *layout.arguments]
        line += ["--listen-nacos", f"{host}:{port}", "--listen-nacos-grpc", f"{host}:{port + GRPC_ABOVE}"]
        line += ["--listen-nodes", f"{host}:{NODES_PORT if network else 0}"]
        line += ["--insecure"] if network else []
        super().__init__(folder, *line, namespace=network.namespace(name) if network else None)
        self.name = name
        self.address = f"{host}:{port}"


@contextmanager
def atoll_nodes(folder: Path, layout: Layout, count: int = 3) -> Iterator[list[Member]]:
    """Running nodes. They are killed at the end, if they still run then."""
    ports = [NACOS_PORT] * count if layout.network else free_pairs(count, GRPC_ABOVE)
    names = [f"node{number}" for number in range(1, count + 1)]
    nodes = [Member(folder / name, name, layout, port) for name, port in zip(names, ports, strict=True)]
    try:
        for node in nodes:
            node.begin()
        for node in nodes:
            node.wait_ready()
        yield nodes
    finally:
        for node in nodes:
            node.process.kill()
