"""Requests at random, and by hand the malformed ones, on both servers: status, text and whole response compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS
from tests.conformance.etcd import ask
from tests.conformance.etcd.pair import Pair
from tests.conformance.etcd.side import Side
from tests.soaking import SoakReport

pytestmark = pytest.mark.peers

KEYS = [b"", b"\0", b"a", b"a\0", b"aa", b"b", b"c", b"\xff", b"\xff\xff"]
ENDS = [b"", b"", b"", b"\0", b"a", b"b", b"c", b"\xff", b"d"]
BOUNDED_ENDS = [end for end in ENDS if end != b"\0"]
"""For deletions in transactions: etcd 3.4.23 dies when one "from a key on" takes away what a later put keeps."""
LEASES = [0, 0, 0, 11, 12, 13]


class Requests:
    """Requests over a small world of keys and leases, so that most of them meet something."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.revision = 1  # about where the store is

    def key(self) -> bytes:
        return self.random.choice(KEYS if self.random.random() < 0.1 else KEYS[1:])

    def flag(self) -> bool:
        return self.random.random() < 0.25

    def range(self) -> Any:
        pick = self.random
        bounds = ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"]
        fields: dict[str, Any] = {pick.choice(bounds): pick.randint(0, self.revision)} if self.flag() else {}
        return ask.get(
            self.key(),
            pick.choice(ENDS),
            limit=pick.choice([0, 0, 1, 2, 3, -1]),
            revision=pick.choice(
                [0, 0, 0, self.revision, self.revision - pick.randint(0, 20), self.revision + 2]
            ),
            sort_order=pick.choice([0, 0, 1, 2]),
            sort_target=pick.randint(0, 4),
            serializable=self.flag(),
            keys_only=self.flag(),
            count_only=self.flag(),
            **fields,
        )

    def put(self) -> Any:
        pick = self.random
        ignore_value, ignore_lease = self.flag(), self.flag()
        value = b"" if ignore_value and pick.random() < 0.9 else b"%d" % pick.randint(0, 9)
        lease = 0 if ignore_lease and pick.random() < 0.9 else pick.choice(LEASES)
        return ask.put(
            self.key(),
            value,
            lease=lease,
            prev_kv=self.flag(),
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )

    def delete(self, ends: Sequence[bytes] = ENDS) -> Any:
        return ask.delete(self.key(), self.random.choice(ends), prev_kv=self.flag())

    def compare(self) -> Any:
        pick = self.random
        value: dict[str, Any] = pick.choice(
            [
                {"version": pick.randint(0, 3)},
                {"create_revision": pick.randint(0, self.revision)},
                {"mod_revision": pick.randint(0, self.revision)},
                {"value": b"%d" % pick.randint(0, 9)},
                {"lease": pick.choice(LEASES)},
                {},
            ]
        )
        fields = {"key": self.key(), "range_end": pick.choice(ENDS), **value}
        return messages.Compare(target=pick.randint(0, 4), result=pick.randint(0, 3), **fields)

    def txn(self, depth: int = 0) -> Any:
        def branch() -> list[Any]:
            kinds: list[Callable[[], Any]] = [self.range, self.put, self.put]
            kinds.append(lambda: self.delete(BOUNDED_ENDS))
            if depth < 2:
                kinds.append(lambda: self.txn(depth + 1))
            made = [self.random.choice(kinds)() for _ in range(self.random.choice([0, 1, 1, 2, 3]))]
            return [ask.op(one) for one in made]

        compares = [self.compare() for _ in range(self.random.choice([0, 0, 1, 1, 2]))]
        return messages.TxnRequest(compare=compares, success=branch(), failure=branch())

    def lease(self) -> tuple[str, Any]:
        lease = self.random.choice(LEASES[3:])
        return self.random.choice(
            [
                ("Lease.LeaseGrant", ask.grant(self.random.randint(100, 500), lease)),
                ("Lease.LeaseGrant", ask.grant(self.random.randint(100, 500), lease)),
                ("Lease.LeaseRevoke", ask.revoke(lease)),
                ("Lease.LeaseTimeToLive", ask.time_to_live(lease, keys=self.flag())),
                ("Lease.LeaseLeases", messages.LeaseLeasesRequest()),
            ]
        )

    def next(self) -> tuple[str, Any]:
        kind = self.random.random()
        if kind < 0.3:
            return "KV.Range", self.range()
        if kind < 0.5:
            return "KV.Put", self.put()
        if kind < 0.6:
            return "KV.DeleteRange", self.delete()
        if kind < 0.9:
            return "KV.Txn", self.txn()
        if kind < 0.98:
            return self.lease()
        return "KV.Compact", ask.compact(self.revision - self.random.randint(-2, 30))


