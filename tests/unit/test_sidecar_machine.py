"""The sidecar's machine: every fact in every phase, and the stories of proxies that come and go."""

from __future__ import annotations

import pytest

from atoll.host.sidecar import machine as m

P = m.Phase
TERM, USR1, HUP = 15, 10, 1

TO_PHASE: dict[P, list[m.Fact]] = {P.PREPARING: []}
TO_PHASE[P.WARMING] = [m.Prepared()]
TO_PHASE[P.STARTING] = [*TO_PHASE[P.WARMING], m.ProxyReady(1)]
TO_PHASE[P.SERVING] = [*TO_PHASE[P.STARTING], m.AppAnswers()]
TO_PHASE[P.LEAVING] = [*TO_PHASE[P.SERVING], m.SignalCame(TERM)]
TO_PHASE[P.DRAINING] = [*TO_PHASE[P.LEAVING], m.Deregistered()]
TO_PHASE[P.STOPPING] = [*TO_PHASE[P.DRAINING], m.Drained()]
TO_PHASE[P.CLOSING] = [*TO_PHASE[P.STOPPING], m.AppEnded(0)]
TO_PHASE[P.DONE] = [*TO_PHASE[P.CLOSING], m.ProxyEnded(1, 0)]

FACTS: list[m.Fact] = [
    m.Prepared(),
    m.ProxyReady(1),
    m.ProxyEnded(1, -11),
    m.AppAnswers(),
    m.AppEnded(7),
    m.Deregistered(),
    m.Drained(),
    m.SignalCame(TERM),
    m.SignalCame(USR1),
    m.SignalCame(HUP),
]
CLOSE: list[m.Action] = [m.SignalProxy(1)]

# (phase, fact) -> (phase afterwards, actions). What is not here changes nothing.
EXPECTED: dict[tuple[P, m.Fact], tuple[P, list[m.Action]]] = {
    (P.PREPARING, m.Prepared()): (P.WARMING, [m.StartProxy(1, 0)]),
    (P.PREPARING, m.SignalCame(TERM)): (P.DONE, [m.Exit(143)]),
    (P.WARMING, m.ProxyReady(1)): (P.STARTING, [m.StartApp()]),
    (P.WARMING, m.SignalCame(TERM)): (P.CLOSING, CLOSE),
    (P.STARTING, m.AppAnswers()): (P.SERVING, [m.Register()]),
    (P.STARTING, m.AppEnded(7)): (P.CLOSING, CLOSE),
    (P.STARTING, m.SignalCame(TERM)): (P.STOPPING, [m.SignalApp(TERM)]),
    (P.STARTING, m.SignalCame(USR1)): (P.STARTING, [m.SignalApp(USR1)]),
    (P.STARTING, m.SignalCame(HUP)): (P.STARTING, [m.StartProxy(2, 1)]),
    (P.SERVING, m.AppEnded(7)): (P.LEAVING, [m.Deregister()]),
    (P.SERVING, m.SignalCame(TERM)): (P.LEAVING, [m.Deregister()]),
    (P.SERVING, m.SignalCame(USR1)): (P.SERVING, [m.SignalApp(USR1)]),
    (P.SERVING, m.SignalCame(HUP)): (P.SERVING, [m.StartProxy(2, 1)]),
    (P.LEAVING, m.Deregistered()): (P.DRAINING, [m.Drain()]),
    (P.LEAVING, m.SignalCame(TERM)): (P.STOPPING, [m.SignalApp(TERM)]),
    (P.LEAVING, m.SignalCame(USR1)): (P.LEAVING, [m.SignalApp(USR1)]),
    (P.LEAVING, m.SignalCame(HUP)): (P.LEAVING, [m.StartProxy(2, 1)]),
    (P.DRAINING, m.Drained()): (P.STOPPING, [m.SignalApp(TERM)]),
    (P.DRAINING, m.ProxyEnded(1, -11)): (P.STOPPING, [m.SignalApp(TERM)]),
    (P.DRAINING, m.AppEnded(7)): (P.CLOSING, CLOSE),
    (P.DRAINING, m.SignalCame(TERM)): (P.STOPPING, [m.SignalApp(TERM)]),
    (P.DRAINING, m.SignalCame(USR1)): (P.DRAINING, [m.SignalApp(USR1)]),
    (P.DRAINING, m.SignalCame(HUP)): (P.DRAINING, [m.StartProxy(2, 1)]),
    (P.STOPPING, m.AppEnded(7)): (P.CLOSING, CLOSE),
    (P.STOPPING, m.SignalCame(TERM)): (P.STOPPING, [m.SignalApp(TERM)]),
    (P.STOPPING, m.SignalCame(USR1)): (P.STOPPING, [m.SignalApp(USR1)]),
    (P.STOPPING, m.SignalCame(HUP)): (P.STOPPING, [m.StartProxy(2, 1)]),
    (P.CLOSING, m.ProxyEnded(1, -11)): (P.DONE, [m.Exit(0)]),
}


