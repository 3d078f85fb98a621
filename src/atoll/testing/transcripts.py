"""Distributed behaviour as a story: a transcript is a list of commands, each with what came of it.

Rule: a transcript is read by people and compared by the test, word for word. ``python -m atoll.testing.transcripts
--write FILE`` fills in what comes of each command now; the difference is then reviewed, not trusted.

    cluster nodes=3 ttl=6        # -> node-0, node-1, node-2
    run 1                        # -> node-0 leads, token 0.2
    crash node-0
    wait leader 8                # -> node-1 leads after 6.3 s

A line that begins with ``#`` is prose. Time is virtual; nothing is random but message delays, from seed 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from atoll.errors import AtollError, Code
from atoll.store import acts, facts
from atoll.store.api import Outcome, Put, Txn, TxnResult
from atoll.store.candidacy import Candidacy
from atoll.store.term import Term
from atoll.testing.world.checks import Violation
from atoll.testing.world.cluster import Silence
from atoll.testing.world.node import Habits, Node
from atoll.testing.world.world import World, describe

ARROW: Final = "# -> "
ARROW_COLUMN: Final = 40
TOLD: Final = (facts.Elected, facts.Lost, facts.Quiesce)
STEP_S: Final = 0.01


class Story:
    """The World behind one transcript. Commands are its methods named ``do_...``; each returns what came of it."""

    def __init__(self) -> None:
        self.world = World(seed=1)
        self._cuts: dict[str, list[tuple[str, str]]] = {}
        self._heard: list[str] = []
        self._kept: dict[str, Term] = {}

    def do(self, line: str) -> str:
        name, *words = line.split()
        command: Callable[..., str] | None = getattr(self, f"do_{name}", None)
        if command is None:
            raise AtollError(Code.INVALID, f"no such command in a transcript: {name!r}")
        plain = [word for word in words if "=" not in word]
        named = dict(word.split("=", 1) for word in words if "=" in word)
        try:
            return command(*plain, **named)
        except Violation as broken:
            return f"VIOLATION {broken}"

    # -- setting

    def do_cluster(self, nodes: str = "3", ttl: str = "6", drift: str = "0.05", rates: str = "") -> str:
        """``rates``: of the nodes' clocks, separated by commas; 1 for those not named."""
        given = [float(rate) for rate in rates.split(",") if rate]
        for number in range(int(nodes)):
            self._add(f"node-{number}", int(ttl), float(drift), given[number] if number < len(given) else 1.0)
            self.world.run_for(0.1)
        self._heard.clear()
        return ", ".join(self.world.nodes)

    def do_join(self, name: str, ttl: str = "6", priority: str = "0") -> str:
        self._add(name, int(ttl), 0.05, 1.0, int(priority))
        return self._pass(0.5)

    def _add(self, name: str, ttl_s: int, drift: float, rate: float, priority: int = 0) -> None:
        candidacy = Candidacy(
            self.world.name, name, ttl_s=ttl_s, priority=priority, drift_max=drift, grace_s=0.0
        )
        node = self.world.add(candidacy, rate)
        node.habits = Habits(quiesce_s_max=0.0)
        heard = node.heard

        def hear(node: Node, fact: facts.MachineFact) -> None:
            if isinstance(fact, TOLD):
                self._heard.append(f"{node.name} {describe(fact)}")
            heard(node, fact)

        node.heard = hear

    # -- time

    def do_run(self, duration_s: str) -> str:
        return self._pass(float(duration_s))

    def do_wait(self, what: str, within_s: str) -> str:
        """``wait leader 8``: until somebody leads who did not when the command began."""
        if what != "leader":
            raise AtollError(Code.INVALID, f"can wait for a leader, not for {what!r}")
        virtual, terms = self.world.virtual, self.world.checks.terms
        began_s = virtual.now_s
        virtual.run_while(lambda: self.world.checks.terms == terms, began_s + float(within_s))
        heard, self._heard = self._heard, []
        leader = self.world.leader()
        if self.world.checks.terms == terms or leader is None:
            heard.append(f"nobody within {within_s} s")
        else:
            heard[-1] = f"{leader.name} leads after {virtual.now_s - began_s:.1f} s"
        return "; ".join(heard)

    def do_who(self) -> str:
        leaders = [node.name for node in self.world.checks.leaders()]
        return ", ".join(leaders) or "nobody"

    def _pass(self, duration_s: float) -> str:
        self.world.run_for(duration_s)
        heard, self._heard = self._heard, []
        return "; ".join(heard)

    # -- nodes

    def do_crash(self, name: str) -> str:
        return self._now(self._node(name).crash)

    def do_restart(self, name: str) -> str:
        return self._now(self._node(name).restart)

    def do_pause(self, name: str) -> str:
        node = self._node(name)
        if node.term:
            self._kept[name] = node.term
        return self._now(node.pause)

    def do_resume(self, name: str) -> str:
        self._node(name).resume()
        return self._pass(STEP_S)

    def do_cut(self, name: str) -> str:
        self._cuts[name] = self.world.cut_off(self._node(name))
        return ""

    def do_mend(self, name: str) -> str:
        self.world.network.mend(self._cuts.pop(name))
        return ""

    def do_resign(self, name: str) -> str:
        self._node(name).tell(acts.Resign())
        return ""

    def do_enter(self, name: str) -> str:
        self._node(name).tell(acts.Enter())
        return ""

    def do_write(self, name: str) -> str:
        """A leader-only write by the term that ``name`` has, or had when it was paused, without asking the term."""
        node = self._node(name)
        term = node.term or self._kept.get(name)
        if term is None:
            return "it has no term"
        outcomes: list[Outcome] = []
        write = Txn(term.guards(), (Put(b"written", name.encode()),))
        self.world.connect(f"{name} again").submit(write, outcomes.append, 5.0)
        self.world.virtual.run_while(lambda: not outcomes, self.world.virtual.now_s + 6.0)
        outcome = outcomes[0]
        if isinstance(outcome, TxnResult):
            return "accepted" if outcome.succeeded else "refused: stale token"
        return f"no answer: {outcome}"

    # -- etcd, operators, foreigners

    def do_etcd(self, what: str, member: str = "") -> str:
        """``etcd silent`` (no leader, requests hang), ``refuses``, ``down``, ``leader``, ``leader-too-late`` (all leases
        ended meanwhile), ``member-dies NAME``, ``member-back NAME``, ``acknowledges-dead-leases``, ``ends-leases``.
        """
        cluster = self.world.cluster
        deeds: dict[str, Callable[[], None]] = {
            "silent": lambda: cluster.fall_silent(Silence.HANG),
            "refuses": lambda: cluster.fall_silent(Silence.REFUSE),
            "down": lambda: cluster.fall_silent(Silence.GONE),
            "leader": cluster.recover,
            "leader-too-late": lambda: cluster.recover(outlasted=True),
            "member-dies": lambda: cluster.fall_silent(Silence.GONE, member),
            "member-back": lambda: cluster.recover(member),
            "acknowledges-dead-leases": cluster.acknowledge_dead_leases,
            "ends-leases": lambda: cluster.end_leases(sorted(cluster.state.leases)),
        }
        return self._now(deeds[what])

    def do_revoke(self, name: str) -> str:
        self.world.cluster.end_leases([self._node(name).lease])
        return ""

    def do_handover(self, to: str) -> str:
        self.world.control(handover_to=to)
        return ""

    def do_election(self, what: str) -> str:
        self.world.control(paused=what == "paused")
        return ""

    def do_foreign(self, stays_s: str) -> str:
        self.world.add_foreign(f"foreign-{len(self.world.foreign)}", float(stays_s))
        return self._pass(0.5)

    # -- details

    def _node(self, name: str) -> Node:
        if name not in self.world.nodes:
            raise AtollError(Code.INVALID, f"no node {name!r}; there are {', '.join(self.world.nodes)}")
        return self.world.nodes[name]

    def _now(self, deed: Callable[[], object]) -> str:
        deed()
        return ""


def play(text: str) -> str:
    """``text`` with what came of each command filled in anew."""
    story = Story()
    told = []
    for line in text.splitlines():
        command = line.split(ARROW, 1)[0].rstrip()
        if not command or command.startswith("#"):
            told.append(command)
            continue
        outcome = story.do(command)
        told.append(f"{command:<{ARROW_COLUMN - 1}} {ARROW}{outcome}" if outcome else command)
    return "\n".join(told) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m atoll.testing.transcripts")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="put what comes of it into the file")
    options = parser.parse_args(arguments)
    for file in options.files:
        text = play(file.read_text())
        if options.write:
            file.write_text(text)
        else:
            sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
