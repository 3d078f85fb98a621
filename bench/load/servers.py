"""The servers under test, each a process of its own on free loopback ports, with a folder on the same disk.

Rule: both are started the way their users start them, with durable writes; what differs is in ``_argv`` alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.wire.etcd import messages
from bench.load.grpc_client import GrpcClient, Refused
from tests.e2e.atoll import any_ports
from tests.peers.nodes import GRPC_ABOVE
from tests.peers.ports import free_pairs, free_ports
from tests.peers.processes import Process

READY_WITHIN_S = 30.0
POLL_S = 0.005
PAGE_BYTES = 4096


@dataclass
class Server:
    """A running server: ``port`` speaks the etcd v3 API; ``start_s`` from spawning to the first answer; ``nacos`` is
    where Nacos clients are sent to, if anywhere.
    """

    name: str
    port: int
    process: Process
    start_s: float
    nacos: str = ""

    def status(self) -> object:
        """The server's own answer to Maintenance.Status."""
        return status(self.port)

    def revision(self) -> int:
        client = GrpcClient(self.port)
        try:
            answer = client.call(
                "/etcdserverpb.KV/Range", messages.RangeRequest(key=b"-").SerializeToString()
            )
        finally:
            client.close()
        return int(messages.RangeResponse.FromString(answer).header.revision)

    def resident_bytes(self) -> int:
        """What the process holds in memory now (proc(5), statm)."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(statm[1]) * PAGE_BYTES

    def cpu_s(self) -> float:
        """User and system time that the process has used so far (proc(5), stat)."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def etcd(folder: Path) -> Iterator[Server]:
    """Debian's etcd, one member, as installed but for its addresses."""
    client, peer = free_ports(2)
    argv = ["etcd", "--name", "bench", "--data-dir", str(folder / "etcd"), "--logger", "zap"]
    argv += ["--log-level", "error"]
    for what, port in (("client", client), ("peer", peer)):
        argv += [f"--listen-{what}-urls", f"http://127.0.0.1:{port}"]
    argv += ["--advertise-client-urls", f"http://127.0.0.1:{client}"]
    argv += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
    argv += ["--initial-cluster", f"bench=http://127.0.0.1:{peer}"]
    with _running("etcd", argv, client, folder) as server:
        yield server


@contextmanager
def atoll(folder: Path) -> Iterator[Server]:
    """A node as ``atoll up`` starts it, but for its addresses."""
    (etcd_api,) = free_ports(1)
    (nacos,) = free_pairs(1, GRPC_ABOVE)
    listens = ["--listen-etcd", f"127.0.0.1:{etcd_api}", "--listen-nacos", f"127.0.0.1:{nacos}"]
    listens += ["--listen-nacos-grpc", f"127.0.0.1:{nacos + GRPC_ABOVE}"]
    argv = [sys.executable, "-m", "atoll", "up", "--data", str(folder / "atoll"), *any_ports(*listens)]
    with _running("atoll", argv, etcd_api, folder) as server:
        server.nacos = f"127.0.0.1:{nacos}"
        yield server


def status(port: int) -> object:
    client = GrpcClient(port)
    try:
        request = messages.StatusRequest().SerializeToString()
        return messages.StatusResponse.FromString(client.call("/etcdserverpb.Maintenance/Status", request))
    finally:
        client.close()


@contextmanager
def _running(name: str, argv: Sequence[str], port: int, folder: Path) -> Iterator[Server]:
    process = Process(argv, folder / f"{name}.log")
    start_s = time.perf_counter()
    process.start()
    try:
        _wait_ready(process, port)
        yield Server(name, port, process, time.perf_counter() - start_s)
    finally:
        process.kill()


def _wait_ready(process: Process, port: int) -> None:
    end_s = time.perf_counter() + READY_WITHIN_S
    while True:
        try:
            status(port)
            return
        except (OSError, Refused) as error:
            if not process.running or time.perf_counter() > end_s:
                raise RuntimeError(f"{process.argv} is not ready: {error}\n{process.log_tail()}") from error
        time.sleep(POLL_S)