def machine_in(facts: list[m.Fact], rules: m.Rules | None = None) -> m.Machine:
    machine = m.Machine(rules or m.Rules())
    for fact in facts:
        machine.step(fact, 0.0)
    return machine


@pytest.mark.parametrize("phase", P, ids=lambda phase: phase.value)
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: repr(fact).lower())
def test_every_fact_in_every_phase(phase: P, fact: m.Fact) -> None:
    machine = machine_in(TO_PHASE[phase])
    assert machine.phase is phase
    actions = machine.step(fact, 0.0)
    assert (machine.phase, actions) == EXPECTED.get((phase, fact), (phase, []))


@pytest.mark.parametrize(
    ("phase", "after", "actions"),
    [
        (P.LEAVING, P.DRAINING, [m.Drain()]),
        (P.DRAINING, P.STOPPING, [m.SignalApp(TERM)]),
        (P.STOPPING, P.STOPPING, [m.KillApp()]),
        (P.CLOSING, P.CLOSING, [m.SignalProxy(1, kill=True)]),
    ],
    ids=lambda value: value.value if isinstance(value, P) else "",
)
def test_what_takes_too_long_is_not_waited_for(phase: P, after: P, actions: list[m.Action]) -> None:
    machine = machine_in(TO_PHASE[phase])
    at_s = machine.wake_at_s()
    assert 0 < at_s < float("inf")
    assert machine.step(m.Tick(), at_s - 0.001) == []
    assert (machine.step(m.Tick(), at_s), machine.phase) == (actions, after)


def test_the_exit_code_is_the_applications() -> None:
    for status, code in ((0, 0), (3, 3), (-9, 137)):
        machine = machine_in([*TO_PHASE[P.STOPPING], m.AppEnded(status)])
        assert machine.step(m.ProxyEnded(1, 0), 0.0) == [m.Exit(code)]


def test_a_gateway_serves_without_an_application_and_ends_with_0() -> None:
    machine = machine_in([m.Prepared(), m.ProxyReady(1)], m.Rules(has_app=False, serves=False))
    assert machine.phase is P.SERVING
    assert machine.step(m.SignalCame(TERM), 1.0) == [m.Drain()]
    assert machine.step(m.Drained(), 2.0) == CLOSE
    assert machine.step(m.ProxyEnded(1, 0), 3.0) == [m.Exit(0)]


def test_what_is_not_to_be_registered_is_drained_at_once() -> None:
    machine = machine_in(TO_PHASE[P.SERVING], m.Rules(serves=False))
    assert machine.step(m.SignalCame(TERM), 1.0) == [m.Drain()]