@pytest.mark.soak("etcd-differential", few=800, full=40_000, chunk=4_000)
def test_random_requests_get_the_same_answers(
    fresh: Pair, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    def script(side: Side) -> dict[str, int]:
        requests = Requests(seed)
        statuses: dict[str, int] = {}
        for _ in range(rounds):
            method, request = requests.next()
            side.note(str(request))  # so that a difference names its cause
            response = side.call(method, request)
            if response is not None and response.header.revision:
                requests.revision = response.header.revision
            status = side.transcript[-1][1]
            statuses[status] = statuses.get(status, 0) + 1
        return statuses

    statuses = fresh.run(script)
    soak_report.row("random requests, etcd and Atoll", rounds=rounds, figures=statuses)
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"} <= set(statuses)


def test_an_empty_operation_is_a_missing_key(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("KV.Txn", ask.txn(messages.RequestOp()))
        side.call("KV.Txn", ask.txn(otherwise=[messages.RequestOp()]))
        side.call("KV.Txn", ask.txn(ask.txn(ask.put(b"a"), messages.RequestOp())))
        side.call("KV.Txn", ask.txn(when=messages.Compare()))
        for request in (ask.get(b""), ask.put(b""), ask.delete(b"")):
            side.call("KV.Txn", ask.txn(request))

    pair.run(script)


def test_malformed_bytes_are_internal_errors_of_the_call_alone(pair: Pair) -> None:
    """The texts are those of two protobuf libraries, so only the status is compared."""
    broken = [b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0a\x05ab"]
    unary = [method for method in METHODS.values() if not (method.request_streams or method.response_streams)]
    # etcd's own empty requests have no fields that it would look at
    paths = [method.path for method in unary if method.request.DESCRIPTOR.fields]

    def statuses(side: Side) -> list[tuple[str, bytes, str]]:
        return [(path, data, side.raw(path, data)[0]) for path in paths for data in broken]

    atoll, etcd = pair.sides()
    found = statuses(atoll)
    assert found == statuses(etcd)
    assert {status for _, _, status in found} == {"INTERNAL"}
    assert atoll.call("KV.Range", ask.get(b"x")) is not None
    atoll.close()
    etcd.close()


def test_unknown_fields_are_passed_over(pair: Pair) -> None:
    """As protobuf asks: a newer client's extra fields do not break an older server."""
    data = ask.put(b"unknown", b"1").SerializeToString() + b"\xfa\x01\x03new"
    for side in pair.sides():
        status, _, _ = side.raw("/etcdserverpb.KV/Put", data)
        assert status == "OK", side.name
        side.close()


def test_unknown_methods_are_unimplemented(pair: Pair) -> None:
    paths = ["/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Range", "/etcdserverpb.Auth/AuthStatus"]
    for side in pair.sides():
        assert [side.raw(path, b"")[0] for path in paths] == ["UNIMPLEMENTED"] * 3, side.name
        side.close()


DEADLY: dict[str, tuple[str, Any]] = {
    "an unknown sort target": ("KV.Range", ask.get(b"a", b"b", sort_order=1, sort_target=9)),
    "an unknown alarm action": ("Maintenance.Alarm", messages.AlarmRequest(action=9, alarm=1)),
    "a put that keeps what was just deleted": (
        "KV.Txn",
        ask.txn(ask.delete(b"a", b"\0"), ask.put(b"a", ignore_value=True)),
    ),
}


@pytest.mark.parametrize("case", DEADLY.values(), ids=DEADLY)
def test_what_kills_etcd_is_refused_here(fresh: Pair, case: tuple[str, Any]) -> None:
    """Each of these ends the process of etcd 3.4.23 (docs/reference/bugs-found.md)."""
    method, request = case
    atoll, etcd = fresh.sides()
    for side in (atoll, etcd):
        side.call("KV.Put", ask.put(b"a", b"1"))
        side.call(method, request)
    assert etcd.transcript[-1][1] == "UNAVAILABLE"
    assert atoll.transcript[-1][1] == "INVALID_ARGUMENT"
    assert atoll.call("KV.Range", ask.get(b"a")).count == 1
    atoll.close()
    etcd.close()


def test_numbers_that_mean_nothing_are_refused_here(pair: Pair) -> None:
    """etcd 3.4 takes them for something else; a client that sends them is newer or broken."""
    atoll, etcd = pair.sides()
    for method, request in (
        ("KV.Range", ask.get(b"a", b"b", sort_order=9)),
        ("KV.Txn", ask.txn(when=messages.Compare(key=b"a", target=9))),
        ("KV.Txn", ask.txn(when=messages.Compare(key=b"a", result=9))),
    ):
        assert atoll.call(method, request) is None
        assert etcd.call(method, request) is not None
        assert atoll.transcript[-1][1] == "INVALID_ARGUMENT"
    atoll.close()
    etcd.close()
