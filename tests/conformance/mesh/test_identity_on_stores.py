"""The mesh's authority on every kind of store, a real etcd included: two nodes, tokens, renewal, an exchange of roots; and what
is given while the store is away.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.client import mesh_doors
from atoll.errors import AtollError
from atoll.planes.mesh.model import authority_keys
from atoll.resources.actor import Actor
from atoll.resources.mesh import join_token
from atoll.resources.mesh.authority import Stage
from atoll.resources.mesh.authority_api import AdvanceOrder, RotateOrder, TokenOrder
from atoll.runtime import keys, loop
from atoll.runtime.peer import Peer
from atoll.store import etcd_url
from atoll.store.api import Driver, Range
from atoll.store.etcd import EtcdDriver
from atoll.store.sqlite import open_sqlite
from tests.peers.etcd import etcd_cluster
from tests.unit.mesh.authority_kit import Mesh, Node, credentials, order, run, until

REMOTE = Peer("10.0.0.1:1")


async def scenario(mesh: Mesh) -> None:
    one, two = await mesh.start("n1"), await mesh.start("n2")
    assert one.authority.shown().roots == two.authority.shown().roots
    secret = join_token.parse((await one.operator.make_token(TokenOrder("reviews"))).token).secret
    asks = (_join(node, secret) for node in (one, two, one, two))
    assert sorted(await loop.gather(*asks)) == ["denied", "denied", "denied", "granted"]
    key = keys.new_private_key()
    issued = await one.local.enrol(order(key, "stock"))
    stored = (await mesh.store.range(Range(authority_keys.ledger(issued.serial)))).kvs
    assert stored[0].lease, "its line ends with the certificate"
    await until(lambda: len(two.authority.certificates()) == 2, "the other node to know both")
    door = mesh_doors.by_certificate([two.xds], credentials(key, issued), issued.bundle)
    renewed = await door.enrol(order(key, "stock", replaces=issued.serial))
    await until(
        lambda: renewed.serial in {each.serial for each in one.authority.certificates()}, "the renewal"
    )
    assert issued.serial not in {each.serial for each in one.authority.certificates()}
    await one.operator.rotate(RotateOrder(automatic=False))
    await one.operator.advance(AdvanceOrder(force=True))
    await until(
        lambda: len({each.root for each in two.authority.shown().intermediates}) == 1, "both to sign anew"
    )
    shown = await two.operator.advance(AdvanceOrder(force=True))
    assert [root.stage for root in shown.roots] == [Stage.SIGNING]


async def _join(node: Node, secret: str) -> str:
    try:
        await node.authority.issuing.enrol(order(keys.new_private_key(), token=secret), REMOTE, Actor())
    except AtollError as error:
        return error.code.value
    return "granted"


def test_identities_on_an_embedded_store(tmp_path: Path) -> None:
    run(scenario, lambda: open_sqlite(tmp_path / "store.db"))


@pytest.mark.peers
def test_identities_on_a_real_etcd_and_while_it_is_away(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, election_timeout_ms=100) as cluster:
        (member,) = cluster.members

        def opener() -> Driver:
            return EtcdDriver(etcd_url.parse(cluster.url))

        async def with_etcd(mesh: Mesh) -> None:
            await scenario(mesh)
            node = mesh.node
            made = await node.operator.make_token(TokenOrder("reviews"))
            member.pause()
            try:
                issued = await node.local.enrol(order(keys.new_private_key(), "late"))
                assert issued.spiffe_id.endswith("/sa/late")
            finally:
                member.resume()
            await until(
                lambda: issued.serial in {each.serial for each in node.authority.certificates()},
                "the ledger to be paid what it is owed",
            )
            secret = join_token.parse(made.token).secret
            assert await _join(node, secret) == "granted"

        run(with_etcd, opener)
