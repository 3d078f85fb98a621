"""Where the failure table is played: three etcds, three candidates and a witness, each in its own namespace.

The witness is never cut off, so that it misses nothing. Candidates stamp files (``tests.e2e.lead.Witness`` reads
them), which work across namespaces.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.failures import history
from tests.e2e.lead import CLOCK, Candidate, Span, Witness
from tests.peers.etcd import Cluster, etcd_cluster
from tests.peers.network import Network, network
from tests.peers.processes import Process
from tests.waiting import wait_until

ETCDS = ["etcd1", "etcd2", "etcd3"]
CANDIDATES = ["a", "b", "c"]
ELECTION_TIMEOUT_S = 0.5
PROGRAM = Path(__file__).with_name("program.py")
WITHIN_S = 40.0
FRESH_S = 0.25  # who has stamped so lately serves
QUIET_S = 1.0


class Arena:
    """A network with a cluster in it. ``Play`` needs no more of it than ``url``, ``namespace`` and ``etcdctl``."""

    def __init__(self, net: Network, cluster: Cluster) -> None:
        self.net = net
        self.cluster = cluster
        self.url = cluster.url

    def namespace(self, node: str) -> str | None:
        return self.net.namespace(node)

    def etcdctl(self, *arguments: str) -> bytes:
        return self.cluster.etcdctl(*arguments, check=False).stdout

    def cut_off(self, *candidates: str) -> None:
        """From all etcds."""
        for name in candidates:
            self.net.drop(name, ETCDS)

    def mend(self) -> None:
        """Undo all that was done to the network and the members."""
        self.net.heal()
        for member in self.cluster.members:
            member.resume()
            if not member.process.running:
                member.start()
        self.cluster.wait_ready()


@contextmanager
def arena(folder: Path) -> Iterator[Arena]:
    timeout_ms = int(1000 * ELECTION_TIMEOUT_S)
    with (
        network([*ETCDS, *CANDIDATES, "witness"]) as net,
        etcd_cluster(folder, members=3, network=net, election_timeout_ms=timeout_ms) as cluster,
    ):
        yield Arena(net, cluster)


class OneMachine:
    """The stage of an embedded store: everything on the loopback address."""

    def __init__(self, address: str) -> None:
        self.url = f"etcd://{address}"
        self._address = address

    def namespace(self, node: str) -> str | None:
        return None

    def etcdctl(self, *arguments: str) -> bytes:
        line = ["etcdctl", "--endpoints", self._address, *arguments]
        return subprocess.run(line, capture_output=True, timeout=20.0).stdout

    def mend(self) -> None:
        """Nothing here is broken on purpose but the candidates."""


class Play:
    """One election in the arena, with its candidates and its witness, from the start to the verdict."""

    def __init__(self, stage: Arena | OneMachine, folder: Path, ttl_s: int) -> None:
        folder.mkdir(parents=True)
        self.stage = stage
        self.election = folder.name
        self.ttl_s = ttl_s
        self.stamps = Witness(folder / "stamps")
        self.candidates = {name: self._candidate(name, folder) for name in CANDIDATES}
        self._overlaps_seen = self._stale_seen = self._writes_seen = 0
        self._folder = folder
        self._record = folder / "witness.jsonl"
        line = ["--store", stage.url, "--election", self.election, "--out", str(self._record)]
        self._witness = self._process("witness", line, folder / "witness.log", "witness")

    def _candidate(self, name: str, folder: Path) -> Process:
        line = ["--store", self.stage.url, "--election", self.election, "--id", name]
        line += ["--ttl", str(self.ttl_s), "--folder", str(folder / "stamps")]
        return self._process("candidate", line, folder / f"{name}.log", name)

    def _process(self, program: str, line: Sequence[str], log: Path, node: str) -> Process:
        argv = [sys.executable, "-m", f"tests.e2e.failures.{program}", *line]
        return Process(argv, log, namespace=self.stage.namespace(node))

    # ------------------------------------------------------------------------------ the play

    def begin(self) -> None:
        self._witness.start()
        wait_until(
            lambda: self._record.exists() and self._record.read_text(), WITHIN_S, "the witness to watch"
        )
        for candidate in self.candidates.values():
            candidate.start()
        self.wait_whole()

    def end(self) -> None:
        """Also after a test that failed in the middle."""
        for process in (*self.candidates.values(), self._witness):
            process.kill()
        self.stage.mend()

    def wait_whole(self) -> None:
        """Until one leads and all candidates stand, whatever was broken before."""
        for candidate in self.candidates.values():
            if not candidate.running:
                candidate.start()
        self.wait_leader()
        self.wait_queue(len(CANDIDATES))

    # ------------------------------------------------------------------------------ who leads

    def newest(self) -> Span | None:
        """The newest term that was served."""
        return max(self.stamps.spans(), key=lambda span: span.token, default=None)

    def again(self, span: Span) -> Span:
        """``span`` as it is by now."""
        spans = self.stamps.spans()
        return next(each for each in spans if (each.token, each.pid) == (span.token, span.pid))

    def wait_leader(self, after: Span | None = None) -> Span:
        """A leader that serves now, of a newer term than ``after``."""

        def leads() -> Span | None:
            span = self.newest()
            newer = span is not None and (after is None or span.token > after.token)
            return span if newer and span is not None and CLOCK.now_s() - span.last_s < FRESH_S else None

        return wait_until(leads, WITHIN_S, "a leader" + (f" after {after}" if after else ""))

    def wait_nobody(self) -> None:
        """Until nobody has served for a while."""

        def nobody() -> bool:
            span = self.newest()
            return span is not None and CLOCK.now_s() - span.last_s > QUIET_S

        wait_until(nobody, WITHIN_S, "the leader to stop serving")

    def wait_outlives(self, span: Span, since_s: float) -> bool:
        """Wait until the leader of ``span`` has served for more than a TTL since ``since_s``, so that it must have
        renewed; False when another one serves first.
        """

        def decided() -> bool:
            newest = self.newest()
            return newest is not None and (newest.token > span.token or newest.last_s > since_s + self.ttl_s)

        wait_until(decided, WITHIN_S, "the leader to renew, or another one")
        newest = self.newest()
        return newest is not None and newest.token == span.token

    def wait_queue(self, length: int) -> None:
        """Until so many candidates stand, by the store's word."""

        def stands() -> bool:
            return (
                len(self.stage.etcdctl("get", f"{self.election}/", "--prefix", "--keys-only").split())
                == length
            )

        wait_until(stands, WITHIN_S, f"{length} candidates to stand")

    def standbys(self, span: Span) -> list[str]:
        return [name for name in CANDIDATES if name != span.candidate]

    def refused(self) -> int:
        """Writes that the fence refused, of all candidates."""
        files = [self._folder / f"{name}.refused" for name in CANDIDATES]
        return sum(int(file.read_text() or 0) for file in files if file.exists())

    # ------------------------------------------------------------------------------ the verdict

    def history(self) -> history.History:
        return history.read(self.election, self._record)

    def new_violations(self, *, writes_only: bool = False) -> int:
        """Since the last call: instants at which two led, tokens that went backwards, stale writes accepted."""
        seen = self._writes_seen
        wait_until(lambda: len(self.history().writes) > seen, WITHIN_S, "a leader-only write at the witness")
        written = self.history()
        self._writes_seen = len(written.writes)
        overlaps, stale = len(self.stamps.violations()), len(written.stale)
        new_overlaps, new_stale = overlaps - self._overlaps_seen, stale - self._stale_seen
        self._overlaps_seen, self._stale_seen = overlaps, stale
        return new_stale if writes_only else new_stale + new_overlaps


