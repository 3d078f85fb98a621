"""Nodes of one store in one process, linked over the loopback address: what one holds the others hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from atoll.errors import AtollError, Reason
from atoll.runtime import loop, streams, tls
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.net import Address, parse_address
from atoll.runtime.tasks import Tasks
from atoll.store.api import Range, Store
from atoll.store.ephemeral import Damping, EphemeralTable, Identity, Times
from atoll.store.membership import CLUSTER, MEMBERS, Membership
from atoll.store.memory import open_memory
from atoll.store.node_link import NodeLink
from atoll.store.nodes import ANSWER_BYTES_MAX, Certificates, Nodes, Parts, Place
from atoll.store.peers import Member, Peers
from atoll.store.shell import StoreShell
from atoll.wire.nodes.messages import Hello, Proof
from tests.peers.certificates import Certificates as Files
from tests.peers.certificates import make_certificates

ANY_PORT = Address("127.0.0.1", 0)
QUICK = Times(Damping(0.05, 0.1), digest_interval_s=0.2, claim_window_s=0.2)
WITHIN_S = 10.0
CLOCK = BootClock()


class Node:
    """One of them. ``failures`` of its background tasks fail the test when it stops."""

    def __init__(self, store: Store, name: str, run: int = 1, files: Files | None = None) -> None:
        self.failures: list[BaseException] = []
        self.tasks = Tasks(Log("test"), lambda task, error: self.failures.append(error))
        self.table = EphemeralTable(Identity(name, run), CLOCK, QUICK)
        self.peers = Peers(Member(name, run))
        certificates = Certificates()
        if files is not None:
            certificates = Certificates(*map(str, (files.server_cert, files.server_key, files.ca)))
        place = Place(ANY_PORT, certificates=certificates)
        self.nodes = Nodes(Parts(store, self.table, self.peers, place, CLOCK, self.tasks))

    async def __aenter__(self) -> Node:
        self.tasks.start("table", self.table.run())
        await self.nodes.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.nodes.close(1.0)
        await self.tasks.stop(1.0)
        assert not self.failures

    def holds(self, key: bytes) -> bool:
        return self.table.get(key) is not None


async def until(condition: Callable[[], bool], what: str) -> None:
    async with loop.bounded(WITHIN_S, what):
        while not condition():
            await loop.sleep(0)


def with_store(scenario: Callable[[Store, AsyncExitStack], Awaitable[None]]) -> None:
    async def run() -> None:
        store = StoreShell(open_memory())
        async with AsyncExitStack() as stack:
            await scenario(store, stack)
        await store.close()

    loop.run(run())


def test_what_is_put_on_one_node_is_held_by_all_and_goes_from_all() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a, b, c = [await stack.enter_async_context(Node(store, name)) for name in "abc"]
        b.table.put("client", b"key", b"value")
        await until(lambda: a.holds(b"key") and c.holds(b"key"), "the entry everywhere")
        b.table.drop_client("client", clean=True)
        await until(lambda: not a.holds(b"key") and not c.holds(b"key"), "the entry gone everywhere")
        assert [member.node for member in a.peers.members()] == ["a", "b", "c"]

    with_store(scenario)


def test_a_node_that_begins_has_what_the_others_hold_before_it_serves_anybody() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a = await stack.enter_async_context(Node(store, "a"))
        for number in range(3000):
            a.table.put("client", b"key/%d" % number, b"value" * 20)
        b = await stack.enter_async_context(Node(store, "b"))
        assert len(b.table) == 3000

    with_store(scenario)


def test_what_a_node_held_goes_after_the_claim_window_when_it_has_left() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a = await stack.enter_async_context(Node(store, "a"))
        async with Node(store, "b") as b:
            b.table.put("lost", b"lost", b"value")
            b.table.put("moves", b"moves", b"value")
            await until(lambda: a.holds(b"lost") and a.holds(b"moves"), "the entries on the other node")
        assert a.holds(b"lost")
        a.table.put("moved", b"moves", b"value")
        await until(lambda: not a.holds(b"lost"), "what nobody claimed to go")
        assert a.holds(b"moves")
        assert [member.node for member in a.peers.members()] == ["a"]

    with_store(scenario)


def test_a_record_that_ends_is_written_again_while_its_node_lives() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(Node(store, "a"))
        lease = (await store.lease_list()).leases[0]
        await store.lease_revoke(lease)

        async with loop.bounded(WITHIN_S, "the record to be there again"):
            while lease in (found := (await store.lease_list()).leases) or not found:
                await loop.sleep(0)
        assert (await store.lease_time_to_live(found[0], keys=True)).keys == (MEMBERS + b"a",)

    with_store(scenario)


def test_while_the_store_is_away_nobody_knows_who_is_a_member() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        heard: list[Mapping[str, Member] | None] = []
        membership = Membership(store, Member("a", 1), heard.append)
        await membership.join()
        assert heard == [{"a": Member("a", 1)}]
        await store.close()
        tasks = Tasks(Log("test"), lambda task, error: None)
        tasks.start("membership", membership.run())
        await until(lambda: len(heard) > 1, "a look that failed")
        assert heard[1] is None
        await tasks.stop(1.0)

    with_store(scenario)


def test_a_question_is_answered_by_all_and_by_whoever_can() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a, b, c = [await stack.enter_async_context(Node(store, name)) for name in "abc"]

        def answering(node: Node) -> Callable[[bytes], Awaitable[bytes]]:
            async def answer(body: bytes) -> bytes:
                return body + node.peers.node_id.encode()

            return answer

        for node in (a, b):
            node.peers.on_ask("who", answering(node))
        async with loop.bounded(WITHIN_S, "an answer of the other node"):
            while len(found := await a.peers.ask_all("who", b"I am ")) < 2:
                await loop.sleep(0)
        assert found == {"a": b"I am a", "b": b"I am b"}  # c has no answer, and is left out

    with_store(scenario)


def test_an_answer_that_is_too_large_is_refused_and_the_link_stays() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a, b = [await stack.enter_async_context(Node(store, name)) for name in "ab"]

        async def answer(body: bytes) -> bytes:
            return body * (ANSWER_BYTES_MAX // len(body) + 1)

        async def small(body: bytes) -> bytes:
            return body

        for node in (a, b):
            node.peers.on_ask("much", answer)
            node.peers.on_ask("little", small)
        async with loop.bounded(WITHIN_S, "an answer of the other node"):
            while len(await a.peers.ask_all("little", b"x")) < 2:
                await loop.sleep(0)
        assert list(await a.peers.ask_all("much", b"x")) == ["a"]
        assert len(await a.peers.ask_all("little", b"x")) == 2

    with_store(scenario)


def test_a_node_of_another_cluster_is_a_stranger() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a = await stack.enter_async_context(Node(store, "a"))
        address = parse_address(a.peers.me.nodes)
        link = NodeLink(await streams.connect(address.host, address.port, None, WITHIN_S))
        with pytest.raises(AtollError, match="a node of cluster"):
            await link.greet(Hello(Identity("x", 1)), "another")
        assert await link.receive(WITHIN_S) is None
        link.cut()

    with_store(scenario)


def test_the_secret_is_proved_and_never_said() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a = await stack.enter_async_context(Node(store, "a"))
        secret = (await store.range(Range(CLUSTER))).kvs[0].value.decode()
        address = parse_address(a.peers.me.nodes)
        link = NodeLink(await streams.connect(address.host, address.port, None, WITHIN_S))
        theirs = await link.receive(WITHIN_S)
        assert isinstance(theirs, Hello) and secret not in repr(theirs)
        await link.send(Hello(Identity("x", 1), theirs.cluster, nonce="n"))
        proof = await link.receive(WITHIN_S)
        assert isinstance(proof, Proof)
        await link.send(proof)  # theirs proves nothing for us
        assert await link.receive(WITHIN_S) is None
        assert a.table.counts.batches_taken == 0 and a.table.is_synced
        link.cut()

    with_store(scenario)


def test_a_second_process_with_the_same_data_folder_is_one_too_many() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        first = Node(store, "a", run=1)
        first.tasks.start("table", first.table.run())
        await first.nodes.open()
        await stack.enter_async_context(Node(store, "a", run=2))
        await until(lambda: bool(first.failures), "the end of the first one")
        failure = first.failures[0]
        assert isinstance(failure, AtollError) and failure.reason is Reason.IN_USE
        await first.nodes.close(1.0)
        await first.tasks.stop(1.0)

    with_store(scenario)


def test_whoever_sends_over_a_link_that_was_cut_is_told() -> None:
    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a = await stack.enter_async_context(Node(store, "a"))
        address = parse_address(a.peers.me.nodes)
        link = NodeLink(await streams.connect(address.host, address.port, None, WITHIN_S))
        link.cut()
        for _ in range(10):  # turns of the loop, in which the transport is closed for good
            await loop.sleep(0)
        with pytest.raises(AtollError, match="the link ended"):
            await link.send(Hello(Identity("x", 1), ""))

    with_store(scenario)


def test_links_are_for_holders_of_a_certificate_where_there_are_certificates(tmp_path: Path) -> None:
    ours, theirs = make_certificates(tmp_path / "ours"), make_certificates(tmp_path / "theirs")

    async def scenario(store: Store, stack: AsyncExitStack) -> None:
        a = await stack.enter_async_context(Node(store, "a", files=ours))
        b = await stack.enter_async_context(Node(store, "b", files=ours))
        a.table.put("client", b"key", b"value")
        await until(lambda: b.holds(b"key"), "the entry on the other node")
        address = parse_address(a.peers.me.nodes)
        cluster = (await store.range(Range(CLUSTER))).kvs[0].value.decode()
        foreign = tls.peer_context(str(theirs.server_cert), str(theirs.server_key), str(ours.ca))
        for secure in (None, foreign):
            link = NodeLink(await streams.connect(address.host, address.port, secure, WITHIN_S))
            with pytest.raises(AtollError):
                await link.greet(Hello(Identity("x", 1)), cluster)
            link.cut()
        mistaken = tls.peer_context(str(ours.server_cert), str(ours.server_key), str(theirs.ca))
        with pytest.raises(OSError, match="certificate verify failed"):
            await streams.connect(address.host, address.port, mistaken, WITHIN_S)

    with_store(scenario)
