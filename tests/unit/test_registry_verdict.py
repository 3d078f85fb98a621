"""The verdict on the registry's faults finds what it is for: removals, overstays, lost writes, missing pushes."""

from __future__ import annotations

from tests.e2e.registry import verdict
from tests.e2e.registry.plan import Event, Held, Listed, Plan, Published


def listed(at_s: float, *, added: str = "", removed: str = "", sick: str = "", cured: str = "") -> Listed:
    return Listed(at_s, 0, "s", added.split(), removed.split(), sick.split(), cured.split())


def test_a_live_instance_that_is_taken_out_and_put_back_is_a_removal() -> None:
    events: list[Event] = [listed(1, added="a b"), listed(2, removed="a"), listed(3, added="a")]
    assert verdict.removals(events, {"a"}, since_s=1.5) == ["a of s at subscriber 0, 0.50 s"]
    assert not verdict.removals(events, {"b"}, since_s=1.5)
    assert not verdict.removals(events, {"a"}, since_s=2.5)


def test_an_overstay_is_what_went_too_late_and_what_never_went() -> None:
    events: list[Event] = [listed(1, added="a b c"), listed(2, removed="a"), listed(5, removed="b")]
    late = verdict.overstays(events, {"a": 2.5, "b": 4.0, "c": 4.0})
    assert late == ["(0, 's', 'b'): 1.00 s late", "(0, 's', 'c'): never removed"]


def test_settled_means_the_same_hosts_at_every_subscriber_and_all_healthy() -> None:
    events: list[Event] = [
        listed(1, added="a b"),
        listed(2, sick="b"),
        Listed(1, 1, "s", ["a", "b"], [], [], []),
    ]
    assert verdict.unsettled(events, 2, {"s": {"a", "b"}}) == ["0 of s: 0 missing, 0 too many, 1 unhealthy"]
    events.append(listed(4, cured="b"))
    assert not verdict.unsettled(events, 2, {"s": {"a", "b"}})
    assert verdict.unsettled(events, 3, {"s": {"a", "b"}}) == ["2 of s: 2 missing, 0 too many, 0 unhealthy"]
    assert verdict.settled_s(events, 2, since_s=1.5) == [2.5, 0.0]


def test_an_acknowledged_write_must_reach_every_listener_or_a_newer_one() -> None:
    events: list[Event] = [
        Published(1, "c", "number=1", True),
        Published(2, "c", "number=2", True),
        Published(3, "c", "number=3", False),
    ]
    published = verdict.acknowledged(events)
    assert published == {"c": 2}
    held: list[Event] = [Held(4, 0, "c", "number=3"), Held(4, 1, "c", "number=1")]
    assert verdict.behind(held, 2, published) == ["listener 1 holds 1 of c, 2 was published"]
    assert verdict.behind(held, 3, published)[1] == "listener 2 holds None of c, 2 was published"


def test_a_write_is_lost_where_a_node_has_an_older_one_or_none() -> None:
    stored = {"node1": {"c": "number=2"}, "node2": {"c": "number=1"}, "node3": {"c": ""}}
    assert verdict.lost(stored, {"c": 2}) == [
        "node2 has 'number=1' of c, 2 was published",
        "node3 has '' of c, 2 was published",
    ]


def test_a_stay_is_counted_to_the_last_subscriber() -> None:
    events: list[Event] = [listed(1, added="a"), listed(3, removed="a"), Listed(4, 1, "s", [], ["a"], [], [])]
    assert verdict.stayed_s(events, {"a": 2.5}) == [1.5]


def test_two_plans_share_no_instance() -> None:
    one, other = (Plan("providers", [], "", clients=200, first=first) for first in (0, 1000))
    hosts = [set().union(*plan.hosts().values()) for plan in (one, other)]
    assert len(hosts[0]) == len(hosts[1]) == 1000
    assert not hosts[0] & hosts[1]
