"""Debian's ZooKeeper as a peer: ``with zookeeper(tmp_path) as server: ...``, alone, on a free port of loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until

READY_WITHIN_S = 60.0
CLASSES = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
ANSWER_WITHIN_S = 2.0


class Server:
    """``hosts`` is what a client is given."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.hosts = f"127.0.0.1:{self.port}"
        data = folder / "zookeeper"
        data.mkdir()
        config = folder / "zoo.cfg"
        config.write_text(
            f"tickTime=500\ndataDir={data}\nclientPort={self.port}\nclientPortAddress=127.0.0.1\n"
            "admin.enableServer=false\n4lw.commands.whitelist=ruok\n"
        )
        line = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", CLASSES, MAIN, str(config)]
        self.process = Process(line, folder / "zookeeper.log")

    def start(self) -> None:
        self.process.start()
        wait_until(self.answers, READY_WITHIN_S, "an answer of the ZooKeeper")

    def kill(self) -> None:
        self.process.kill()

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), ANSWER_WITHIN_S) as sock:
                sock.sendall(b"ruok")
                return sock.recv(16) == b"imok"
        except OSError:
            return False


@contextmanager
def zookeeper(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
