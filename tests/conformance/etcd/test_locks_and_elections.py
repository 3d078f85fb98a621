"""Lock and Election on both servers (trap 7): keys, order, blocking, what a cancelled call leaves."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from atoll.wire.etcd import messages
from tests.conformance.etcd import ask
from tests.conformance.etcd.pair import Pair
from tests.conformance.etcd.side import TIMEOUT_S, Side

pytestmark = pytest.mark.peers

ONE, TWO, THREE = 0xABC, 0xDEF, 0x7


def lock(name: bytes, lease: int = 0) -> Any:
    return messages.LockRequest(name=name, lease=lease)


def campaign(name: bytes, lease: int, value: bytes) -> Any:
    return messages.CampaignRequest(name=name, lease=lease, value=value)


def leader_key(name: bytes, key: bytes, rev: int, lease: int) -> Any:
    return messages.LeaderKey(name=name, key=key, rev=rev, lease=lease)


def with_leases(side: Side) -> None:
    for lease in (ONE, TWO, THREE):
        side.call("Lease.LeaseGrant", ask.grant(60, lease))


def without_leases(side: Side) -> None:
    for lease in (ONE, TWO, THREE):
        side.call("Lease.LeaseRevoke", ask.revoke(lease))


def wait_for_keys(side: Side, prefix: bytes, count: int) -> None:
    keys = ask.get(prefix, prefix[:-1] + bytes([prefix[-1] + 1]), count_only=True)
    side.wait_for("KV.Range", keys, lambda found: found.count == count, f"{count} keys below {prefix!r}")


def test_7_a_lock_is_a_key_of_its_lease(pair: Pair) -> None:
    def script(side: Side) -> None:
        with_leases(side)
        side.call("Lock.Lock", lock(b"l1", ONE))
        side.call("Lock.Lock", lock(b"l1", ONE))  # held already
        side.call("KV.Range", ask.get(b"l1/", b"l10"))
        side.call("Lock.Lock", lock(b"l1/deeper", ONE))
        side.call("Lock.Lock", lock(b"", ONE))
        side.call("Lock.Lock", lock(b"l2"))  # a lease is made
        side.call("KV.Range", ask.get(b"l", b"m"))
        side.call("Lock.Unlock", messages.UnlockRequest(key=b"l1/abc"))
        side.call("Lock.Unlock", messages.UnlockRequest(key=b"l1/abc"))
        side.call("Lock.Unlock", messages.UnlockRequest())
        side.call("Lock.Lock", lock(b"l3", 999))
        side.call("Lock.Lock", lock(b"l3", -2))
        without_leases(side)

    pair.run(script)


def test_7_waiters_get_the_lock_in_the_order_in_which_they_came(pair: Pair) -> None:
    def script(side: Side) -> None:
        with_leases(side)
        side.call("Lock.Lock", lock(b"l4", ONE))
        second = side.start("Lock.Lock", lock(b"l4", THREE))
        wait_for_keys(side, b"l4/", 2)
        third = side.start("Lock.Lock", lock(b"l4", TWO))
        wait_for_keys(side, b"l4/", 3)
        side.call("Lock.Unlock", messages.UnlockRequest(key=b"l4/abc"))
        side.finish("Lock.Lock", second)
        assert not third.done()
        side.call("Lease.LeaseRevoke", ask.revoke(THREE))
        side.finish("Lock.Lock", third)
        side.call("Lease.LeaseGrant", ask.grant(60, THREE))
        without_leases(side)

    pair.run(script)


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_7_a_call_that_is_given_up_takes_its_key_back(pair: Pair, how: str) -> None:
    def script(side: Side) -> None:
        with_leases(side)
        name = b"l5" + how.encode()
        side.call("Lock.Lock", lock(name, ONE))
        side.call("Election.Campaign", campaign(name, ONE, b"v"))
        waiting = []
        for method, request in (
            ("Lock.Lock", lock(name, TWO)),
            ("Election.Campaign", campaign(name, THREE, b"v")),
        ):
            timeout_s = 1.0 if how == "deadline" else TIMEOUT_S
            waiting.append((method, side.start(method, request, timeout_s=timeout_s)))
        wait_for_keys(side, name + b"/", 3)
        for method, future in waiting:
            if how == "cancelled":
                future.cancel()
            side.finish_quietly(method, future)
        wait_for_keys(side, name + b"/", 1)
        without_leases(side)

    pair.run(script)


def test_7_an_election_from_campaign_to_resignation(pair: Pair) -> None:
    def script(side: Side) -> None:
        with_leases(side)
        name = messages.LeaderRequest(name=b"e1")
        side.call("Election.Leader", name)
        first = side.call("Election.Campaign", campaign(b"e1", ONE, b"one")).leader
        side.call("Election.Leader", name)
        side.call("Election.Campaign", campaign(b"e1", ONE, b"two"))  # changes the value
        side.call("Election.Campaign", campaign(b"e1", ONE, b"two"))
        side.call("Election.Leader", name)
        side.call("Election.Proclaim", messages.ProclaimRequest(leader=first, value=b"three"))
        side.call("KV.Range", ask.get(b"e1/", b"e10"))
        second = side.start("Election.Campaign", campaign(b"e1", TWO, b"four"))
        wait_for_keys(side, b"e1/", 2)
        side.call("Election.Leader", name)
        side.call("Election.Resign", messages.ResignRequest(leader=first))
        side.finish("Election.Campaign", second)
        side.call("Election.Leader", name)
        side.call("Election.Proclaim", messages.ProclaimRequest(leader=first, value=b"five"))
        side.call("Election.Resign", messages.ResignRequest(leader=first))
        without_leases(side)

    pair.run(script)


def test_7_wrong_leader_keys(pair: Pair) -> None:
    def script(side: Side) -> None:
        with_leases(side)
        leader = side.call("Election.Campaign", campaign(b"e2", ONE, b"one")).leader
        wrong = [
            None,
            messages.LeaderKey(),
            leader_key(b"e2", leader.key, leader.rev - 1, ONE),
            leader_key(b"e2", b"e2/def", leader.rev, TWO),
            leader_key(b"e2", leader.key, leader.rev, 999),
        ]
        for key in wrong:
            side.call("Election.Proclaim", messages.ProclaimRequest(leader=key, value=b"x"))
        for key in wrong[:-1]:
            side.call("Election.Resign", messages.ResignRequest(leader=key))
        side.call("Election.Campaign", campaign(b"e2", 999, b"x"))
        side.call("Election.Campaign", campaign(b"", ONE, b"x"))
        side.call("Election.Campaign", campaign(b"e3", 0, b"x"))
        side.call("KV.Range", ask.get(b"e2/", b"e20"))
        without_leases(side)

    pair.run(script)


def test_observe_sees_every_leader_and_every_value(pair: Pair) -> None:
    def script(side: Side) -> None:
        with_leases(side)
        request = messages.LeaderRequest(name=b"e4")
        observed = side.stub("Election.Observe")(request, timeout=TIMEOUT_S)

        def see() -> None:
            side.note("leader", side.plain(next(observed).kv))

        first = side.call("Election.Campaign", campaign(b"e4", ONE, b"1")).leader
        see()
        for value in (b"2", b"3"):
            side.call("Election.Proclaim", messages.ProclaimRequest(leader=first, value=value))
            see()
        second = side.start("Election.Campaign", campaign(b"e4", TWO, b"4"))
        wait_for_keys(side, b"e4/", 2)
        side.call("Lease.LeaseRevoke", ask.revoke(ONE))
        see()
        side.finish("Election.Campaign", second)
        side.call("Lease.LeaseRevoke", ask.revoke(TWO))
        side.call("Lease.LeaseGrant", ask.grant(60, TWO))
        side.call("Election.Campaign", campaign(b"e4", TWO, b"5"))
        see()
        observed.cancel()
        side.call("Lease.LeaseGrant", ask.grant(60, ONE))
        without_leases(side)

    pair.run(script)


def test_whoever_loses_the_lease_while_waiting_is_told_so_here(pair: Pair) -> None:
    """etcd 3.4 answers success, with a key that is gone."""

    def outcomes(side: Side) -> list[str]:
        with_leases(side)
        found = []
        for method, request, key in (
            ("Lock.Lock", lock(b"lost1", TWO), b"lost1/abc"),
            ("Election.Campaign", campaign(b"lost2", THREE, b"v"), b"lost2/abc"),
        ):
            side.call("Lock.Lock", lock(request.name, ONE))
            waiting = side.start(method, request)
            wait_for_keys(side, request.name + b"/", 2)
            side.call("Lease.LeaseRevoke", ask.revoke(request.lease))
            side.call("Lock.Unlock", messages.UnlockRequest(key=key))
            try:
                waiting.result()
                found.append("success")
            except grpc.RpcError as error:
                found.append(f"{error.code().name} {error.details()}")
        side.call("Lease.LeaseRevoke", ask.revoke(ONE))
        return found

    atoll, etcd = pair.sides()
    assert outcomes(etcd) == ["success", "success"]
    assert outcomes(atoll) == ["UNKNOWN mutex: session is expired", "UNKNOWN election: not leader"]
    atoll.close()
    etcd.close()