def test_an_upgrade_that_fails_leaves_the_old_proxy_and_can_be_tried_again() -> None:
    machine = machine_in(TO_PHASE[P.SERVING])
    assert machine.step(m.SignalCame(HUP), 0.0) == [m.StartProxy(2, 1)]
    assert machine.step(m.ProxyEnded(2, 78), 0.0) == [] and machine.live
    assert machine.wake_at_s() == float("inf"), "the failed one is not started again by itself"
    assert machine.step(m.SignalCame(HUP), 0.0) == [m.StartProxy(3, 1)]
    machine.step(m.ProxyReady(3), 0.0)
    machine.step(m.ProxyEnded(1, 0), 0.0)
    assert machine.step(m.SignalCame(HUP), 0.0) == [m.StartProxy(4, 2)]


def test_an_upgrade_that_is_asked_for_during_another_comes_after_it_once() -> None:
    machine = machine_in([*TO_PHASE[P.SERVING], m.SignalCame(HUP)])
    for _ in range(3):
        assert machine.step(m.SignalCame(HUP), 0.0) == []
    assert machine.step(m.ProxyReady(2), 0.0) == []
    assert machine.step(m.ProxyEnded(1, 0), 0.0) == [m.StartProxy(3, 2)]
    machine.step(m.ProxyReady(3), 0.0)
    assert machine.step(m.ProxyEnded(2, 0), 0.0) == []


def test_a_new_epoch_that_never_becomes_ready_is_given_up() -> None:
    machine = machine_in([*TO_PHASE[P.SERVING], m.SignalCame(HUP)])
    at_s = machine.wake_at_s()
    assert at_s == m.Rules.upgrade_within_s
    assert machine.step(m.Tick(), at_s) == [m.SignalProxy(2, kill=True)]
    assert machine.step(m.ProxyEnded(2, -9), at_s) == [] and machine.live


def test_an_old_epoch_that_does_not_end_by_itself_is_killed() -> None:
    machine = machine_in([*TO_PHASE[P.SERVING], m.SignalCame(HUP), m.ProxyReady(2)])
    assert machine.step(m.Tick(), machine.wake_at_s()) == [m.SignalProxy(1, kill=True)]


def test_an_instance_without_a_proxy_leaves_the_registry_after_a_while_and_comes_back() -> None:
    machine = machine_in(TO_PHASE[P.SERVING])
    assert machine.step(m.ProxyEnded(1, -11), 10.0) == []
    assert machine.step(m.Tick(), 10.1) == [m.StartProxy(2, 0)]
    assert machine.step(m.Tick(), 10.0 + m.AWAY_S_MAX) == [m.Deregister(told=False)]
    assert machine.step(m.ProxyReady(2), 13.0) == [m.Register()]


def test_an_instance_whose_proxy_crashes_while_the_next_one_starts_leaves_the_registry_too() -> None:
    machine = machine_in([*TO_PHASE[P.SERVING], m.SignalCame(HUP)])
    assert machine.step(m.ProxyEnded(1, -11), 10.0) == []
    assert machine.step(m.Tick(), 10.0 + m.AWAY_S_MAX) == [m.Deregister(told=False)]


def test_an_instance_whose_proxy_is_back_at_once_stays_registered() -> None:
    machine = machine_in(TO_PHASE[P.SERVING])
    machine.step(m.ProxyEnded(1, -11), 10.0)
    machine.step(m.Tick(), 10.1)
    assert machine.step(m.ProxyReady(2), 10.3) == []
    assert machine.step(m.Tick(), 100.0) == [] and machine.registered


def test_an_application_that_comes_up_without_a_proxy_is_registered_when_there_is_one() -> None:
    machine = machine_in([*TO_PHASE[P.STARTING], m.ProxyEnded(1, -11)])
    assert machine.step(m.AppAnswers(), 0.0) == []
    assert machine.step(m.Tick(), 1.0) == [m.StartProxy(2, 0)]
    assert machine.step(m.ProxyReady(2), 1.2) == [m.Register()]
