"""Three nodes on one etcd, each of an identity of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.peers.etcd import etcd_cluster
from tests.peers.network import network
from tests.peers.nodes import Layout, atoll_nodes

pytestmark = pytest.mark.peers
STOP_WITHIN_S = 30.0


def test_three_nodes_on_the_loopback_address_have_identities_that_outlive_them(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path) as cluster, atoll_nodes(tmp_path, Layout(cluster.url)) as nodes:
        ids = [(node.data / "node-id").read_text() for node in nodes]
        assert len(set(ids)) == len(nodes)
        nodes[0].process.terminate()
        assert nodes[0].process.wait(STOP_WITHIN_S) == 0
        nodes[0].start()
        assert (nodes[0].data / "node-id").read_text() == ids[0]
        for node in nodes:
            assert json.loads(node.get("/readyz"))["planes"] == "ready"


def test_three_nodes_in_namespaces_are_reached_from_outside(tmp_path: Path) -> None:
    with (
        network(["etcd1", "node1", "node2", "node3", "clients"]) as net,
        etcd_cluster(tmp_path, network=net) as cluster,
        atoll_nodes(tmp_path, Layout(cluster.url, net)) as nodes,
    ):
        for node in nodes:
            url = f"http://{node.address}/nacos/v3/admin/core/state/liveness"
            line = ["ip", "netns", "exec", net.namespace("clients"), "curl", "-sS", "-m", "20", url]
            asked = subprocess.run(line, capture_output=True, text=True, timeout=60)
            assert json.loads(asked.stdout)["code"] == 0, asked
