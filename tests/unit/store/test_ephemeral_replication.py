"""Two and three machines wired back to back: what one node's clients hold, the others see, and for how long."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.store.ephemeral_machine import Effect, Machine, Times
from atoll.wire.nodes.entry import Identity
from atoll.wire.nodes.messages import decode, encode

KEY = b"svc/10.0.0.1:80"


class Cluster:
    """Machines by name, a clock for all, and links that carry everything at once."""

    def __init__(self, *names: str) -> None:
        self.now_s = 100.0
        self.machines = {name: Machine(Identity(name, 1), Times()) for name in names}
        self.members: dict[str, int] | None = dict.fromkeys(names, 1)
        self.tell_members(self.members)

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def tell_members(self, members: Mapping[str, int] | None) -> None:
        for machine in self.machines.values():
            machine.know_members(members, self.now_s)

    def link(self, *pairs: str) -> None:
        for one, other in map(tuple, pairs):
            self[one].link_up(self[other].who, self.now_s)
            self[other].link_up(self[one].who, self.now_s)
        self.pump()

    def cut(self, *pairs: str) -> None:
        for one, other in map(tuple, pairs):
            self[one].link_down(self[other].who, self.now_s)
            self[other].link_down(self[one].who, self.now_s)

    def kill(self, name: str) -> None:
        dead = self.machines.pop(name)
        for machine in self.machines.values():
            machine.link_down(dead.who, self.now_s)

    def pump(self) -> None:
        said = True
        while said:
            said = False
            for machine in self.machines.values():
                for peer in list(machine.links):
                    while message := machine.next_message(peer, self.now_s):
                        said = True
                        self[peer.node].receive(machine.who, decode(encode(message)), self.now_s)

    def pass_time(self, duration_s: float) -> None:
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            self.now_s = min(self.now_s + 0.1, end_s)
            for machine in self.machines.values():
                machine.tick(self.now_s)
            self.pump()

    def held(self, name: str, key: bytes = KEY) -> tuple[str, bytes, bool] | None:
        entry = self[name].keys.get(key)
        return (entry.client, entry.value, entry.lost) if entry else None


def _pair() -> Cluster:
    cluster = Cluster("a", "b")
    cluster.link("ab")
    return cluster


def test_what_is_put_and_deleted_reaches_the_other_node() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    assert cluster.held("b") == ("c1", b"v", False)
    cluster["a"].delete("c1", KEY)
    cluster.pump()
    assert cluster.held("b") is None


def test_a_node_that_joins_gets_all_that_is_there() -> None:
    cluster = Cluster("a", "b")
    for number in range(5000):  # more than one batch
        cluster["a"].put("c1", b"k%d" % number, b"v")
    for number in range(0, 5000, 2):
        cluster["a"].delete("c1", b"k%d" % number)
    cluster.link("ab")
    assert len(cluster["b"].keys) == 2500
    assert cluster["b"].is_synced()


def test_changes_made_while_the_link_was_down_arrive_after_it() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster["a"].put("c1", b"gone", b"v")
    cluster.pump()
    cluster.cut("ab")
    cluster["a"].delete("c1", b"gone")
    cluster["a"].put("c1", b"new", b"v")
    cluster.link("ab")
    assert [entry.key for entry in cluster["b"].keys.items(b"")] == [b"new", KEY]


def test_more_deletions_than_are_remembered_are_made_up_for() -> None:
    cluster = _pair()
    cluster["a"].put("c1", b"first", b"v")
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster.cut("ab")
    cluster["a"].delete("c1", b"first")
    for number in range(10_001):
        cluster["a"].put("c1", b"k%d" % number, b"v")
        cluster["a"].delete("c1", b"k%d" % number)
    cluster.link("ab")
    assert [entry.key for entry in cluster["b"].keys.items(b"")] == [KEY]


def test_an_entry_that_a_copy_lacks_is_found_by_its_digest() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster["a"].put("c1", b"other", b"v")
    cluster.pump()
    copy = cluster["b"].replicas.all[Identity("a", 1)].origin
    cluster["b"].keys.remove(copy.entries.pop((KEY, "c1")))
    cluster.pass_time(4.0)
    assert cluster.held("b") is None
    cluster.pass_time(2.0)
    assert cluster.held("b") == ("c1", b"v", False)
    assert cluster["b"].counts.repairs == 1


def test_a_reconnect_to_another_node_within_the_damping_is_not_seen() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    seen: list[object] = []
    for machine in cluster.machines.values():
        machine.keys.publish()
        machine.keys.watch(b"", lambda changes: seen.extend(each for each in changes if each.visible))
    cluster["a"].drop_client("c1", clean=False, now_s=cluster.now_s)
    cluster.pass_time(0.5)
    cluster["b"].put("c2", KEY, b"v")
    cluster.pass_time(20.0)
    for machine in cluster.machines.values():
        machine.keys.publish()
    assert not seen
    assert cluster.held("a") == cluster.held("b") == ("c2", b"v", False)
    assert len(cluster["a"].own.origin.entries) == 0


def test_a_client_that_registers_under_its_name_elsewhere_has_moved() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster["b"].put("c1", KEY, b"w")
    cluster.pump()
    assert cluster.held("a") == ("c1", b"w", False)
    cluster.pass_time(2.1)
    assert cluster.held("a") == ("c1", b"w", False)
    assert len(cluster["a"].own.origin.entries) == 0


def test_a_killed_nodes_entries_stay_while_its_lease_lasts_and_for_the_claim_window() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.link("ab", "ac", "bc")
    cluster["a"].put("c1", KEY, b"v")
    cluster["a"].put("c2", b"other", b"v")
    cluster.pump()
    cluster.kill("a")
    cluster.pass_time(8.0)
    assert cluster.held("b") == ("c1", b"v", False)
    cluster.tell_members({"b": 1, "c": 1})
    cluster.pass_time(5.0)
    cluster["b"].put("c9", b"other", b"v")
    cluster.pump()
    cluster.pass_time(6.9)
    assert cluster.held("b") == cluster.held("c") == ("c1", b"v", False)
    cluster.pass_time(0.2)
    assert cluster.held("b") is None and cluster.held("c") is None
    assert cluster.held("c", b"other") == ("c9", b"v", False)


def test_nobody_is_given_up_while_the_store_is_away() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster.tell_members(None)
    cluster.kill("a")
    cluster.pass_time(300.0)
    assert cluster.held("b") == ("c1", b"v", False)
    cluster.tell_members({"b": 1})
    cluster.pass_time(12.1)
    assert cluster.held("b") is None


def test_a_node_whose_lease_ended_is_kept_while_somebody_hears_it() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.link("ab", "ac", "bc")
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster.cut("ab")
    cluster.tell_members({"b": 1, "c": 1})
    cluster.pass_time(30.0)
    assert cluster.held("b") == ("c1", b"v", False)
    cluster["a"].put("c1", KEY, b"w")  # goes on arriving, by way of c
    cluster.pass_time(1.1)
    assert cluster.held("b") == ("c1", b"w", False)


def test_what_was_claimed_and_given_back_does_not_come_back_from_a_dead_node() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.link("ab", "ac", "bc")
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster["b"].put("c2", KEY, b"v")  # before anybody knows that a is dead
    cluster.pump()
    cluster["b"].delete("c2", KEY)
    cluster.pump()
    cluster.kill("a")
    cluster.pass_time(1.1)  # until each has said that it does not hear it
    assert cluster.held("b") is None
    assert cluster.held("c") is None


def test_what_was_cut_out_of_a_copy_is_back_when_its_node_is() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster.cut("ab")
    cluster["b"].put("c2", KEY, b"w")
    cluster["b"].delete("c2", KEY)
    assert cluster.held("b") is None
    cluster.link("ab")
    assert cluster.held("b") == ("c1", b"v", False)


def test_a_node_that_starts_again_takes_over_from_its_former_run() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster.kill("a")
    cluster.machines["a"] = Machine(Identity("a", 2), Times())
    cluster.tell_members({"a": 2, "b": 1})
    cluster.link("ab")
    assert cluster.held("a") == cluster.held("b") == ("c1", b"v", False)
    cluster.pass_time(12.1)
    assert cluster.held("a") is None and cluster.held("b") is None


def test_a_late_joiner_removes_a_dead_nodes_entries_with_the_others() -> None:
    cluster = _pair()
    cluster["a"].put("c1", KEY, b"v")
    cluster.pump()
    cluster.kill("a")
    cluster.tell_members({"b": 1})
    cluster.pass_time(10.0)
    cluster.machines["c"] = Machine(Identity("c", 1), Times())
    cluster.tell_members({"b": 1, "c": 1})
    cluster.link("bc")
    assert cluster.held("c") == ("c1", b"v", False)
    cluster.pass_time(2.2)
    assert cluster.held("b") is None and cluster.held("c") is None


def test_a_node_cut_off_from_peers_and_store_sends_its_clients_away_once() -> None:
    cluster = _pair()
    cluster.cut("ab")
    machine = cluster["a"]
    machine.know_members(None, cluster.now_s)
    cluster.pass_time(4.9)
    assert machine.take_effects() == []
    cluster.pass_time(60.0)
    assert machine.take_effects() == [Effect.SHED_CLIENTS]
    machine.know_members({"a": 1, "b": 1}, cluster.now_s)
    cluster.pass_time(1.0)
    machine.know_members(None, cluster.now_s)
    cluster.pass_time(6.0)
    assert machine.take_effects() == [Effect.SHED_CLIENTS]


def test_a_silent_link_is_found() -> None:
    cluster = _pair()
    cluster.pass_time(10.0)
    assert cluster["a"].silent(cluster.now_s) == []
    assert cluster["a"].silent(cluster.now_s + 3.1) == [Identity("b", 1)]


def test_a_later_releases_field_of_an_entry_is_handed_on() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.link("ab")
    cluster["a"].put("c1", KEY, b"v")
    origin = cluster["a"].own.origin
    origin.entries[KEY, "c1"] = msgspec.structs.replace(origin.entries[KEY, "c1"], more=b"later")
    cluster.pump()
    cluster.link("bc")
    cluster.pass_time(1.1)
    entry = cluster["c"].keys.get(KEY)
    assert entry is not None and entry.more == b"later"


def test_a_node_that_had_not_heard_of_the_old_holder_keeps_its_damping() -> None:
    cluster = Cluster("a", "b")
    for number in range(20):  # stamps that the other knows nothing of
        cluster["a"].put("c1", KEY, b"v%d" % number)
    cluster["a"].drop_client("c1", False, cluster.now_s)
    cluster["b"].put("c2", KEY, b"moved")
    cluster.link("ab")
    cluster.pass_time(5.0)
    assert cluster.held("a") == cluster.held("b") == ("c2", b"moved", False)
    cluster["b"].drop_client("c2", False, cluster.now_s)
    cluster.pass_time(7.0)  # past the old holder's end
    assert cluster.held("a") == cluster.held("b") == ("c2", b"moved", True)
    cluster.pass_time(4.0)
    assert cluster.held("a") is cluster.held("b") is None
