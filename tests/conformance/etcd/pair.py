"""Two fresh servers, Debian's etcd and the smallest Atoll node, and a way to run one script on both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atoll.wire.etcd import messages
from tests.conformance.etcd.side import Side, differences
from tests.peers.etcd import etcd_cluster
from tests.peers.processes import Process
from tests.waiting import wait_until

READY_WITHIN_S = 30.0
Script = Callable[[Side], Any]


def start_node(folder: Path, store: str) -> tuple[Process, str]:
    """The process and its address."""
    log = folder / "node.log"
    process = Process([sys.executable, "-m", "tests.conformance.etcd.node", store], log)
    process.start()

    def port() -> str:
        assert process.running, f"the node ended: {process.log_tail()}"
        first = log.read_text().partition("\n")
        return first[0] if first[1] else ""

    return process, f"127.0.0.1:{wait_until(port, READY_WITHIN_S, 'the port of the node')}"


class Pair:
    """Both servers. ``run`` compares everything that a client can see of a script's calls."""

    def __init__(self, atoll: str, etcd: str) -> None:
        self.addresses = {"atoll": atoll, "etcd": etcd}

    def sides(self) -> tuple[Side, Side]:
        return Side("atoll", self.addresses["atoll"]), Side("etcd", self.addresses["etcd"])

    def run(self, script: Script) -> Any:
        """Run ``script`` on both; fails where their transcripts differ. Returns what Atoll's run returned."""
        atoll, etcd = self.sides()
        try:
            _catch_up(atoll, etcd)
            returned, _ = script(atoll), script(etcd)
            found = list(differences(atoll, etcd))
        finally:
            atoll.close()
            etcd.close()
        assert not found, "\n".join(found)
        return returned


def _catch_up(atoll: Side, etcd: Side) -> None:
    """Bring both to one revision: a test that failed, or a known difference, may have left them apart."""
    revisions = {side: _revision(side) for side in (atoll, etcd)}
    for side, revision in revisions.items():
        for _ in range(max(revisions.values()) - revision):
            side.stub("KV.Put")(messages.PutRequest(key=b"catch up"))


def _revision(side: Side) -> int:
    return int(side.stub("KV.Range")(messages.RangeRequest(key=b"x")).header.revision)


@contextmanager
def start_pair(folder: Path) -> Iterator[Pair]:
    """Both, empty, at revision 1, until the block ends."""
    process, address = start_node(folder, f"sqlite:{folder / 'store.db'}")
    try:
        with etcd_cluster(folder, options=["--unsafe-no-fsync"]) as cluster:
            yield Pair(address, cluster.endpoints[0])
    finally:
        process.kill()
