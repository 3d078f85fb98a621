"""Renewals over one stream: which answer belongs to which."""

from __future__ import annotations

from atoll.store.keep_alive import KeepAlives


def opened() -> KeepAlives:
    keep_alives = KeepAlives()
    assert keep_alives.opened() == []
    return keep_alives


def test_a_renewal_waits_for_a_stream_and_goes_out_when_it_opens() -> None:
    keep_alives = KeepAlives()
    assert not keep_alives.renew(1, lease=7, now_s=0.0, timeout_s=3.0)
    assert not keep_alives.renew(2, lease=8, now_s=0.0, timeout_s=3.0)
    assert keep_alives.opened() == [7, 8]
    assert keep_alives.heard(8) == 2
    assert keep_alives.heard(7) == 1
    assert len(keep_alives) == 0


def test_answers_of_one_lease_belong_to_its_renewals_in_order() -> None:
    keep_alives = opened()
    assert keep_alives.renew(1, lease=7, now_s=0.0, timeout_s=3.0)
    assert keep_alives.renew(2, lease=7, now_s=0.0, timeout_s=3.0)
    assert [keep_alives.heard(7), keep_alives.heard(7), keep_alives.heard(7)] == [1, 2, None]


def test_a_late_answer_is_not_given_to_a_renewal_that_began_after_it_was_asked_for() -> None:
    keep_alives = opened()
    keep_alives.renew(1, lease=7, now_s=0.0, timeout_s=1.0)
    assert keep_alives.expire(1.5) == [1]
    keep_alives.renew(2, lease=7, now_s=2.0, timeout_s=1.0)
    assert keep_alives.heard(7) is None  # the answer to 1
    assert keep_alives.heard(7) == 2


def test_what_a_broken_stream_owed_is_asked_again_on_the_next() -> None:
    keep_alives = opened()
    keep_alives.renew(1, lease=7, now_s=0.0, timeout_s=9.0)
    keep_alives.renew(2, lease=8, now_s=0.0, timeout_s=9.0)
    assert keep_alives.heard(7) == 1
    keep_alives.lost()
    assert keep_alives.heard(8) is None  # nothing is owed by a stream that is gone
    assert keep_alives.opened() == [8]
    assert keep_alives.heard(8) == 2


def test_a_renewal_that_timed_out_is_not_asked_again() -> None:
    keep_alives = opened()
    keep_alives.renew(1, lease=7, now_s=0.0, timeout_s=1.0)
    assert keep_alives.next_due_s() == 1.0
    assert keep_alives.expire(0.9) == []
    assert keep_alives.expire(1.0) == [1]
    keep_alives.lost()
    assert keep_alives.opened() == []


def test_an_answer_for_a_lease_nobody_asked_for_is_dropped() -> None:
    assert opened().heard(5) is None


def test_closing_names_all_that_is_pending() -> None:
    keep_alives = opened()
    keep_alives.renew(1, lease=7, now_s=0.0, timeout_s=1.0)
    assert keep_alives.close() == [1]
    assert len(keep_alives) == 0
