"""One node's ephemeral table: who stands for a key, and what a broken connection does to it, and when."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.store.ephemeral_keys import Change
from atoll.store.ephemeral_machine import NEVER_S, Machine, Times
from atoll.wire.nodes.entry import Identity

KEY = b"svc/10.0.0.1:80"


class Table:
    """A machine with somebody who watches all of it."""

    def __init__(self) -> None:
        self.machine = Machine(Identity("a", 1), Times())
        self.changes: list[Change] = []
        self.machine.keys.watch(b"", self._hear)

    def _hear(self, changes: Sequence[Change]) -> None:
        self.changes += changes

    def heard(self) -> list[tuple[bytes | None, bool | None]]:
        """What watchers could see since the last call: (value, lost) after each visible change."""
        self.machine.keys.publish()
        seen = [change.after for change in self.changes if change.visible]
        self.changes.clear()
        return [(after.value, after.lost) if after else (None, None) for after in seen]


def test_what_is_put_stands_until_it_is_deleted() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    assert table.heard() == [(b"one", False)]
    table.machine.put("c1", KEY, b"two")
    assert table.heard() == [(b"two", False)]
    assert not table.machine.delete("c2", KEY)
    assert table.machine.delete("c1", KEY)
    assert table.heard() == [(None, None)]
    assert table.machine.keys.items(b"") == []


def test_a_clean_close_removes_at_once() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    table.heard()
    table.machine.drop_client("c1", clean=True, now_s=5.0)
    assert table.heard() == [(None, None)]
    assert table.machine.keys.get(KEY) is None
    assert table.machine.due_s() == NEVER_S


def test_a_broken_connection_is_marked_and_then_removed() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    table.heard()
    table.machine.drop_client("c1", clean=False, now_s=5.0)
    assert table.machine.due_s() == 5.8
    table.machine.tick(5.79)
    assert table.heard() == []
    table.machine.tick(5.8)
    assert table.heard() == [(b"one", True)]
    assert table.machine.due_s() == 15.0
    table.machine.tick(14.9)
    assert table.heard() == []
    table.machine.tick(15.0)
    assert table.heard() == [(None, None)]


def test_who_comes_back_quickly_is_not_seen_to_have_gone() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    table.heard()
    table.machine.drop_client("c1", clean=False, now_s=5.0)
    table.machine.put("c2", KEY, b"one")
    table.machine.tick(20.0)
    assert table.heard() == []
    entry = table.machine.keys.get(KEY)
    assert entry is not None and entry.client == "c2"


def test_who_comes_back_late_is_healthy_again() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    table.machine.drop_client("c1", clean=False, now_s=5.0)
    table.machine.tick(6.0)
    table.heard()
    table.machine.put("c2", KEY, b"one")
    assert table.heard() == [(b"one", False)]
    table.machine.tick(30.0)
    assert table.heard() == []


def test_the_same_client_coming_back_keeps_all_that_it_held() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    table.machine.put("c1", b"other", b"1")
    table.machine.drop_client("c1", clean=False, now_s=5.0)
    table.machine.tick(6.0)
    table.machine.put("c1", KEY, b"one")
    table.machine.tick(60.0)
    assert [entry.lost for entry in table.machine.keys.items(b"")] == [False, False]
    table.machine.drop_client("c1", clean=False, now_s=61.0)
    table.machine.tick(70.9)
    assert len(table.machine.keys.items(b"")) == 2
    table.machine.tick(71.0)
    assert table.machine.keys.items(b"") == []


def test_a_connection_that_breaks_after_its_key_was_taken_over_takes_nothing_away() -> None:
    table = Table()
    table.machine.put("c1", KEY, b"one")
    table.machine.put("c2", KEY, b"one")
    table.heard()
    table.machine.drop_client("c1", clean=False, now_s=5.0)
    table.machine.tick(60.0)
    assert table.heard() == []


def test_items_are_found_by_prefix_in_order() -> None:
    table = Table()
    for key in (b"b/2", b"a/1", b"b/1", b"c"):
        table.machine.put("c1", key, key)
    assert [entry.key for entry in table.machine.keys.items(b"b/")] == [b"b/1", b"b/2"]
    assert [entry.key for entry in table.machine.keys.items(b"")] == [b"a/1", b"b/1", b"b/2", b"c"]


def test_a_watch_hears_of_its_prefix_only_until_it_is_cancelled() -> None:
    machine = Machine(Identity("a", 1), Times())
    heard: list[bytes] = []
    cancel = machine.keys.watch(b"b/", lambda changes: heard.extend(change.key for change in changes))
    machine.put("c1", b"a/1", b"")
    machine.put("c1", b"b/1", b"")
    machine.keys.publish()
    cancel()
    machine.put("c1", b"b/2", b"")
    machine.keys.publish()
    assert heard == [b"b/1"]
