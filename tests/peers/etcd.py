"""Debian's etcd as a peer: ``with etcd_cluster(tmp_path, members=3) as cluster: ...``.

Everything is on free ports of the loopback address, or on addresses that are private to network namespaces
(``network=``). All members can be killed, paused, resumed and started again; who leads is asked of the members
themselves, by etcdctl, from inside the member's own namespace, so that it works across a partition.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.certificates import Certificates
from tests.peers.network import Network
from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until

READY_WITHIN_S = 30.0
ETCDCTL_TIMEOUT_S = 20.0
ROOT_PASSWORD = "root secret"  # noqa: S105 - of a throw-away etcd


@dataclass
class Member:
    """One etcd. ``client`` is ``host:port``."""

    name: str
    client: str
    process: Process
    namespace: str | None = None

    def start(self) -> None:
        self.process.start()

    def kill(self) -> None:
        self.process.kill()

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()


@dataclass
class MemberStatus:
    """What a member says of itself. ``leader`` 0: it knows none."""

    member_id: int
    leader: int
    revision: int
    raft_term: int


@dataclass
class Cluster:
    """``url`` is what the driver opens; ``etcdctl`` runs the reference client against all members."""

    members: list[Member]
    certificates: Certificates | None = None
    user: tuple[str, str] | None = None
    _ids: dict[int, Member] = field(default_factory=dict)

    @property
    def endpoints(self) -> list[str]:
        return [member.client for member in self.members]

    @property
    def url(self) -> str:
        files = self.certificates
        query = f"?ca={files.ca}&cert={files.client_cert}&key={files.client_key}" if files else ""
        user = f"{self.user[0]}:{self.user[1].replace(' ', '%20')}@" if self.user else ""
        return f"etcd://{user}{','.join(self.endpoints)}{query}"

    def etcdctl(
        self, *arguments: str, members: Sequence[Member] = (), check: bool = True, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run etcdctl against ``members`` (default all), from the namespace of the first of them."""
        asked = list(members) or self.members
        scheme = "https" if self.certificates else "http"
        command = ["etcdctl", "--endpoints", ",".join(f"{scheme}://{member.client}" for member in asked)]
        if self.certificates:
            files = self.certificates
            command += [
                "--cacert",
                str(files.ca),
                "--cert",
                str(files.client_cert),
                "--key",
                str(files.client_key),
            ]
        if self.user:
            command += ["--user", ":".join(self.user)]
        inside = ["ip", "netns", "exec", asked[0].namespace] if asked[0].namespace else []
        return subprocess.run(
            [*inside, *command, *arguments],
            check=check,
            capture_output=True,
            input=stdin,
            timeout=ETCDCTL_TIMEOUT_S,
        )

    def status(self, member: Member) -> MemberStatus | None:
        """None where the member does not answer within a second."""
        answer = self.etcdctl(
            *("endpoint", "status", "-w", "json", "--command-timeout", "1s", "--dial-timeout", "1s"),
            members=[member],
            check=False,
        )
        if answer.returncode != 0:
            return None
        status = json.loads(answer.stdout)[0]["Status"]
        header = status["header"]
        self._ids[header["member_id"]] = member
        return MemberStatus(
            member_id=header["member_id"],
            leader=status.get("leader", 0),
            revision=header.get("revision", 0),
            raft_term=header.get("raft_term", 0),
        )

    def wait_ready(self, members: Sequence[Member] = ()) -> None:
        """Until each of ``members`` (default all) names the same leader."""
        asked = list(members) or self.members

        def agreed() -> bool:
            statuses = [self.status(member) for member in asked]
            leaders = {status.leader if status else 0 for status in statuses}
            return len(leaders) == 1 and 0 not in leaders

        wait_until(agreed, READY_WITHIN_S, f"a leader known to {[member.name for member in asked]}")

    def leader(self, among: Sequence[Member] = ()) -> Member:
        """The member that leads, by its own word, once one of ``among`` (default all) says so."""
        asked = list(among) or self.members

        def found() -> Member | None:
            for member in asked:
                status = self.status(member)
                if status is not None and status.leader == status.member_id:
                    return member
            return None

        return wait_until(found, READY_WITHIN_S, "a leading member")

    def knows_no_leader(self, member: Member) -> bool:
        """It answers, and says that there is no leader."""
        status = self.status(member)
        return status is not None and status.leader == 0

    def followers(self) -> list[Member]:
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def enable_auth(self) -> None:
        """A user ``root`` with ROOT_PASSWORD; from then on ``url`` and ``etcdctl`` use it."""
        self.etcdctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("auth", "enable")
        self.user = ("root", ROOT_PASSWORD)


@contextmanager
def etcd_cluster(
    directory: Path,
    *,
    members: int = 1,
    certificates: Certificates | None = None,
    election_timeout_ms: int = 1000,
    network: Network | None = None,
    options: Sequence[str] = (),
) -> Iterator[Cluster]:
    """A running cluster that agrees on a leader. ``options``: more of etcd's flags, for every member."""
    addresses = _addresses(members, network)
    peers = ",".join(f"{name}=http://{peer}" for name, _, peer in addresses)
    scheme = "https" if certificates else "http"
    made = []
    for name, client, peer in addresses:
        argv = ["etcd", "--name", name, "--data-dir", str(directory / name), "--logger", "zap"]
        argv += [
            "--listen-client-urls",
            f"{scheme}://{client}",
            "--advertise-client-urls",
            f"{scheme}://{client}",
        ]
        argv += ["--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}"]
        argv += ["--initial-cluster", peers, "--initial-cluster-token", directory.name]
        argv += ["--election-timeout", str(election_timeout_ms)]
        argv += ["--heartbeat-interval", str(max(10, election_timeout_ms // 10)), *options]
        if certificates:
            argv += ["--cert-file", str(certificates.server_cert), "--key-file", str(certificates.server_key)]
            argv += ["--trusted-ca-file", str(certificates.ca), "--client-cert-auth"]
        namespace = network.namespace(name) if network else None
        process = Process(argv, directory / f"{name}.log", namespace=namespace)
        made.append(Member(name, client, process, namespace))
    cluster = Cluster(made, certificates)
    try:
        for member in made:
            member.start()
        cluster.wait_ready()
        yield cluster
    finally:
        for member in made:
            member.kill()


def _addresses(members: int, network: Network | None) -> list[tuple[str, str, str]]:
    """(name, client address, peer address) of each member."""
    names = [f"etcd{number}" for number in range(1, members + 1)]
    if network is None:
        ports = free_ports(2 * members)
        return [
            (name, f"127.0.0.1:{ports[2 * at]}", f"127.0.0.1:{ports[2 * at + 1]}")
            for at, name in enumerate(names)
        ]
    return [(name, f"{network.address(name)}:2379", f"{network.address(name)}:2380") for name in names]
