"""Rate limits and connection limits."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.policy.control import (
    UNLIMITED,
    ConnectionRule,
    Control,
    Rule,
    parse_rules,
)


def control(**rules: Rule) -> Control:
    return Control(rules, ConnectionRule())


def test_a_point_without_a_rule_is_free() -> None:
    limits = control()
    assert all(limits.allows("ConfigQuery", 0.0) for _ in range(1_000))


def test_a_rule_lets_so_many_through_in_each_of_its_periods() -> None:
    limits = control(ConfigQuery=Rule(3, 60.0))
    assert [limits.allows("ConfigQuery", 100.0 + at) for at in range(5)] == [True] * 3 + [False] * 2
    assert limits.allows("ConfigQuery", 120.0), "a new period"
    assert limits.allows("ConfigPublish", 100.0), "another point"
    assert limits.over == {("ConfigQuery", "intercept"): 2}


def test_a_clock_that_jumps_back_begins_a_new_period() -> None:
    limits = control(ConfigQuery=Rule(1))
    assert limits.allows("ConfigQuery", 1_000.0)
    assert not limits.allows("ConfigQuery", 1_000.5)
    assert limits.allows("ConfigQuery", 10.0)


def test_a_rule_that_monitors_counts_and_lets_pass() -> None:
    limits = control(ConfigQuery=Rule(1, intercept=False))
    assert all(limits.allows("ConfigQuery", 0.0) for _ in range(4))
    assert limits.over == {("ConfigQuery", "monitor"): 3}


def test_a_refusal_names_its_point_and_when_to_come_back() -> None:
    limits = control(ConfigQuery=Rule(0))
    with pytest.raises(AtollError) as caught:
        limits.require("ConfigQuery", 0.0)
    assert (caught.value.code, caught.value.reason) == (Code.EXHAUSTED, Reason.RATE_LIMITED)
    assert caught.value.facts == {"point": "ConfigQuery"}
    assert caught.value.retry_after_s == 1.0


def test_rules_change_while_it_runs() -> None:
    limits = control(ConfigQuery=Rule(1))
    limits.allows("ConfigQuery", 0.0)
    limits.set_rule("ConfigQuery", Rule(2))
    assert limits.rules == {"ConfigQuery": Rule(2)}
    assert [limits.allows("ConfigQuery", 0.0) for _ in range(3)] == [True, True, False]
    limits.set_rule("ConfigQuery", None)
    assert limits.allows("ConfigQuery", 0.0)
    assert not limits.rules


def test_connections_are_limited_in_all_and_by_address() -> None:
    limits = Control({}, ConnectionRule(count_max=3, per_address_max=2))
    limits.connected("10.0.0.1")
    limits.connected("10.0.0.1")
    with pytest.raises(AtollError):
        limits.connected("10.0.0.1")
    limits.connected("10.0.0.2")
    with pytest.raises(AtollError):
        limits.connected("10.0.0.3")
    limits.disconnected("10.0.0.1")
    limits.connected("10.0.0.3")
    assert limits.over == {("connection", "intercept"): 2}


def test_a_refused_connection_is_not_counted() -> None:
    limits = Control({}, ConnectionRule(UNLIMITED, per_address_max=0))
    for _ in range(2):
        with pytest.raises(AtollError):
            limits.connected("10.0.0.1")
    limits.connections = ConnectionRule()
    limits.connected("10.0.0.1")
    limits.disconnected("10.0.0.1")


def test_rules_are_read_from_a_setting() -> None:
    assert parse_rules("") == {}
    assert parse_rules("ConfigQuery=100, ConfigPublish=600/m:monitor,X=1/h:intercept,") == {
        "ConfigQuery": Rule(100),
        "ConfigPublish": Rule(600, 60.0, intercept=False),
        "X": Rule(1, 3_600.0),
    }


@pytest.mark.parametrize(
    "text", ["ConfigQuery", "ConfigQuery=", "=1", "A=-1", "A=1/d", "A=1:stop", "A=1 B=2"]
)
def test_what_is_no_rule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AtollError, match="ConfigQuery=100/s:intercept"):
        parse_rules(text)