class LeadPlay(Play):
    """The same with ``atoll lead``: each candidate is a supervisor, two watchdogs and, while it leads, a program."""

    def __init__(self, stage: Arena | OneMachine, folder: Path, ttl_s: int) -> None:
        self._leads: dict[str, Candidate] = {}
        super().__init__(stage, folder, ttl_s)

    def _candidate(self, name: str, folder: Path) -> Process:
        lead = Candidate(name, self.election, self.stage.url, self.stamps)
        line = [sys.executable, "-m", "atoll", "lead", self.election, "--id", name, "--store", self.stage.url]
        line += ["--ttl", str(self.ttl_s), "--"]
        line += [sys.executable, "-S", str(PROGRAM), str(self.stamps.folder)]
        lead.supervisor = Process(line, folder / f"{name}.log", namespace=self.stage.namespace(name))
        self._leads[name] = lead
        return lead.supervisor

    def signal_everything(self, name: str, number: int) -> None:
        """To all processes of a candidate, as when its machine loses power or is suspended; the program first."""
        lead = self._leads[name]
        for pid in (lead.program, *lead.watchdogs, lead.supervisor.pid):
            with contextlib.suppress(ProcessLookupError):  # one that woke up has killed another meanwhile
                os.kill(pid, number)

    def end(self) -> None:
        for name, lead in self._leads.items():
            if lead.supervisor.running:
                self.signal_everything(name, signal.SIGCONT)
            lead.end()
        super().end()
