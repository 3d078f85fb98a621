"""What servers that claim etcd's API get wrong, one test a trap, each on Debian's etcd and on Atoll.

The numbers are those of the list in docs/reference/etcd-api.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from atoll.wire.etcd import messages
from tests.conformance.etcd import ask
from tests.conformance.etcd.pair import Pair
from tests.conformance.etcd.side import Side

pytestmark = pytest.mark.peers

ALL = (b"\0", b"\0")


def test_1_a_lease_is_an_object_of_its_own(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("Lease.LeaseGrant", ask.grant(60, 71))
        side.call("Lease.LeaseGrant", ask.grant(60, 71))  # FailedPrecondition
        for ttl_s in (-1, 0, 1, 2, 3, 9_000_000_000, 9_000_000_001):
            side.call("Lease.LeaseGrant", ask.grant(ttl_s))
        side.call("Lease.LeaseGrant", ask.grant(60, -9))
        side.keep_alive(71, 12345, -9, 0)  # those that are dead answer TTL 0
        for lease in (71, 12345, 0, -9):
            side.call("Lease.LeaseTimeToLive", ask.time_to_live(lease))
        side.call("Lease.LeaseLeases")
        side.call("Lease.LeaseRevoke", ask.revoke(-9))
        side.call("Lease.LeaseRevoke", ask.revoke(-9))  # NotFound
        side.call("Lease.LeaseRevoke", ask.revoke(71))

    pair.run(script)


def test_1_expiry_deletes_all_keys_of_a_lease_in_one_revision(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("Lease.LeaseGrant", ask.grant(1, 72))  # raised to the minimum
        for key in (b"exp/c", b"exp/a", b"exp/b"):
            side.call("KV.Put", ask.put(key, lease=72))
        watch = side.watch()
        watch.create(b"exp/", range_end=b"exp0", prev_kv=True)
        watch.control()
        events = watch.events(3)
        assert len({event.kv.mod_revision for event in events}) == 1
        side.call("KV.Range", ask.get(b"exp/", b"exp0"))
        side.call("Lease.LeaseTimeToLive", ask.time_to_live(72))
        side.keep_alive(72)
        watch.close()

    pair.run(script)


def test_1_a_put_moves_its_key_between_leases(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("Lease.LeaseGrant", ask.grant(60, 73))
        side.call("Lease.LeaseGrant", ask.grant(60, 74))
        for lease in (73, 74, 0, 74):
            side.call("KV.Put", ask.put(b"moved", lease=lease))
            side.call("Lease.LeaseTimeToLive", ask.time_to_live(73))
            side.call("Lease.LeaseTimeToLive", ask.time_to_live(74))
        side.call("KV.Put", ask.put(b"moved", b"kept", ignore_lease=True))
        side.call("Lease.LeaseRevoke", ask.revoke(73))
        side.call("KV.Range", ask.get(b"moved"))
        side.call("KV.DeleteRange", ask.delete(b"moved"))
        side.call("Lease.LeaseTimeToLive", ask.time_to_live(74))
        side.call("Lease.LeaseRevoke", ask.revoke(74))

    pair.run(script)


def test_2_transactions_nest_and_compare_ranges(pair: Pair) -> None:
    def script(side: Side) -> None:
        for key in (b"n/a", b"n/b"):
            side.call("KV.Put", ask.put(key, b"1"))
        inner = ask.txn(
            ask.put(b"n/c", b"2", prev_kv=True),
            ask.get(b"n/", b"n0"),
            when=ask.compare(b"n/", "VERSION", "GREATER", b"n0", version=0),
            otherwise=[ask.put(b"n/c", b"3")],
        )
        side.call(
            "KV.Txn", ask.txn(ask.get(b"n/c"), inner, ask.delete(b"n/a", prev_kv=True), ask.get(b"n/", b"n0"))
        )
        side.call("KV.Txn", ask.txn(ask.txn(ask.txn(ask.get(b"n/a")), otherwise=[ask.put(b"n/d")])))
        side.call("KV.Range", ask.get(b"n/", b"n0"))

    pair.run(script)


@pytest.mark.parametrize("target", ["VERSION", "CREATE", "MOD", "VALUE", "LEASE"])
def test_2_every_target_and_relation_on_one_key_on_many_and_on_none(pair: Pair, target: str) -> None:
    field = {"VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision", "VALUE": "value"}
    name = field.get(target, "lease")

    def script(side: Side) -> None:
        first = side.call("KV.Put", ask.put(b"cmp/a", b"1")).header.revision
        side.call("KV.Put", ask.put(b"cmp/b", b"2"))
        side.call("KV.Put", ask.put(b"cmp/b", b"3"))
        wanted = [b"", b"1", b"2", b"9"] if target == "VALUE" else [-1, 0, 1, 2, first, first + 1]
        for relation in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"):
            for key, end in ((b"cmp/a", b""), (b"cmp/", b"cmp0"), (b"none", b""), (b"none", b"nonf"), ALL):
                for value in wanted:
                    side.call(
                        "KV.Txn", ask.txn(when=ask.compare(key, target, relation, end, **{name: value}))
                    )
            side.call("KV.Txn", ask.txn(when=ask.compare(b"cmp/a", target, relation)))  # no value at all

    pair.run(script)


def test_2_a_key_is_written_once_in_a_transaction(pair: Pair) -> None:
    a, b = ask.put(b"d/a", b"1"), ask.put(b"d/b", b"2")

    def script(side: Side) -> None:
        side.call("KV.Txn", ask.txn(a, a))
        side.call("KV.Txn", ask.txn(b, otherwise=[a, a]))
        side.call("KV.Txn", ask.txn(a, ask.delete(b"d/a")))
        side.call("KV.Txn", ask.txn(a, ask.delete(b"d/", b"d0")))
        side.call("KV.Txn", ask.txn(ask.delete(b"d/a"), ask.delete(b"d/a")))
        side.call("KV.Txn", ask.txn(a, ask.txn(a)))
        side.call("KV.Txn", ask.txn(ask.txn(a, otherwise=[a])))  # excludes itself, so it is allowed
        side.call("KV.Txn", ask.txn(ask.txn(a), ask.txn(b, otherwise=[a])))
        side.call("KV.Txn", ask.txn(ask.txn(ask.delete(b"d/", b"d0")), a))
        side.call("KV.Txn", ask.txn(ask.put(b"d/z"), ask.delete(b"d/z", b"\0")))  # etcd does not notice
        side.call("KV.Range", ask.get(b"d/", b"d0"))

    pair.run(script)


def test_2_reads_see_earlier_writes_and_a_read_only_transaction_makes_no_revision(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("KV.Txn", ask.txn(ask.put(b"r", b"1"), ask.get(b"r"), ask.delete(b"r"), ask.get(b"r")))
        side.call(
            "KV.Txn",
            ask.txn(ask.put(b"r1", b"1"), ask.get(b"r", b"s"), ask.delete(b"r0"), ask.get(b"r", b"s")),
        )
        side.call("KV.Txn", ask.txn(ask.get(b"r1"), ask.get(b"r", b"s", revision=2)))
        side.call("KV.Txn", ask.txn(ask.delete(b"nothing")))
        side.call("KV.Txn", ask.txn())
        side.call("KV.Range", ask.get(b"r", b"s"))

    pair.run(script)


def test_3_revisions_and_versions(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("KV.Put", ask.put(b"v", b"1", prev_kv=True))
        side.call("KV.Put", ask.put(b"v", b"2", prev_kv=True))
        side.call("KV.DeleteRange", ask.delete(b"v", prev_kv=True))
        side.call("KV.DeleteRange", ask.delete(b"v", prev_kv=True))  # nothing: no revision
        side.call("KV.DeleteRange", ask.delete(b"w", b"v"))
        side.call("KV.Put", ask.put(b"v", b"3", prev_kv=True))  # version 1 again
        side.call("KV.Range", ask.get(b"v"))

    pair.run(script)


def test_3_a_fresh_store_is_at_revision_1(fresh: Pair) -> None:
    def script(side: Side) -> None:
        side.call("KV.Range", ask.get(*ALL))
        side.call("KV.Put", ask.put(b"first"))
        side.call("KV.Compact", ask.compact(0))
        side.call("KV.Compact", ask.compact(0))
        side.call("KV.Compact", ask.compact(-5))

    fresh.run(script)


def test_5_ranges(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("KV.DeleteRange", ask.delete(*ALL))
        begin = 0
        for number, key in enumerate((b"a", b"b\0", b"b", b"c", b"\xff", b"\0")):
            begin = begin or side.call("KV.Put", ask.put(key, b"%d" % (9 - number))).header.revision
            side.call("KV.Put", ask.put(key, b"%d" % (9 - number)))
        side.call("KV.Put", ask.put(b"a", b"0"))
        ends = [b"", b"\0", b"a", b"b", b"b\0", b"c", b"\xff", b"\xff\xff", b"\0\0"]
        for key in (b"\0", b"a", b"b", b"c", b"\xff"):
            for end in ends:
                side.call("KV.Range", ask.get(key, end, keys_only=True))
        for limit in (-1, 0, 1, 2, 6, 7):
            side.call("KV.Range", ask.get(*ALL, limit=limit))
            side.call("KV.Range", ask.get(*ALL, limit=limit, count_only=True))
        for order in (0, 1, 2):
            for target in range(5):
                side.call("KV.Range", ask.get(*ALL, sort_order=order, sort_target=target))
                side.call("KV.Range", ask.get(*ALL, sort_order=order, sort_target=target, limit=2))
        for revision in (-1, 1, begin, begin + 3):
            side.call("KV.Range", ask.get(*ALL, revision=revision, serializable=True))
        side.call("KV.Range", ask.get(*ALL, revision=1 << 40))
        for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            fields: dict[str, Any] = {bound: begin + 4}
            side.call("KV.Range", ask.get(*ALL, limit=2, **fields))

    pair.run(script)


def test_6_puts_that_keep_something(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("Lease.LeaseGrant", ask.grant(60, 75))
        side.call("KV.Put", ask.put(b"keep", ignore_value=True))
        side.call("KV.Put", ask.put(b"keep", b"1", ignore_lease=True))
        side.call("KV.Put", ask.put(b"keep", b"1", lease=75))
        side.call("KV.Put", ask.put(b"keep", b"2", ignore_lease=True, prev_kv=True))
        side.call("KV.Put", ask.put(b"keep", ignore_value=True, prev_kv=True))
        side.call("KV.Put", ask.put(b"keep", ignore_value=True, lease=75))
        side.call("KV.Put", ask.put(b"keep", ignore_value=True, ignore_lease=True))
        side.call("KV.Range", ask.get(b"keep"))
        side.call("KV.Put", ask.put(b"keep", b"x", ignore_value=True))
        side.call("KV.Put", ask.put(b"keep", ignore_lease=True, lease=75))
        side.call("KV.Put", ask.put(b"", b"x"))
        side.call("KV.Put", ask.put(b"gone", ignore_value=True, lease=999))
        side.call("KV.Txn", ask.txn(ask.put(b"gone", ignore_value=True, lease=999)))
        side.call("KV.Put", ask.put(b"keep", lease=999))
        side.call("Lease.LeaseRevoke", ask.revoke(75))

    pair.run(script)


def test_9_headers_and_status_name_the_member(pair: Pair) -> None:
    for side in pair.sides():
        header = side.call("KV.Range", ask.get(b"x")).header
        status = side.call("Maintenance.Status")
        [member] = side.call("Cluster.MemberList").members
        assert header.cluster_id and header.member_id and header.raft_term and header.revision
        assert status.leader == status.header.member_id == header.member_id == member.ID
        assert status.header.cluster_id == header.cluster_id
        assert status.raftTerm == header.raft_term and status.raftIndex and status.dbSize
        assert status.version == "3.4.23"
        side.close()


def test_limits_are_etcds(pair: Pair) -> None:
    def script(side: Side) -> None:
        puts = [ask.put(b"limit/%d" % number) for number in range(129)]
        side.call("KV.Txn", ask.txn(*puts[:128]))
        side.call("KV.Txn", ask.txn(*puts))
        side.call("KV.Txn", ask.txn(otherwise=puts))
        side.call("KV.Txn", ask.txn(when=[messages.Compare(key=b"x")] * 129))
        side.call("KV.Txn", ask.txn(ask.txn(*puts[:127]), *[ask.get(b"x")] * 0))
        side.call("KV.Txn", ask.txn(ask.txn(*puts[:128])))  # one level down there are 127 left
        side.call("KV.Put", ask.put(b"big", b"x" * 1_500_000))
        side.call("KV.Put", ask.put(b"big", b"x" * 1_572_864))
        side.call("KV.Put", ask.put(b"big", b"x" * 2_097_152))
        side.call("KV.Range", ask.get(b"x" * 1_600_000))
        side.call("KV.DeleteRange", ask.delete(b"big"))

    pair.run(script)
