"""The life of a request to a cluster of two members, told by events."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.rng import seeded_rng
from atoll.store import attempts
from atoll.store.attempts import Attempts, Drop, Effect, Finish, Send, Work
from atoll.store.etcd_errors import CONNECT_FAILED, Failure
from atoll.store.etcd_token import Token
from atoll.store.failover import Failover

A, B = "a:1", "b:1"
REFUSED = Failure("UNAVAILABLE", f"{CONNECT_FAILED}; last error: refused")
BROKEN = Failure("UNAVAILABLE", "Socket closed")
NO_LEADER = Failure("UNAVAILABLE", "etcdserver: no leader")
TIMED_OUT = Failure("UNAVAILABLE", "etcdserver: request timed out")
DEADLINE = Failure("DEADLINE_EXCEEDED", "Deadline Exceeded")
BAD_TOKEN = Failure("UNAUTHENTICATED", "etcdserver: invalid auth token")
NOT_FOUND = Failure("NOT_FOUND", "etcdserver: requested lease not found")


class Cluster:
    """The machine with its failover and token; ``current`` is the member that a new request goes to."""

    def __init__(self, *good: str, with_token: bool = False) -> None:
        self.failover = Failover([A, B], seeded_rng(1))
        self.token = Token(needed=with_token)
        self.attempts = Attempts(self.failover, self.token)
        for endpoint in good:
            self.answers_probe(endpoint)

    def answers_probe(self, endpoint: str, at_s: float = 0.0, leader: int = 1) -> None:
        self.failover.probed(endpoint, at_s, leader=leader, cluster_id=1)

    def submit(self, number: int, effect: Effect, at_s: float = 0.0, timeout_s: float = 5.0) -> list[Work]:
        return self.attempts.submit(number, effect, at_s, timeout_s)


def sent(work: list[Work]) -> Send:
    (item,) = work
    assert isinstance(item, Send), item
    return item


def error_of(work: list[Work]) -> AtollError:
    (item,) = work
    assert isinstance(item, Finish), item
    return item.error


def test_a_request_waits_for_a_member_and_goes_out_with_the_time_that_is_left() -> None:
    cluster = Cluster()
    assert cluster.submit(1, Effect.WRITE, 0.0, timeout_s=5.0) == []
    cluster.answers_probe(B, 2.0)
    send = sent(cluster.attempts.turn(2.0))
    assert (send.number, send.endpoint, send.timeout_s) == (1, B, 3.0)
    assert cluster.attempts.answered(1, send.serial, 2.1)
    assert len(cluster.attempts) == 0


def test_a_request_that_was_never_sent_is_unavailable_and_tells_what_is_known() -> None:
    cluster = Cluster()
    cluster.failover.silent(A, 0.0, "connection refused")
    cluster.submit(1, Effect.WRITE, 0.0, timeout_s=1.0)
    assert cluster.attempts.next_due_s() == 1.0
    assert cluster.attempts.turn(0.9) == []
    error = error_of(cluster.attempts.turn(1.0))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, Reason.TIMEOUT)
    assert "a:1 connection refused" in str(error)


def test_without_a_leader_the_reason_says_so() -> None:
    cluster = Cluster()
    cluster.answers_probe(A, leader=0)
    cluster.submit(1, Effect.WRITE, 0.0, timeout_s=1.0)
    error = error_of(cluster.attempts.turn(1.0))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, Reason.NO_LEADER)


@pytest.mark.parametrize(
    "failure", [BROKEN, TIMED_OUT, DEADLINE, Failure("INTERNAL", "what"), Failure("CANCELLED", "")]
)
def test_a_write_that_may_have_left_is_unknown_at_once_and_never_sent_again(failure: Failure) -> None:
    cluster = Cluster(A, B)
    send = sent(cluster.submit(1, Effect.WRITE))
    error = error_of(cluster.attempts.failed(1, send.serial, failure, 0.1))
    assert error.code is Code.UNKNOWN
    assert len(cluster.attempts) == 0
    assert cluster.attempts.turn(99.0) == []


@pytest.mark.parametrize("failure", [REFUSED, NO_LEADER, Failure("UNKNOWN", "raft proposal dropped")])
def test_a_write_that_was_certainly_not_applied_goes_to_the_other_member(failure: Failure) -> None:
    cluster = Cluster(A, B)
    first = sent(cluster.submit(1, Effect.WRITE))
    second = sent(cluster.attempts.failed(1, first.serial, failure, 0.1))
    assert {first.endpoint, second.endpoint} == {A, B}


@pytest.mark.parametrize("failure", [BROKEN, TIMED_OUT, Failure("INTERNAL", "what")])
@pytest.mark.parametrize("effect", [Effect.NONE, Effect.STALE_NONE])
def test_a_read_is_sent_again(failure: Failure, effect: Effect) -> None:
    cluster = Cluster(A, B)
    first = sent(cluster.submit(1, effect))
    assert sent(cluster.attempts.failed(1, first.serial, failure, 0.1)).number == 1


def test_a_read_whose_time_is_over_is_unavailable() -> None:
    cluster = Cluster(A, B)
    first = sent(cluster.submit(1, Effect.NONE, timeout_s=1.0))
    error = error_of(cluster.attempts.failed(1, first.serial, DEADLINE, 1.0))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, Reason.TIMEOUT)


def test_repetitions_come_at_growing_distances() -> None:
    cluster = Cluster(A)
    send = sent(cluster.submit(1, Effect.NONE, timeout_s=60.0))
    send = sent(cluster.attempts.failed(1, send.serial, TIMED_OUT, 0.0))
    now_s, distances = 0.0, []
    for _ in range(6):
        assert cluster.attempts.failed(1, send.serial, TIMED_OUT, now_s) == []
        at_s = cluster.attempts.next_due_s()
        assert at_s is not None
        distances.append(at_s - now_s)
        now_s = at_s
        cluster.answers_probe(A, now_s)
        send = sent(cluster.attempts.turn(now_s))
    assert distances == sorted(distances)
    assert distances[-1] == pytest.approx(attempts.RETRY_S_MAX)


def test_a_refusal_is_final_for_reads_and_writes() -> None:
    for effect in Effect:
        cluster = Cluster(A)
        send = sent(cluster.submit(1, effect))
        error = error_of(cluster.attempts.failed(1, send.serial, NOT_FOUND, 0.1))
        assert (error.code, error.reason) == (Code.NOT_FOUND, Reason.LEASE_NOT_FOUND)


def test_reads_leave_a_member_that_fell_silent_and_writes_wait_for_its_answer() -> None:
    cluster = Cluster(A, B)
    write = sent(cluster.submit(1, Effect.WRITE))
    read = sent(cluster.submit(2, Effect.NONE))
    cluster.failover.silent(read.endpoint, 1.0, "does not answer")
    drop, again = cluster.attempts.abandon(read.endpoint, 1.0)
    assert drop == Drop(2)
    assert isinstance(again, Send)
    assert again.endpoint != read.endpoint
    assert not cluster.attempts.answered(2, read.serial, 1.1)  # too late, of the dropped try
    assert cluster.attempts.failed(2, read.serial, BROKEN, 1.1) == []
    assert cluster.attempts.answered(2, again.serial, 1.2)
    assert cluster.attempts.answered(1, write.serial, 1.3)


def test_a_stale_read_is_answered_by_a_member_without_a_leader_and_others_wait() -> None:
    cluster = Cluster()
    cluster.answers_probe(A, leader=0)
    assert cluster.submit(1, Effect.NONE) == []
    send = sent(cluster.submit(2, Effect.STALE_NONE))
    assert (send.endpoint, send.needs_leader) == (A, False)


def test_nothing_is_sent_without_a_token_where_one_is_needed() -> None:
    cluster = Cluster(A, with_token=True)
    assert cluster.submit(1, Effect.WRITE) == []
    cluster.token.granted("t1")
    assert sent(cluster.attempts.turn(0.1)).token == "t1"  # noqa: S105 - a name


def test_a_refused_token_is_replaced_once_and_then_the_refusal_counts() -> None:
    cluster = Cluster(A, with_token=True)
    cluster.token.granted("t1")
    send = sent(cluster.submit(1, Effect.WRITE))
    assert cluster.attempts.failed(1, send.serial, BAD_TOKEN, 0.1) == []
    assert cluster.token.fetch(0.1)
    cluster.token.granted("t2")
    send = sent(cluster.attempts.turn(0.2))
    assert send.token == "t2"  # noqa: S105 - a name
    error = error_of(cluster.attempts.failed(1, send.serial, BAD_TOKEN, 0.3))
    assert (error.code, error.reason) == (Code.DENIED, Reason.INVALID_TOKEN)


def test_closing_tells_what_was_sent_from_what_was_not() -> None:
    cluster = Cluster()
    cluster.submit(1, Effect.WRITE)
    cluster.answers_probe(A)
    cluster.attempts.turn(0.0)
    cluster.failover.silent(A, 0.1, "gone")
    cluster.submit(2, Effect.WRITE)
    cluster.submit(3, Effect.NONE)
    ends = {item.number: item.error for item in cluster.attempts.close() if isinstance(item, Finish)}
    assert {number: error.code for number, error in ends.items()} == {
        1: Code.UNKNOWN,
        2: Code.UNAVAILABLE,
        3: Code.UNAVAILABLE,
    }
    assert {error.reason for error in ends.values()} == {Reason.CLOSED}


def test_wrong_credentials_finish_what_waits() -> None:
    cluster = Cluster(A, with_token=True)
    cluster.submit(1, Effect.WRITE)
    failure = Failure("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password")
    assert cluster.token.fetch(0.0)
    refused = cluster.token.failed(failure, 0.1)
    assert refused is not None
    assert refused.reason is Reason.INVALID_CREDENTIALS
    assert error_of(cluster.attempts.refuse_all(refused)) is refused


def test_more_requests_than_the_limit_are_refused() -> None:
    cluster = Cluster()
    for number in range(attempts.REQUESTS_MAX):
        assert cluster.submit(number, Effect.WRITE) == []
    error = error_of(cluster.submit(attempts.REQUESTS_MAX, Effect.WRITE))
    assert error.code is Code.EXHAUSTED
