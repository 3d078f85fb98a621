"""The driver for real clusters, against Debian's etcd."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.store import api, etcd_url
from atoll.store.api import Compare, Put, Range, Relation, Target, Txn
from atoll.store.etcd import EtcdDriver
from atoll.store.failover import Situation
from atoll.testing.asking import Watching, ask, outcome
from atoll.testing.relay import Relay
from tests.peers.certificates import make_certificates
from tests.peers.etcd import Cluster, etcd_cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("single")
    with etcd_cluster(directory, options=["--max-request-bytes", "100000"]) as cluster:
        yield cluster


@pytest.fixture
def driver(single: Cluster) -> Iterator[EtcdDriver]:
    made = open_driver(single.url)
    yield made
    made.close()


def open_driver(url: str) -> EtcdDriver:
    return EtcdDriver(etcd_url.parse(url))


def refusal(driver: EtcdDriver, request: api.Request, timeout_s: float = 10.0) -> tuple[Code, Reason]:
    error = ask(driver, request, AtollError, timeout_s=timeout_s)
    return error.code, error.reason


# ------------------------------------------------------------------------------------------ refusals


def test_every_refusal_of_a_request_has_its_reason(driver: EtcdDriver) -> None:
    lease = ask(driver, api.LeaseGrant(60), api.LeaseResult).lease
    for _ in range(3):
        revision = ask(driver, Put(b"refusals"), api.PutResult).revision
    ask(driver, api.Compact(revision), api.CompactResult)
    expected: dict[api.Request, tuple[Code, Reason]] = {
        Put(b""): (Code.INVALID, Reason.EMPTY_KEY),
        Put(b"absent", ignore_value=True): (Code.INVALID, Reason.KEY_NOT_FOUND),
        Put(b"k", b"v", ignore_value=True): (Code.INVALID, Reason.VALUE_PROVIDED),
        Put(b"k", lease=lease, ignore_lease=True): (Code.INVALID, Reason.LEASE_PROVIDED),
        Put(b"k", lease=99): (Code.NOT_FOUND, Reason.LEASE_NOT_FOUND),
        Put(b"k", b"." * 110_000): (Code.INVALID, Reason.REQUEST_TOO_LARGE),
        Put(b"k", b"." * 900_000): (Code.INVALID, Reason.REQUEST_TOO_LARGE),  # refused by its gRPC layer
        Txn(success=(Put(b"k"), Put(b"k"))): (Code.INVALID, Reason.DUPLICATE_KEY),
        Txn(success=tuple(Put(b"%d" % n) for n in range(129))): (Code.INVALID, Reason.TOO_MANY_OPS),
        Range(b"k", revision=revision - 1): (Code.INVALID, Reason.COMPACTED),
        Range(b"k", revision=revision + 100): (Code.INVALID, Reason.FUTURE_REVISION),
        api.Compact(revision - 1): (Code.INVALID, Reason.COMPACTED),
        api.LeaseGrant(60, lease=lease): (Code.CONFLICT, Reason.LEASE_EXISTS),
        api.LeaseGrant(9_000_000_001): (Code.INVALID, Reason.LEASE_TTL_TOO_LARGE),
        api.LeaseRevoke(99): (Code.NOT_FOUND, Reason.LEASE_NOT_FOUND),
        Range(b"k", limit=2**63): (Code.INVALID, Reason.OTHER),
        api.LeaseKeepAlive(2**63): (Code.INVALID, Reason.OTHER),
        Txn((Compare(b"k", Target.VALUE, Relation.EQUAL, 7),)): (Code.INVALID, Reason.OTHER),
    }
    found = {request: refusal(driver, request) for request in expected}
    assert found == expected
    assert Watching(driver, api.Watch(b"k", start_revision=2**63)).wait_error().code is Code.INVALID


def test_a_watch_of_an_empty_range_is_refused_and_the_others_go_on(driver: EtcdDriver) -> None:
    good = Watching(driver, api.Watch(b"beside"))
    empty = Watching(driver, api.Watch(b"z", b"a"))
    assert empty.wait_error().code is Code.INVALID
    good.wait_created()
    revision = ask(driver, Put(b"beside"), api.PutResult).revision
    good.wait_revision(revision)
    assert empty.batches == []


def test_a_put_that_was_refused_for_space_may_have_been_applied(tmp_path: Path) -> None:
    """Many puts at once at the quota: etcd answers some that it applied by "database space exceeded"."""
    with etcd_cluster(tmp_path, options=["--quota-backend-bytes", str(512 * 1024)]) as cluster:
        driver = open_driver(cluster.url)
        outcomes: dict[bytes, api.Outcome] = {}
        while not _refused(outcomes):
            assert len(outcomes) < 4_000, "the quota is not enforced"
            _put_all(driver, [b"%06d" % (len(outcomes) + more) for more in range(200)], outcomes)
        kept = {kv.key for kv in ask(driver, Range(b"0", b"1", keys_only=True), api.RangeResult).kvs}
        refused = _refused(outcomes)
        assert {(error.code, error.reason) for error in refused.values()} == {(Code.UNKNOWN, Reason.NO_SPACE)}
        assert outcomes.keys() - refused.keys() <= kept
        assert "NOSPACE" in ask(driver, api.StatusRequest(), api.StatusResult).alarms
        print(f"refused {len(refused)}, of these applied: {len(kept & refused.keys())}")
        driver.close()


def _refused(outcomes: dict[bytes, api.Outcome]) -> dict[bytes, AtollError]:
    return {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, AtollError)}


def _put_all(driver: EtcdDriver, keys: list[bytes], outcomes: dict[bytes, api.Outcome]) -> None:
    """All at once, 4 kB each; waits for all outcomes."""
    wanted = len(outcomes) + len(keys)
    for key in keys:
        driver.submit(Put(key, b"." * 4_000), functools.partial(outcomes.__setitem__, key), 30.0)
    wait_until(lambda: len(outcomes) == wanted, 40.0, "the outcome of every put")


# ------------------------------------------------------------------------------------------ users and TLS


def test_users_tokens_and_permissions_over_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "pki")
    with etcd_cluster(tmp_path, certificates=certificates) as cluster:
        cluster.etcdctl("user", "add", "reader:secret")
        cluster.etcdctl("role", "add", "reads-a")
        cluster.etcdctl("role", "grant-permission", "reads-a", "read", "a", "b")
        cluster.etcdctl("user", "grant-role", "reader", "reads-a")
        cluster.enable_auth()
        root = open_driver(cluster.url)
        ask(root, Put(b"a", b"1"), api.PutResult)
        cluster.user = ("reader", "secret")
        reader = open_driver(cluster.url)
        assert ask(reader, Range(b"a"), api.RangeResult).kvs[0].value == b"1"
        denied = (Code.DENIED, Reason.PERMISSION_DENIED)
        assert refusal(reader, Put(b"a")) == denied
        assert refusal(reader, Range(b"b")) == denied
        seen = Watching(reader, api.Watch(b"a"))
        seen.wait_created()
        other = Watching(reader, api.Watch(b"b"))
        assert other.wait_error().code is Code.DENIED

        resumed_before = seen.resumptions
        (member,) = cluster.members
        member.kill()  # forgets all tokens
        member.start()
        cluster.user = ("root", "root secret")
        revision = ask(root, Put(b"a", b"2"), api.PutResult, timeout_s=30.0).revision
        seen.wait_revision(revision)
        assert seen.resumptions > resumed_before

        cluster.user = ("reader", "wrong")
        wrong = open_driver(cluster.url)
        assert refusal(wrong, Range(b"a")) == (Code.DENIED, Reason.INVALID_CREDENTIALS)
        assert Watching(wrong, api.Watch(b"a")).wait_error().code is Code.DENIED
        cluster.user, cluster.certificates = None, None
        plain = open_driver(cluster.url)
        assert refusal(plain, Range(b"a"), timeout_s=1.0) == (Code.UNAVAILABLE, Reason.TIMEOUT)
        for driver in (root, reader, wrong, plain):
            driver.close()


def test_a_user_given_to_a_cluster_without_authentication_is_let_in(single: Cluster) -> None:
    driver = open_driver(single.url.replace("etcd://", "etcd://somebody:secret@"))
    assert ask(driver, Put(b"k"), api.PutResult).revision > 1
    driver.close()


def test_certificate_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    for content, says in ((None, "cannot read"), (b"no certificate", "is not a PEM file")):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(AtollError, match=says) as refused:
            open_driver(f"etcd://a:1?ca={path}")
        assert refused.value.code is Code.INVALID


# ------------------------------------------------------------------------------------------ outcomes


def test_a_write_is_unknown_once_it_may_have_left_and_unavailable_before(single: Cluster) -> None:
    host, _, port = single.endpoints[0].partition(":")
    with Relay(host, int(port)) as relay:
        relay.refuse()
        driver = open_driver(f"etcd://{relay.address}")
        assert refusal(driver, Put(b"k"), timeout_s=0.5) == (Code.UNAVAILABLE, Reason.TIMEOUT)
        assert driver.situation() is Situation.CUT_OFF
        relay.accept()
        ask(driver, Put(b"k"), api.PutResult)
        relay.hold(answers_only=True)
        assert refusal(driver, Put(b"left"), timeout_s=0.5) == (Code.UNKNOWN, Reason.TIMEOUT)
        wait_until(
            lambda: refusal(driver, Put(b"later"), timeout_s=0.2) == (Code.UNAVAILABLE, Reason.TIMEOUT),
            20.0,
            "the silence to be noticed, so that a write is not sent into it",
        )
        relay.release()
        ask(driver, Put(b"after"), api.PutResult)
        assert ask(driver, Range(b"left"), api.RangeResult).count == 1  # unknown was right: it was applied
        driver.close()


def test_a_connection_that_breaks_under_a_write_is_unknown_and_under_a_read_is_another_try(
    single: Cluster,
) -> None:
    host, _, port = single.endpoints[0].partition(":")
    with Relay(host, int(port)) as relay:
        driver = open_driver(f"etcd://{relay.address}")
        ask(driver, Put(b"k"), api.PutResult)
        for request in (Put(b"broken"), Range(b"broken")):
            relay.hold(answers_only=True)
            outcomes: list[api.Outcome] = []
            driver.submit(request, outcomes.append, 20.0)
            wait_until(functools.partial(_applied, single), 10.0, "etcd to have applied the put")
            relay.cut()
            relay.release()
            wait_until(functools.partial(bool, outcomes), 25.0, "an outcome")
            (outcome,) = outcomes
            if isinstance(request, Put):
                assert isinstance(outcome, AtollError)
                assert outcome.code is Code.UNKNOWN
            else:
                assert isinstance(outcome, api.RangeResult)
                assert outcome.kvs[0].version == 1, "the put was sent twice"
        driver.close()


def _applied(cluster: Cluster) -> bool:
    return b"broken" in cluster.etcdctl("get", "broken").stdout


def test_closing_ends_what_is_under_way(single: Cluster) -> None:
    host, _, port = single.endpoints[0].partition(":")
    with Relay(host, int(port)) as relay:
        driver = open_driver(f"etcd://{relay.address}")
        ask(driver, Put(b"k"), api.PutResult)
        watch = Watching(driver, api.Watch(b"k"))
        watch.wait_created()
        relay.hold(answers_only=True)
        outcomes: list[api.Outcome] = []
        driver.submit(Put(b"k"), outcomes.append)
        driver.close()
        (outcome,) = outcomes
        assert isinstance(outcome, AtollError)
        assert outcome.reason is Reason.CLOSED
        assert watch.wait_error().reason is Reason.CLOSED
        assert refusal(driver, Put(b"k")) == (Code.UNAVAILABLE, Reason.CLOSED)
        driver.close()


def test_closing_leaves_no_thread_and_no_descriptor(single: Cluster) -> None:
    def use() -> None:
        driver = open_driver(single.url)
        Watching(driver, api.Watch(b"k")).wait_created()
        lease = ask(driver, api.LeaseGrant(60), api.LeaseResult).lease
        ask(driver, api.LeaseKeepAlive(lease), api.LeaseResult)
        driver.close()

    def held() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    use()  # what gRPC keeps for the process's life, it has now
    before = held()
    for _ in range(5):
        use()
    wait_until(
        lambda: all(now <= then for now, then in zip(held(), before, strict=True)),
        20.0,
        "threads and descriptors to be given back",
    )


# ------------------------------------------------------------------------------------------ members that fail


def test_requests_renewals_and_watches_survive_each_member_in_turn(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, members=3, election_timeout_ms=500) as cluster:
        driver = open_driver(cluster.url)
        watch = Watching(driver, api.Watch(b"k"))
        watch.wait_created()
        lease = ask(driver, api.LeaseGrant(60), api.LeaseResult).lease
        for fault, mend in (("kill", "start"), ("pause", "resume")):
            for member in cluster.members:
                getattr(member, fault)()
                cluster.leader([other for other in cluster.members if other is not member])
                revision = _put_until_applied(driver)
                assert ask(driver, api.LeaseKeepAlive(lease), api.LeaseResult).ttl_s == 60
                watch.wait_revision(revision)
                getattr(member, mend)()
                cluster.wait_ready()
        revisions = [event.kv.mod_revision for event in watch.events]
        assert revisions == sorted(set(revisions))
        wanted = ask(driver, Range(b"k"), api.RangeResult).kvs[0].version
        assert len(watch.events) == wanted, "a put was missed or told twice"
        driver.close()


def _put_until_applied(driver: EtcdDriver) -> int:
    """An unknown outcome is looked up: a put of the same key twice would be two events."""

    def applied() -> int | None:
        before = ask(driver, Range(b"k"), api.RangeResult, timeout_s=20.0)
        version = before.kvs[0].version if before.kvs else 0
        guard = Compare(b"k", Target.VERSION, Relation.EQUAL, version)
        put = outcome(driver, Txn((guard,), (Put(b"k"),)), timeout_s=2.0)
        return put.revision if isinstance(put, api.TxnResult) and put.succeeded else None

    return wait_until(applied, 30.0, "a put to be applied")


def test_no_leader_is_told_from_cut_off(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, members=3, election_timeout_ms=500) as cluster:
        driver = open_driver(cluster.url)
        ask(driver, Put(b"k", b"v"), api.PutResult)
        survivor, *others = cluster.members
        for member in others:
            member.kill()
        wait_until(  # an early one of these puts may be in the survivor's log, and come true when the others are back
            lambda: refusal(driver, Put(b"perhaps"), timeout_s=0.5) == (Code.UNAVAILABLE, Reason.NO_LEADER),
            30.0,
            "the cluster to be known to have no leader",
        )
        assert driver.situation() is Situation.NO_LEADER
        stale = ask(driver, Range(b"k", serializable=True), api.RangeResult)
        assert stale.kvs[0].value == b"v"
        assert ask(driver, api.StatusRequest(), api.StatusResult).leader == 0
        assert refusal(driver, Range(b"k"), timeout_s=0.5) == (Code.UNAVAILABLE, Reason.NO_LEADER)
        assert refusal(driver, api.LeaseKeepAlive(5), timeout_s=0.5) == (Code.UNAVAILABLE, Reason.NO_LEADER)
        survivor.kill()
        wait_until(
            lambda: refusal(driver, Range(b"k"), timeout_s=0.3) == (Code.UNAVAILABLE, Reason.TIMEOUT),
            10.0,
            "the driver to be cut off",
        )
        assert driver.situation() is Situation.CUT_OFF
        for member in cluster.members:
            member.start()
        assert ask(driver, Range(b"k"), api.RangeResult, timeout_s=30.0).kvs[0].value == b"v"
        assert driver.situation() is Situation.CONNECTED
        driver.close()


def test_endpoints_of_two_clusters_are_not_mixed(single: Cluster, tmp_path: Path) -> None:
    with etcd_cluster(tmp_path) as other:
        driver = open_driver(f"etcd://{single.endpoints[0]},{other.endpoints[0]}")
        for number in range(20):
            ask(driver, Put(b"mixed%d" % number), api.PutResult)
        counts = set()
        for cluster in (single, other):
            alone = open_driver(cluster.url)
            counts.add(ask(alone, Range(b"mixed", b"mixee", count_only=True), api.RangeResult).count)
            alone.close()
        assert counts == {0, 20}
        driver.close()
