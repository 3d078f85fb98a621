"""The supervisor's decisions as lists of facts, and its laws under random ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.host.lead import machine as m

RULES = m.Rules(ttl_s=10.0, grace_s=3.0, stop_within_s=5.0)


def run(facts: list[tuple[float, m.Fact]], rules: m.Rules = RULES) -> tuple[m.Machine, list[m.Action]]:
    machine = m.Machine(rules)
    actions: list[m.Action] = []
    for now_s, fact in facts:
        actions += machine.step(fact, now_s)
    return machine, actions


SERVING: list[tuple[float, m.Fact]] = [
    (0.0, m.Tick()),
    (1.0, m.Won(10.0)),
    (1.1, m.GuardConfirmed(10.0)),
]
START = [m.Campaign(), m.Arm(10.0), m.Release(10.0)]


def test_the_program_starts_only_when_the_watchdog_has_confirmed() -> None:
    machine, actions = run(SERVING[:2])
    assert actions == START[:2]
    assert machine.step(m.GuardConfirmed(10.0), 1.1) == [m.Release(10.0)]
    assert machine.wake_at_s() == 7.0


def test_an_unconfirmed_extension_does_not_count() -> None:
    machine, actions = run([*SERVING, (3.0, m.Extended(13.0)), (7.0, m.Tick())])
    assert actions == [*START, m.Arm(13.0), m.SendSignal(15)]
    assert (machine.phase, machine.cause) == (m.Phase.STOPPING, "the deadline came near")
    assert machine.step(m.Tick(), 10.0) == [m.Kill()]


def test_a_confirmed_extension_moves_both_signals() -> None:
    machine, _ = run([*SERVING, (3.0, m.Extended(13.0)), (3.1, m.GuardConfirmed(13.0))])
    assert machine.step(m.Tick(), 9.9) == []
    assert machine.step(m.Tick(), 10.0) == [m.SendSignal(15)]


def test_the_kill_is_at_the_deadline_or_when_stopping_took_too_long() -> None:
    slow_stop = m.Rules(ttl_s=10.0, grace_s=3.0, stop_within_s=0.5)
    machine, _ = run([*SERVING, (2.0, m.Asked())], slow_stop)
    assert machine.wake_at_s() == 2.5
    machine, _ = run([*SERVING, (7.0, m.Tick())])
    assert machine.wake_at_s() == 10.0


def test_the_death_of_the_program_resigns_at_once_and_leads_again_after_a_pause() -> None:
    machine, actions = run([*SERVING, (2.0, m.ProgramEnded(-11))])
    assert actions[3:] == [m.Kill(), m.Resign("the program ended with 139")]
    assert machine.step(m.Resigned(), 2.1) == []
    assert machine.step(m.Tick(), 2.9) == []
    assert machine.step(m.Tick(), 3.0) == [m.Campaign()]


def test_pauses_double_and_a_steady_run_starts_them_anew() -> None:
    machine = m.Machine(RULES)
    now_s, pauses = 0.0, []
    for ran_s in (1.0, 1.0, 1.0, 100.0, 1.0):
        assert machine.step(m.Tick(), now_s) == [m.Campaign()]
        deadline_s = now_s + 1000.0
        for fact in (m.Won(deadline_s), m.GuardConfirmed(deadline_s)):
            machine.step(fact, now_s)
        now_s += ran_s
        machine.step(m.ProgramEnded(1), now_s)
        machine.step(m.Resigned(), now_s)
        pauses.append(machine.wake_at_s() - now_s)
        now_s = machine.wake_at_s()
    assert pauses == [1.0, 2.0, 4.0, 1.0, 2.0]


def test_exit_zero_ends_atoll_lead_unless_always() -> None:
    end: list[tuple[float, m.Fact]] = [*SERVING, (2.0, m.ProgramEnded(0)), (2.1, m.Resigned())]
    assert run(end)[1][-1] == m.Exit(0)
    always = m.Rules(ttl_s=10.0, grace_s=3.0, stop_within_s=5.0, again=m.Again.ALWAYS)
    machine, actions = run([*end, (3.1, m.Tick())], always)
    assert actions[-1] == m.Campaign()


def test_never_exits_with_the_programs_code() -> None:
    never = m.Rules(ttl_s=10.0, grace_s=3.0, stop_within_s=5.0, again=m.Again.NEVER)
    _, actions = run([*SERVING, (2.0, m.ProgramEnded(3)), (2.1, m.Resigned())], never)
    assert actions[-1] == m.Exit(3)


def test_a_hand_over_stops_the_program_before_it_resigns_and_campaigns_again_at_once() -> None:
    machine, actions = run([*SERVING, (2.0, m.Asked())])
    assert actions[3:] == [m.SendSignal(15)]
    assert machine.step(m.ProgramEnded(0), 2.5) == [m.Kill(), m.Resign("handed over")]
    assert machine.step(m.Resigned(), 2.6) == [m.Campaign()]


def test_the_end_of_the_watchdog_kills_at_once() -> None:
    machine, actions = run([*SERVING, (2.0, m.GuardGone())])
    assert actions[3:] == [m.Kill()]
    assert machine.step(m.ProgramEnded(-9), 2.0) == [m.Kill(), m.Resign("the watchdog ended")]


def test_a_watchdog_that_never_answers_ends_the_term_unserved() -> None:
    machine, actions = run([*SERVING[:2], (7.0, m.Tick()), (7.1, m.ProgramEnded(-9))])
    assert actions[2:] == [m.Kill(), m.Kill(), m.Resign("the watchdog did not answer")]
    assert m.Release(10.0) not in actions


def test_a_lost_term_stops_at_once_and_kills_at_the_confirmed_deadline() -> None:
    machine, actions = run([*SERVING, (2.0, m.Lost("its key is gone"))])
    assert actions[3:] == [m.SendSignal(15)]
    assert machine.step(m.Tick(), 7.0) == [m.Kill()]


def test_signals_pass_through_and_the_ending_ones_end() -> None:
    machine, actions = run(
        [*SERVING, (2.0, m.SignalCame(1)), (3.0, m.SignalCame(2)), (3.1, m.SignalCame(15))]
    )
    assert actions[3:] == [m.SendSignal(1), m.SendSignal(2), m.SendSignal(15)]
    machine.step(m.ProgramEnded(7), 3.2)
    assert machine.step(m.Resigned(), 3.3) == [m.Exit(7)]


def test_a_standby_told_to_stop_withdraws_and_says_by_which_signal() -> None:
    machine, actions = run([SERVING[0], (1.0, m.SignalCame(15))])
    assert actions == [m.Campaign(), m.Kill()]
    assert machine.step(m.ProgramEnded(-9), 1.1) == [m.Kill(), m.Resign("told to stop")]
    assert machine.step(m.Resigned(), 1.2) == [m.Exit(143)]


def test_a_resign_that_does_not_come_through_is_left_to_the_lease() -> None:
    machine, _ = run([*SERVING, (2.0, m.ProgramEnded(0))])
    assert machine.step(m.Tick(), 11.9) == []
    assert machine.step(m.Tick(), 12.0) == [m.Exit(0)]


def test_a_confirmation_that_comes_too_late_starts_nothing() -> None:
    machine, actions = run([*SERVING[:2], (8.0, m.GuardConfirmed(10.0))])
    assert actions[2:] == [m.Kill()]


FACTS = st.one_of(
    st.just(m.Tick()),
    st.builds(m.Won, st.floats(1, 100)),
    st.builds(m.Extended, st.floats(1, 100)),
    st.just(m.Asked()),
    st.just(m.Lost("lost")),
    st.just(m.Resigned()),
    st.builds(m.GuardConfirmed, st.floats(1, 100)),
    st.just(m.GuardGone()),
    st.builds(m.ProgramEnded, st.integers(-20, 255)),
    st.builds(m.SignalCame, st.sampled_from([1, 2, 10, 15])),
)


@given(st.lists(st.tuples(st.floats(0, 8), FACTS), max_size=40), st.sampled_from(m.Again))
def test_laws(history: list[tuple[float, m.Fact]], again: m.Again) -> None:
    """Runs only below a confirmed deadline, resigns only after the end of the program, exits once."""
    machine = m.Machine(m.Rules(ttl_s=10.0, grace_s=3.0, stop_within_s=5.0, again=again))
    now_s, runs, told, exits = 0.0, False, set[float](), 0
    for passed_s, fact in history:
        now_s += passed_s
        if isinstance(fact, m.GuardConfirmed) and fact.deadline_s not in told:
            continue  # a watchdog confirms only what it was told
        if isinstance(fact, m.ProgramEnded):
            runs = False
        for action in machine.step(fact, now_s):
            match action:
                case m.Campaign():
                    told.clear()
                    assert not runs
                case m.Arm(deadline_s):
                    told.add(deadline_s)
                case m.Release(deadline_s):
                    assert deadline_s in told and now_s < deadline_s - 3.0 and not runs
                    runs = True
                case m.Kill():
                    runs = False
                case m.Resign():
                    assert not runs
                case m.Exit():
                    exits += 1
                    assert not runs
        assert not runs or now_s < machine.confirmed_s
        assert not runs or machine.wake_at_s() <= machine.confirmed_s
    assert exits <= 1
