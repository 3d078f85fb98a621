"""The peers themselves: what a test relies on when it says "three members", "partition", "with TLS"."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.certificates import make_certificates
from tests.peers.etcd import etcd_cluster
from tests.peers.mariadb import mariadb
from tests.peers.network import network
from tests.waiting import wait_until

pytestmark = pytest.mark.peers


def test_a_single_member_with_tls_and_users(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "pki")
    with etcd_cluster(tmp_path, certificates=certificates) as cluster:
        cluster.enable_auth()
        cluster.etcdctl("put", "k", "v")
        assert cluster.etcdctl("get", "k", "--print-value-only").stdout == b"v\n"
        cluster.user = ("root", "wrong")
        assert b"authentication failed" in cluster.etcdctl("get", "k", check=False).stderr


def test_a_mariadb_is_a_server_of_its_own(tmp_path: Path) -> None:
    with mariadb(tmp_path) as database:
        database.run("CREATE DATABASE d; CREATE TABLE d.t (a INT); INSERT INTO d.t VALUES (7)")
        assert database.run("SELECT a FROM t", "d") == "a\n7\n"
    assert not database.process.running


def test_three_members_elect_again_when_the_leader_is_killed_and_let_it_back(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, members=3, election_timeout_ms=500) as cluster:
        first = cluster.leader()
        first.kill()
        rest = [member for member in cluster.members if member is not first]
        assert cluster.leader(rest) is not first
        cluster.etcdctl("put", "k", "v", members=rest)
        first.start()
        cluster.wait_ready()


def test_a_member_that_is_cut_off_loses_its_leader_and_finds_it_again(tmp_path: Path) -> None:
    names = ["etcd1", "etcd2", "etcd3"]
    with (
        network(names) as net,
        etcd_cluster(tmp_path, members=3, network=net, election_timeout_ms=500) as cluster,
    ):
        for cut in (net.isolate, net.unplug):
            cut_off = cluster.leader()
            rest = [member for member in cluster.members if member is not cut_off]
            cut(cut_off.name)
            cluster.leader(rest)
            cluster.etcdctl("put", "k", "v", members=rest)
            wait_until(
                lambda member=cut_off: cluster.knows_no_leader(member),  # type: ignore[misc]
                within_s=20,
                what="the cut-off member to know of no leader",
            )
            net.heal()
            cluster.wait_ready()


def test_a_paused_member_does_not_answer_until_it_is_resumed(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, members=3, election_timeout_ms=500) as cluster:
        leader = cluster.leader()
        leader.pause()
        assert cluster.status(leader) is None
        cluster.leader([member for member in cluster.members if member is not leader])
        leader.resume()
        cluster.wait_ready()
