"""Which member is asked: stories told by answers and silences, with the time of each."""

from __future__ import annotations

from atoll.runtime.rng import seeded_rng
from atoll.store.failover import Failover, Limits, Situation

LIMITS = Limits(
    patience_s=0.5, probe_timeout_s=1.0, probe_every_s=2.0, fresh_s=5.0, backoff_s_min=0.1, backoff_s_max=1.0
)
A, B, C = "a:1", "b:1", "c:1"
CLUSTER = 7


def three() -> Failover:
    return Failover([A, B, C], seeded_rng(1), LIMITS)


def good(failover: Failover, *endpoints: str, at_s: float = 0.0) -> Failover:
    failover.probes(at_s, busy=True)
    for endpoint in endpoints:
        failover.probed(endpoint, at_s, leader=1, cluster_id=CLUSTER)
    return failover


def test_nothing_is_probed_while_nobody_asks() -> None:
    failover = three()
    assert failover.probes(0.0, busy=False) == []
    assert failover.next_probe_s(busy=False) is None


def test_at_first_all_members_are_probed_and_none_is_used_before_it_answered() -> None:
    failover = three()
    assert failover.choose(0.0) is None
    assert sorted(failover.probes(0.0, busy=True)) == [A, B, C]
    assert failover.probes(0.0, busy=True) == []  # those are under way
    failover.probed(B, 0.1, leader=1, cluster_id=CLUSTER)
    assert failover.choose(0.1) == B


def test_a_driver_stays_with_its_member_while_it_is_good() -> None:
    failover = good(three(), B, A, C)
    first = failover.choose(0.0)
    assert {failover.choose(at_s / 10) for at_s in range(40)} == {first}


def test_drivers_that_hear_all_members_spread_over_them() -> None:
    chosen = {good(Failover([A, B, C], seeded_rng(seed), LIMITS), A, B, C).choose(0.0) for seed in range(20)}
    assert chosen == {A, B, C}


def test_a_silent_member_is_left_for_one_that_answers_and_not_taken_again_for_it() -> None:
    failover = good(three(), A, B)
    first = failover.choose(0.0)
    other = B if first == A else A
    assert first is not None
    failover.silent(first, 1.0, "connection refused")
    assert failover.choose(1.0) == other
    failover.probes(3.0, busy=True)
    failover.probed(first, 3.0, leader=1, cluster_id=CLUSTER)
    assert failover.choose(3.0) == other


def test_a_request_without_an_answer_brings_a_probe_and_an_answer_calls_it_off() -> None:
    failover = good(three(), A)
    failover.choose(0.0)
    failover.sent(A, 1.0)
    assert A not in failover.probes(1.4, busy=True)
    assert A in failover.probes(1.6, busy=True)
    failover = good(three(), A)
    failover.choose(0.0)
    failover.sent(A, 1.0)
    failover.sent(A, 1.3)  # later requests do not push the first one's doubt away
    failover.heard(A, 1.4)
    assert A not in failover.probes(1.6, busy=True)


def test_the_member_in_use_is_probed_when_it_says_nothing_while_a_stream_is_open() -> None:
    failover = good(three(), A)
    failover.choose(0.0)
    failover.heard(A, 1.0)
    assert A not in failover.probes(2.9, busy=True)
    assert A in failover.probes(3.1, busy=True)


def test_a_member_that_said_nothing_for_long_must_answer_a_probe_before_it_is_used() -> None:
    failover = good(three(), A)
    assert failover.choose(4.9) == A
    assert failover.choose(5.1) is None
    assert A in failover.probes(5.1, busy=True)
    failover.probed(A, 5.2, leader=1, cluster_id=CLUSTER)
    assert failover.choose(5.2) == A


def test_probes_of_a_silent_member_come_at_growing_distances_up_to_the_limit() -> None:
    failover = three()
    distances = []
    now_s = 0.0
    for _ in range(8):
        failover.probes(now_s, busy=True)
        for endpoint in (A, B, C):
            failover.silent(endpoint, now_s, "no route")
        at_s = failover.next_probe_s(busy=True)
        assert at_s is not None
        distances.append(at_s - now_s)
        now_s += LIMITS.backoff_s_max
    assert 0.05 <= distances[0] <= 0.1
    assert 0.5 <= distances[-1] <= 1.0


def test_a_member_that_lacks_only_a_leader_is_asked_often() -> None:
    failover = three()
    now_s = 0.0
    for _ in range(8):
        failover.probes(now_s, busy=True)
        for endpoint in (A, B, C):
            failover.probed(endpoint, now_s, leader=0, cluster_id=CLUSTER)
        at_s = failover.next_probe_s(busy=True)
        assert at_s is not None
        assert at_s - now_s <= 0.2
        now_s = at_s


def test_no_leader_is_told_from_cut_off() -> None:
    failover = three()
    assert failover.situation() is Situation.UNTRIED
    failover.probes(0.0, busy=True)
    for endpoint in (A, B, C):
        failover.silent(endpoint, 0.0, "no route")
    assert failover.situation() is Situation.CUT_OFF
    failover.probed(A, 1.0, leader=0, cluster_id=CLUSTER)
    assert failover.situation() is Situation.NO_LEADER
    assert failover.choose(1.0) is None
    assert failover.any_alive() == A
    failover.probed(B, 1.0, leader=2, cluster_id=CLUSTER)
    assert failover.situation() is Situation.CONNECTED
    assert failover.choose(1.0) == B
    assert failover.describe().count("no route") == 1


def test_a_member_that_answers_no_leader_is_left() -> None:
    failover = good(three(), A, B)
    first = failover.choose(0.0)
    assert first is not None
    failover.leaderless(first, 0.5)
    assert failover.choose(0.5) not in (None, first)


def test_a_member_of_another_cluster_is_never_used() -> None:
    failover = good(three(), A)
    failover.probed(B, 0.0, leader=1, cluster_id=CLUSTER + 1)
    failover.silent(A, 0.0, "gone")
    assert failover.choose(0.0) is None
    assert "cluster 8, not 7" in failover.describe()
