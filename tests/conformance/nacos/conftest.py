"""Where the conformance scripts of Nacos clients run: against one node, and against three on a real etcd.

Rule: a script takes ``servers`` and talks to whatever is in it; it must not know how many there are. Two clients made
with ``servers.text(0)`` and ``servers.text(1)`` begin at different nodes where there are several.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.peers.etcd import etcd_cluster
from tests.peers.nodes import Layout, Member, atoll_nodes

ALONE, CLUSTER = "one node", "three nodes"


@dataclass(frozen=True)
class Servers:
    """``nodes`` run; gRPC is 1,000 above each one's port."""

    nodes: list[Member]

    def addresses(self, first: int = 0) -> list[str]:
        """``host:port`` of all nodes, beginning with the ``first``, as a client's list of servers."""
        count = len(self.nodes)
        return [self.nodes[(first + at) % count].address for at in range(count)]

    def text(self, first: int = 0) -> str:
        """The same as the SDKs take it, separated by commas."""
        return ",".join(self.addresses(first))


@pytest.fixture(scope="session", params=[ALONE, CLUSTER])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Shared by all scripts, which therefore name what they make by themselves."""
    folder = tmp_path_factory.mktemp("nacos")
    with ExitStack() as stack:
        if request.param == ALONE:
            nodes = stack.enter_context(atoll_nodes(folder, Layout("memory:"), 1))
        else:
            cluster = stack.enter_context(etcd_cluster(folder))
            nodes = stack.enter_context(atoll_nodes(folder, Layout(cluster.url), 3))
        yield Servers(nodes)
