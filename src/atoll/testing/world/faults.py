"""What can go wrong in a World, by name. Each fault begins when it is called and returns how it ends.

Rule: a fault changes the surroundings (network, cluster, nodes, the operator's wishes), never the machine.
Most aim at whoever leads just then, because that is where two leaders come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from atoll.store import acts
from atoll.testing.world.cluster import MEMBERS, Silence
from atoll.testing.world.network import both
from atoll.testing.world.node import Node
from atoll.testing.world.world import World

End: TypeAlias = Callable[[], None]
Fault: TypeAlias = Callable[[World], End]

AIM_AT_LEADER: Final = 0.7


def _done() -> None:
    """The fault was over as soon as it happened."""
    return


def _target(world: World) -> Node:
    leader = world.leader()
    if leader and world.rng.random() < AIM_AT_LEADER:
        return leader
    return world.rng.choice(list(world.nodes.values()))


def _member(world: World) -> str:
    return world.rng.choice(MEMBERS)


def pause(world: World) -> End:
    node = _target(world)
    world.virtual.note(node.name, "is paused")
    node.pause()

    def end() -> None:
        world.virtual.note(node.name, "is resumed")
        node.resume()

    return end


def crash(world: World) -> End:
    node = _target(world)
    world.virtual.note(node.name, "crashes")
    node.crash()
    return node.restart


def _cut(world: World, ways: str) -> End:
    node = _target(world)
    world.virtual.note(node.name, f"is cut off ({ways})")
    pairs = world.cut_off(node, ways)

    def end() -> None:
        world.virtual.note(node.name, f"is connected again ({ways})")
        world.network.mend(pairs)

    return end


def cut_off(world: World) -> End:
    return _cut(world, "both")


def requests_lost(world: World) -> End:
    return _cut(world, "out")


def answers_cut(world: World) -> End:
    return _cut(world, "in")


def cut_from_member(world: World) -> End:
    node = _target(world)
    pairs = both([node.name], [_member(world)])
    world.network.cut(pairs)
    return lambda: world.network.mend(pairs)


def slow_messages(world: World) -> End:
    node, late_s = _target(world), world.rng.uniform(0.2, 3.0)
    world.network.late_from_s[node.name] = world.network.late_to_s[node.name] = late_s

    def end() -> None:
        world.network.late_from_s.pop(node.name, None)
        world.network.late_to_s.pop(node.name, None)

    return end


def slow_then_cut_off(world: World) -> End:
    """A heartbeat's answer comes late, and then nothing more: when did the term's time begin?"""
    node = _target(world)
    late_s = node.candidacy.ttl_s / 3
    world.virtual.note(node.name, f"hears up to {late_s:.2f} s late")
    world.network.late_to_s[node.name] = late_s
    pairs: list[tuple[str, str]] = []

    def cut() -> None:
        if world.network.late_to_s.pop(node.name, None):
            world.virtual.note(node.name, "is cut off (both)")
            pairs.extend(world.cut_off(node))

    def end() -> None:
        world.network.late_to_s.pop(node.name, None)
        world.network.mend(pairs)

    world.virtual.after(node.candidacy.ttl_s * world.rng.uniform(0.3, 1.0), cut)
    return end


def answers_lost(world: World) -> End:
    world.cluster.answers_lost = world.rng.uniform(0.1, 0.6)

    def end() -> None:
        world.cluster.answers_lost = 0.0

    return end


def _silence(world: World, silence: Silence, outlasted: bool) -> End:
    world.virtual.note("etcd", f"has no leader ({silence.value})")
    world.cluster.fall_silent(silence)

    def end() -> None:
        world.virtual.note("etcd", "has a leader" + (", all leases ended" if outlasted else ""))
        world.cluster.recover(outlasted=outlasted)

    return end


def leader_change(world: World) -> End:
    return _silence(world, world.rng.choice((Silence.HANG, Silence.REFUSE)), outlasted=False)


def leader_change_outlasts_leases(world: World) -> End:
    return _silence(world, world.rng.choice((Silence.HANG, Silence.REFUSE)), outlasted=True)


def cluster_down(world: World) -> End:
    return _silence(world, Silence.GONE, outlasted=False)


def quick_leader_change(world: World) -> End:
    world.cluster.leader_changes()
    return _done


def _member_silent(world: World, silence: Silence) -> End:
    member = _member(world)
    world.cluster.fall_silent(silence, member)
    return lambda: world.cluster.recover(member)


def follower_dies(world: World) -> End:
    return _member_silent(world, Silence.GONE)


def member_isolated(world: World) -> End:
    return _member_silent(world, world.rng.choice((Silence.HANG, Silence.REFUSE)))


def dead_lease_acknowledged(world: World) -> End:
    """With a lease that just died, or there would be nothing to acknowledge."""
    world.cluster.acknowledges_dead_leases = True
    if world.rng.random() < 0.5:
        lease_revoked(world)

    def end() -> None:
        world.cluster.acknowledges_dead_leases = False

    return end


def dead_lease_unnoticed(world: World) -> End:
    """A leader's lease ends, but keep-alives are acknowledged and watches deliver nothing: only heartbeats tell. It
    lasts until others have found out by themselves and waited.
    """
    world.cluster.acknowledges_dead_leases = world.cluster.watches_stall = True
    lease_revoked(world)

    def end() -> None:
        world.cluster.acknowledges_dead_leases = False
        world.cluster.deliver_watches()

    found_out_s = 2.0 * max(node.candidacy.ttl_s for node in world.nodes.values())
    return lambda: world.virtual.after(found_out_s, end)


def stale_reads(world: World) -> End:
    member = _member(world)
    world.cluster.stale_at[member] = world.cluster.state.revision

    def end() -> None:
        world.cluster.stale_at.pop(member, None)

    return end


def lease_revoked(world: World) -> End:
    node = _target(world)
    world.virtual.note(node.name, "loses its lease")
    world.server.end_lease(node.lease)
    return _done


def lease_revoked_while_cut_off(world: World) -> End:
    end = cut_off(world)
    lease_revoked(world)
    return end


def all_leases_end(world: World) -> End:
    world.virtual.note("etcd", "all leases end")
    world.cluster.end_leases(sorted(world.cluster.state.leases))
    return _done


def compaction(world: World) -> End:
    """Together with a cut, so that watches have something to miss."""
    end = cut_from_member(world)
    world.virtual.after(1.0, world.compact)
    return end


def resignation(world: World) -> End:
    node = _target(world)
    quiet = node.term is None
    world.virtual.note(node.name, "is asked to resign")
    node.tell(acts.Resign(quiet))
    return lambda: node.tell(acts.Enter())


def handover(world: World) -> End:
    standby = world.rng.choice(world.standbys() or list(world.nodes.values()))
    world.virtual.note("operator", f"hands over to {standby.name}")
    world.control(handover_to=standby.name)
    return _done


def election_paused(world: World) -> End:
    world.virtual.note("operator", "pauses the election")
    world.control(paused=True)
    return lambda: world.control(paused=False)


def proclamation(world: World) -> End:
    _target(world).tell(acts.Proclaim(b"value %d" % world.rng.randrange(1000)))
    return _done


def foreign_candidate(world: World) -> End:
    world.add_foreign(f"foreign-{len(world.foreign)}", world.rng.uniform(3.0, 12.0))
    return _done


def store_crashes(world: World) -> End:
    world.virtual.note("store", "crashes")
    world.embedded.crash()
    return world.embedded.restart


def disk_full(world: World) -> End:
    world.virtual.note("store", "has a full disk")
    world.embedded.fill_disk(True)
    return lambda: world.embedded.fill_disk(False)


def sync_fails(world: World) -> End:
    world.virtual.note("store", "the next fsync will fail")
    world.embedded.sync_fails = True
    return _done


def _table(*weighted: tuple[Fault, int]) -> Mapping[str, tuple[Fault, int]]:
    return {fault.__name__: (fault, weight) for fault, weight in weighted}


ANYWHERE: Final = _table(
    (pause, 4),
    (crash, 3),
    (cut_off, 4),
    (requests_lost, 2),
    (answers_cut, 3),
    (cut_from_member, 1),
    (slow_messages, 2),
    (slow_then_cut_off, 3),
    (lease_revoked, 1),
    (lease_revoked_while_cut_off, 3),
    (compaction, 1),
    (resignation, 2),
    (handover, 2),
    (election_paused, 1),
    (proclamation, 1),
    (foreign_candidate, 1),
)
ON_ETCD: Final = _table(
    (answers_lost, 2),
    (leader_change, 3),
    (leader_change_outlasts_leases, 3),
    (cluster_down, 2),
    (quick_leader_change, 1),
    (follower_dies, 1),
    (member_isolated, 1),
    (dead_lease_acknowledged, 2),
    (dead_lease_unnoticed, 3),
    (stale_reads, 2),
    (all_leases_end, 2),
)
ON_EMBEDDED: Final = _table((store_crashes, 5), (disk_full, 4), (sync_fails, 4))
FAULTS: Final = {**ANYWHERE, **ON_ETCD, **ON_EMBEDDED}
"""Name -> the fault and how often it is drawn, relative to the others that are possible."""
