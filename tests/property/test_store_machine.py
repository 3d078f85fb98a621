"""Memory, SQLite and a real etcd side by side: the same random steps, and never a different answer.

Every example is a run of ``STEPS`` steps on three fresh stores. Compared are all results and errors, revisions
included, and everything that watches deliver. Not compared: remaining times of leases. The SQLite store is
closed and opened again as one of the steps, and its watches resume.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from atoll.errors import AtollError, Code, Reason
from atoll.store import api, etcd_url
from atoll.store.api import Driver, Outcome, Request
from atoll.store.engine import Retention
from atoll.store.etcd import EtcdDriver
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite
from atoll.testing.asking import Watching, outcome
from tests.peers.etcd import etcd_cluster
from tests.soaking import SoakReport
from tests.waiting import wait_until

STEPS = 100
EXPIRIES_MAX = 2  # in one example: each waits for time to pass
LIMITS = api.Limits(lease_ttl_s_min=1)  # what an election timeout of 100 ms makes it in etcd
KEEP = Retention(history_s=0, history_revisions_max=0)
LONG_TTL_S = 10_000

KEYS = [b"a", b"aa", b"b", b"c", b"d\xff", b"\xff"]
LEASES = [1, 2, 0x7FFF_FFFF_FFFF_FFFF]
MISSING_LEASE = 99

keys = st.sampled_from(KEYS)
ends = st.sampled_from([b"", b"", b"\0", b"b", b"d", b"c\0", b"\xff\xff"])
values = st.sampled_from([b"", b"1", b"2", b"\0\xff"])
lease_ids = st.sampled_from([0, 0, *LEASES, MISSING_LEASE])
offsets = st.integers(-6, 1)  # revisions, relative to the newest
flags = st.sampled_from([False, False, True])


def puts(ignoring: bool = True) -> st.SearchStrategy[Any]:
    ignore = flags if ignoring else st.just(False)
    return st.builds(
        api.Put,
        key=keys,
        value=values,
        lease=lease_ids,
        prev_kv=flags,
        ignore_value=ignore,
        ignore_lease=ignore,
    )


def ranges(newest: int) -> st.SearchStrategy[Any]:
    revisions = st.one_of(st.just(0), st.integers(max(newest - 6, 0), newest + 1))
    bounds = st.one_of(st.just(0), st.just(0), st.integers(max(newest - 6, 1), newest + 1))
    return st.builds(
        api.Range,
        key=keys,
        end=ends,
        revision=revisions,
        limit=st.integers(0, 3),
        sort_order=st.sampled_from(api.SortOrder),
        sort_target=st.sampled_from(api.SortTarget),
        serializable=flags,
        keys_only=flags,
        count_only=flags,
        min_mod_revision=bounds,
        max_mod_revision=bounds,
        min_create_revision=bounds,
        max_create_revision=bounds,
    )


deletes = st.builds(api.Delete, key=keys, end=ends, prev_kv=flags)


def compares(newest: int) -> st.SearchStrategy[Any]:
    numbers = st.one_of(st.integers(0, 3), st.integers(max(newest - 6, 0), newest), lease_ids)

    def compare(target: api.Target) -> st.SearchStrategy[Any]:
        value: st.SearchStrategy[Any] = values if target is api.Target.VALUE else numbers
        return st.builds(api.Compare, keys, st.just(target), st.sampled_from(api.Relation), value, ends)

    return st.sampled_from(api.Target).flatmap(compare)


def txns(newest: int, depth: int = 2, ignoring: bool = True) -> st.SearchStrategy[Any]:
    operations = [puts(ignoring), puts(ignoring), ranges(newest), deletes]
    if depth:
        operations.append(txns(newest, depth - 1, ignoring))
    branch = st.lists(st.one_of(operations), max_size=3).map(tuple)
    guards = st.lists(compares(newest), max_size=2).map(tuple)
    return st.builds(api.Txn, compares=guards, success=branch, failure=branch)


def crashes_etcd(request: Any) -> bool:
    """etcd 3.4 panics where a transaction deletes "from a key on" and then keeps a value that is gone by then."""
    operations = list(_flat(request))
    from_on = any(isinstance(each, api.Delete) and each.end == b"\0" for each in operations)
    keeps = any(isinstance(each, api.Put) and (each.ignore_value or each.ignore_lease) for each in operations)
    return from_on and keeps


def _flat(request: Any) -> list[Any]:
    if not isinstance(request, api.Txn):
        return [request]
    return [inner for each in (*request.success, *request.failure) for inner in _flat(each)]


def comparable(answer: Outcome) -> object:
    """``answer`` without what may differ."""
    if isinstance(answer, AtollError):
        return answer.code, answer.reason
    if isinstance(answer, api.LeaseResult):
        dead = answer.ttl_s < 0
        return answer.revision, answer.lease, dead, answer.granted_ttl_s, sorted(answer.keys)
    if isinstance(answer, api.LeaseListResult):
        return answer.revision, sorted(answer.leases)
    return answer


def _gone(driver: Driver, lease: int) -> bool:
    answer = outcome(driver, api.LeaseList())
    return isinstance(answer, api.LeaseListResult) and lease not in answer.leases


class Side:
    """One of the stores, and the watches that follow it."""

    def __init__(self, name: str, open_driver: Callable[[], Driver]) -> None:
        self.name = name
        self._open = open_driver
        self.driver = open_driver()
        self._watches: dict[int, tuple[api.Watch, list[Watching]]] = {}

    def watch(self, number: int, watch: api.Watch) -> None:
        self._watches[number] = (watch, [Watching(self.driver, watch)])

    def unwatch(self, number: int) -> None:
        for watching in self._watches.pop(number)[1]:
            watching.cancel()

    def created(self, number: int) -> object:
        """At which revision, or None where the watch is refused."""
        return self._watches[number][1][0].wait_created()

    def error(self, number: int, expected: bool) -> object:
        """What ended the watch; waits for that where it is ``expected``."""
        watching = self._watches[number][1][-1]
        error = watching.wait_error() if expected else watching.error
        return error and (error.code, error.reason, dict(error.facts))

    def events(self, number: int) -> list[api.Event]:
        return [event for watching in self._watches[number][1] for event in watching.events]

    def wait_events(self, number: int, count: int) -> None:
        self._watches[number][1][-1].wait_events(count - self._before(number))

    def _before(self, number: int) -> int:
        return sum(len(watching.events) for watching in self._watches[number][1][:-1])

    def reopen(self, newest: int) -> None:
        self.driver.close()
        self.driver = self._open()
        for number, (watch, parts) in self._watches.items():
            error = parts[-1].error
            if error is not None and error.reason.value != "closed":
                continue
            start = max(watch.start_revision, newest + 1)
            again = msgspec.structs.replace(watch, start_revision=start)
            self._watches[number] = (watch, [*parts, Watching(self.driver, again)])

    def close(self) -> None:
        self.driver.close()


class StoreMachine(RuleBasedStateMachine):
    """``memory`` is what the others are compared with."""

    requests = 0

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="atoll-machine-"))
        self._etcd = etcd_cluster(self._folder, election_timeout_ms=100)
        cluster = self._etcd.__enter__()
        sqlite_path = self._folder / "store.db"
        self._sides = [
            Side("memory", lambda: open_memory(LIMITS, KEEP)),
            Side("sqlite", lambda: open_sqlite(sqlite_path, LIMITS, KEEP)),
            Side("etcd", lambda: EtcdDriver(etcd_url.parse(cluster.url))),
        ]
        self._newest = 1
        self._watches: list[int] = []
        self._watch_count = 0
        self._expiries_left = EXPIRIES_MAX
        self._compact_revision = 0

    def teardown(self) -> None:
        for side in self._sides:
            side.close()
        self._etcd.__exit__(None, None, None)
        shutil.rmtree(self._folder)

    def _all(self, request: Request) -> Outcome:
        """Ask all sides, compare, and return memory's answer."""
        type(self).requests += 1
        answers = {side.name: outcome(side.driver, request) for side in self._sides}
        expected = comparable(answers["memory"])
        for name, answer in answers.items():
            assert comparable(answer) == expected, f"{request}\nmemory: {answers['memory']}\n{name}: {answer}"
        answer = answers["memory"]
        if not isinstance(answer, AtollError):
            self._newest = max(self._newest, answer.revision)
        if isinstance(request, api.Compact) and isinstance(answer, api.CompactResult):
            self._compact_revision = request.revision
        self._compare_watches()
        return answer

    def _compare_watches(self) -> None:
        memory = self._sides[0]
        for number in list(self._watches):
            expected = memory.events(number)
            for side in self._sides[1:]:
                side.wait_events(number, len(expected))
                events = side.events(number)
                assert events == expected, f"watch {number}\nmemory: {expected}\n{side.name}: {events}"
            ended = memory.error(number, False)
            ends = [side.error(number, ended is not None) for side in self._sides[1:]]
            if ended is None and ends[0] is None and ends[1] == self._compacted():
                # etcd looks at watches that begin in the past ten times a second; what is compacted before
                # that ends them, although there was nothing to tell. Ours have caught up at once.
                self._forget_watch(number)
            else:
                assert ends == [ended] * len(ends), f"watch {number}: {ended} {ends}"

    # ----------------------------------------------------------------------------------------- keys

    @rule(request=puts())
    def put(self, request: api.Put) -> None:
        self._all(request)

    @rule(request=deletes)
    def delete(self, request: api.Delete) -> None:
        self._all(request)

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        self._all(data.draw(ranges(self._newest)))

    @rule(data=st.data())
    def transact(self, data: st.DataObject) -> None:
        request = data.draw(txns(self._newest).filter(lambda txn: not crashes_etcd(txn)))
        self._all(request)

    @rule(data=st.data())
    def transact_again(self, data: st.DataObject) -> None:
        """Transactions are what most needs comparing; this doubles their share."""
        request = data.draw(txns(self._newest, depth=1, ignoring=False))
        self._all(request)

    @rule(offset=offsets)
    def compact(self, offset: int) -> None:
        self._all(api.Compact(max(self._newest + offset, 0), physical=True))

    def _compacted(self) -> object:
        return Code.INVALID, Reason.COMPACTED, {"compact_revision": self._compact_revision}

    # --------------------------------------------------------------------------------------- leases

    @rule(lease=st.sampled_from(LEASES), ttl_s=st.sampled_from([LONG_TTL_S, LONG_TTL_S, 9_000_000_001]))
    def grant(self, lease: int, ttl_s: int) -> None:
        self._all(api.LeaseGrant(ttl_s, lease))

    @rule(lease=st.sampled_from([*LEASES, MISSING_LEASE]))
    def revoke(self, lease: int) -> None:
        self._all(api.LeaseRevoke(lease))

    @rule(lease=st.sampled_from([*LEASES, MISSING_LEASE]), with_keys=st.booleans())
    def ask_about_lease(self, lease: int, with_keys: bool) -> None:
        self._all(api.LeaseKeepAlive(lease))
        self._all(api.LeaseTimeToLive(lease, with_keys))
        self._all(api.LeaseList())

    @precondition(lambda self: self._expiries_left > 0)
    @rule(leased=st.lists(keys, max_size=3, unique=True))
    def let_a_lease_expire(self, leased: list[bytes]) -> None:
        self._expiries_left -= 1
        lease = 7
        self._all(api.LeaseGrant(1, lease))
        for key in leased:
            self._all(api.Put(key, b"leased", lease))
        for side in self._sides:
            wait_until(functools.partial(_gone, side.driver, lease), 20, f"expiry on {side.name}")
        self._all(api.LeaseTimeToLive(lease, keys=True))
        self._all(api.Range(b"\0", b"\0"))

    # -------------------------------------------------------------------------------------- watches

    @rule(
        wanted=st.builds(api.Watch, key=keys, end=ends, prev_kv=flags, no_put=flags, no_delete=flags),
        offset=st.one_of(st.none(), st.none(), st.integers(-6, 3)),
    )
    def watch(self, wanted: api.Watch, offset: int | None) -> None:
        start = 0 if offset is None else max(self._newest + offset, 1)
        # etcd 3.4 loses a deletion at the compaction revision (docs/reference/bugs-found.md)
        start += start > 0 and start == self._compact_revision
        number, self._watch_count = self._watch_count, self._watch_count + 1
        for side in self._sides:
            side.watch(number, msgspec.structs.replace(wanted, start_revision=start))
        created = [side.created(number) for side in self._sides]
        assert created == [created[0]] * len(created), f"watch {number}: {created}"
        if created[0] and 0 < start < self._compact_revision:
            assert self._sides[0].error(number, True) == self._compacted()
        self._watches.append(number)
        self._compare_watches()

    @precondition(lambda self: self._watches)
    @rule(data=st.data())
    def cancel_watch(self, data: st.DataObject) -> None:
        self._forget_watch(data.draw(st.sampled_from(self._watches)))

    def _forget_watch(self, number: int) -> None:
        self._watches.remove(number)
        for side in self._sides:
            side.unwatch(number)

    # --------------------------------------------------------------------------------------- others

    @rule()
    def reopen_sqlite(self) -> None:
        self._sides[1].reopen(self._newest)
        self._all(api.Range(b"\0", b"\0"))


@pytest.mark.peers
@pytest.mark.soak("store-machine", few=5, full=50, chunk=5)
@pytest.mark.timeout(1200)
def test_three_stores_answer_alike(rounds: int, seed: int, soak_report: SoakReport) -> None:
    class Machine(StoreMachine):
        requests = 0

    run_state_machine_as_test(
        hypothesis.seed(seed)(Machine),
        settings=settings(
            max_examples=rounds,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    soak_report.row("three stores side by side", rounds=rounds, figures={"requests": Machine.requests})
