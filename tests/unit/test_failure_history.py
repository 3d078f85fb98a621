"""The check of the failure table, shown to be able to fail."""

from __future__ import annotations

import json

import pytest

from tests.e2e.failures.history import History


def stands(revision: int, lease: str) -> str:
    return line(revision, f"n/{lease}", create_revision=revision)


def leaves(revision: int, lease: str) -> str:
    return line(revision, f"n/{lease}", deleted=True)


def writes(revision: int, token: int) -> str:
    value = json.dumps({"token": f"0.{token}", "candidate": "a"})
    return line(revision, "n-writes", create_revision=2, value=value)


def line(revision: int, key: str, *, create_revision: int = 0, deleted: bool = False, value: str = "") -> str:
    event = {"revision": revision, "key": key, "create_revision": create_revision}
    return json.dumps(event | {"deleted": deleted, "value": value, "heard_s": 0.0}) + "\n"


def stale(*lines: str) -> list[int]:
    return [write.revision for write in History("n", lines).stale]


def test_writes_of_the_head_of_the_queue_are_in_order() -> None:
    assert stale(stands(5, "a"), stands(6, "b"), writes(7, 5), leaves(8, "a"), writes(9, 6)) == []


def test_a_write_by_the_token_of_one_who_left_is_stale() -> None:
    assert stale(stands(5, "a"), stands(6, "b"), leaves(7, "a"), writes(8, 5)) == [8]


def test_a_write_by_one_who_stands_but_not_first_is_stale() -> None:
    assert stale(stands(5, "a"), stands(6, "b"), writes(7, 6)) == [7]


def test_a_write_when_nobody_stands_is_stale() -> None:
    assert stale(stands(5, "a"), leaves(6, "a"), writes(7, 5)) == [7]


def test_one_who_stands_again_does_so_by_a_new_token() -> None:
    assert stale(stands(5, "a"), leaves(6, "a"), stands(7, "a"), writes(8, 5), writes(9, 7)) == [8]


def test_lines_are_replayed_in_the_order_of_revisions() -> None:
    assert stale(leaves(8, "a"), writes(7, 5), stands(5, "a")) == []


def test_a_line_that_is_half_written_counts_later() -> None:
    assert stale(stands(5, "a"), writes(6, 9)[:-10]) == []


def test_a_watch_that_failed_is_no_proof_of_anything() -> None:
    with pytest.raises(AssertionError, match="compacted"):
        History("n", ['{"failed": "compacted"}\n'])
