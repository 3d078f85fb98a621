"""Strangers on the machine of a mesh: another uid, and another process of the same one. They get neither a key nor another
service's configuration, from any of a node's and a sidecar's doors.

The other uid is a real one: a process of user ``nobody`` started by setpriv(1).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2

from atoll.runtime import keys
from atoll.wire.x509 import requests
from atoll.wire.xds.messages import DELTA_PATH, SOTW_PATH
from atoll.wire.xds.secrets import STREAM_PATH as SECRETS_PATH
from atoll.wire.xds.secrets import TYPE_URL as SECRET_TYPE
from tests.e2e.atoll import run
from tests.e2e.meshed import Mesh, Workload, mesh

pytestmark = pytest.mark.peers

NOBODY = 65_534
WITHIN_S = 20
CSDS_PATH = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

# argv: unix:PATH or HOST:PORT, path of the request, JSON body (empty: GET). Prints the status and the body, or why it got nothing.
ASK = """
import http.client, socket, sys
where, target, body = sys.argv[1:4]
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(where.removeprefix("unix:"))
try:
    if where.startswith("unix:"):
        connection = Local("localhost")
    else:
        host, port = where.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port))
    try:
        connection.request("POST" if body else "GET", target, body or None)
    except BrokenPipeError:
        pass  # refused before the body had been sent: the answer is there
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())
except OSError as error:
    print(0, type(error).__name__)
"""
# argv: a file. Prints its content, or why not.
READ = """
import sys
try:
    print(200, open(sys.argv[1]).read())
except OSError as error:
    print(0, type(error).__name__)
"""


@pytest.fixture(scope="module")
def as_nobody() -> Callable[..., tuple[int, str]]:
    """Runs a program of Python's own library as the other user: what it printed."""

    def execute(program: str, *arguments: str) -> tuple[int, str]:
        line = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        done = subprocess.run(
            [*line, "/usr/bin/python3", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            cwd="/",
            check=True,
        )
        status, _, text = done.stdout.partition(" ")
        return int(status), text.strip()

    return execute


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that everybody may enter: with a node's socket in it the paths are no guard."""
    with tempfile.TemporaryDirectory(prefix="atoll-public-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@dataclass
class Place:
    """A mesh whose node's socket, at ``socket``, is reached by everybody."""

    mesh: Mesh
    socket: Path

    @property
    def xds(self) -> str:
        return self.mesh.xds


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, public: Path) -> Iterator[Place]:
    """A node without ``--auth``: open to every local user, but for this."""
    socket = public / "mesh.sock"
    with mesh(tmp_path_factory.mktemp("mesh"), "--mesh-socket", str(socket)) as made:
        yield Place(made, socket)


@pytest.fixture(scope="module")
def reviews(running: Place) -> Workload:
    return running.mesh.start("reviews", "--enrol-at", str(running.socket))


Nobody = Callable[..., tuple[int, str]]


def enrolment(service: str, **more: Any) -> str:
    return json.dumps(
        {"service": service, "namespace": "default", "csr": requests.make(keys.new_private_key()), **more}
    )


ENROL = "/v1/mesh/identity/enrol"


def test_another_uid_gets_no_certificate_unless_it_was_mapped_to_that_service(
    running: Place, as_nobody: Nobody
) -> None:
    where = f"unix:{running.socket}"
    status, text = as_nobody(ASK, where, ENROL, enrolment("reviews"))
    assert (status, f"uid {NOBODY} may not be default/reviews" in text) == (403, True), text
    mapped = operate(running, "mesh", "user", "map", str(NOBODY), "default/ratings")
    assert mapped.returncode == 0, mapped.stderr
    status, text = as_nobody(ASK, where, ENROL, enrolment("ratings"))
    assert status == 200, text
    assert json.loads(text)["spiffe_id"] == "spiffe://cluster.local/ns/default/sa/ratings"
    assert as_nobody(ASK, where, ENROL, enrolment("reviews"))[0] == 403


def test_another_uid_orders_nothing_at_the_nodes_socket(running: Place, as_nobody: Nobody) -> None:
    where = f"unix:{running.socket}"
    for target, body in (
        ("/v1/mesh/token", '{"service": "reviews"}'),
        ("/v1/mesh/authority", ""),
        ("/v1/mesh/authority/certificates", ""),
        ("/v1/mesh/authority/renew", "{}"),
        ("/v1/mesh/users", ""),
    ):
        status, text = as_nobody(ASK, where, target, body)
        assert (status, f"uid {NOBODY} asked" in text) == (403, True), (target, text)


def test_another_uid_gets_no_token_from_the_api_of_a_node_that_is_open(
    running: Place, as_nobody: Nobody
) -> None:
    api = running.mesh.node.api.removeprefix("http://")
    assert as_nobody(ASK, api, "/v1/node", "")[0] == 200
    for target, body in (("/v1/mesh/token", '{"service": "reviews"}'), ("/v1/mesh/authority", "")):
        status, text = as_nobody(ASK, api, target, body)
        assert (status, "proven operator" in text) == (403, True), text
    status, text = as_nobody(ASK, api, ENROL, enrolment("reviews"))
    assert (status, "nothing proves who asks" in text) == (403, True), text


def test_another_uid_does_not_even_reach_the_default_socket(tmp_path: Path, as_nobody: Nobody) -> None:
    with mesh(tmp_path) as made:
        socket = made.node.data / "mesh.sock"
        assert socket.exists()
        assert as_nobody(ASK, f"unix:{socket}", ENROL, enrolment("reviews")) == (0, "PermissionError")


def test_another_uid_reaches_neither_a_sidecars_secrets_nor_its_proxy(
    reviews: Workload, as_nobody: Nobody
) -> None:
    for name in ("sds.sock", "admin.sock"):
        assert (reviews.runtime / name).exists()
        assert as_nobody(ASK, f"unix:{reviews.runtime / name}", "/", "") == (0, "PermissionError")


def test_another_process_of_the_same_user_gets_no_key_from_a_sidecar(reviews: Workload) -> None:
    with grpc.insecure_channel(f"unix:{reviews.runtime / 'sds.sock'}") as channel:
        wanted = discovery_pb2.DiscoveryRequest(type_url=SECRET_TYPE, resource_names=["default"])
        assert first(channel, SECRETS_PATH, wanted) is grpc.StatusCode.PERMISSION_DENIED


def test_certificates_in_files_are_nobody_elses(running: Place, public: Path, as_nobody: Nobody) -> None:
    files = certified(running, public, "details")
    for name in ("key.pem", "certificate.pem", "identity.json"):
        assert (files / name).read_text()
        assert as_nobody(READ, str(files / name)) == (0, "PermissionError")


# --------------------------------------------------------------------------------------------- xDS


def certified(running: Place, folder: Path, service: str) -> Path:
    """The folder with a certificate of ``service``."""
    out = folder / service
    done = operate(running, "mesh", "certificate", "--service", service, "--out", str(out), "--once")
    assert done.returncode == 0, done.stderr
    return out


def operate(running: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command at the node's socket."""
    return run(
        *arguments,
        "--data",
        str(running.mesh.node.data),
        environment={"ATOLL_MESH_SOCKET": str(running.socket)},
    )


@contextmanager
def channel_of(running: Place, files: Path | None, roots: Path) -> Iterator[grpc.Channel]:
    pair: Mapping[str, bytes] = {}
    if files is not None:
        pair = {
            "private_key": (files / "key.pem").read_bytes(),
            "certificate_chain": (files / "certificate.pem").read_bytes(),
        }
    credentials = grpc.ssl_channel_credentials((roots / "roots.pem").read_bytes(), **pair)
    with grpc.secure_channel(running.xds, credentials) as channel:
        yield channel


def first(channel: grpc.Channel, path: str, *messages: Any) -> Any:
    """The first answer of a stream as bytes, or the status it ended with."""
    call = channel.stream_stream(path)(
        (message.SerializeToString() for message in messages), timeout=WITHIN_S
    )
    try:
        return next(call)
    except grpc.RpcError as error:
        return error.code()


def asking(node: str) -> list[tuple[str, Any]]:
    """How somebody who says that it is ``node`` asks for configuration: by each form of ADS, and by CSDS."""
    who = base_pb2.Node(id=node)
    return [
        (SOTW_PATH, discovery_pb2.DiscoveryRequest(node=who, type_url=CLUSTER_TYPE)),
        (
            DELTA_PATH,
            discovery_pb2.DeltaDiscoveryRequest(
                node=who, type_url=CLUSTER_TYPE, resource_names_subscribe=["*"]
            ),
        ),
        (CSDS_PATH, csds_pb2.ClientStatusRequest(node=who)),
    ]


def test_a_workload_is_given_its_own_configuration_and_no_other(
    running: Place, reviews: Workload, tmp_path: Path
) -> None:
    ratings = certified(running, tmp_path, "ratings")
    with channel_of(running, ratings, ratings) as channel:
        for path, message in asking("sidecar~ratings.default~1"):
            assert isinstance(first(channel, path, message), bytes), path
        for other in ("sidecar~reviews.default~1", "gateway~reviews.default~1", "sidecar~ratings.other~1"):
            for path, message in asking(other):
                assert first(channel, path, message) is grpc.StatusCode.PERMISSION_DENIED, (path, other)


def test_who_has_no_certificate_is_given_nothing(running: Place, tmp_path: Path) -> None:
    ratings = certified(running, tmp_path, "ratings")
    with channel_of(running, None, ratings) as channel:
        for path, message in asking("sidecar~ratings.default~1"):
            assert first(channel, path, message) is grpc.StatusCode.PERMISSION_DENIED
    with grpc.insecure_channel(running.xds) as channel:
        for path, message in asking("sidecar~ratings.default~1"):
            assert first(channel, path, message) is grpc.StatusCode.UNAVAILABLE


def test_a_join_token_that_was_used_is_worth_nothing(running: Place, tmp_path: Path) -> None:
    made = operate(running, "mesh", "token", "ratings")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()

    def join(service: str, folder: str) -> subprocess.CompletedProcess[str]:
        line = ("mesh", "certificate", "--service", service, "--out", str(tmp_path / folder), "--once")
        return run(*line, "--xds", running.xds, environment={"ATOLL_JOIN_TOKEN": token})

    other = join("reviews", "other")
    assert (other.returncode, "not for default/reviews" in other.stderr) == (5, True), other.stderr
    assert join("ratings", "first").returncode == 0
    again = join("ratings", "again")
    assert (again.returncode, "unknown, used or over" in again.stderr) == (5, True), again.stderr
    assert not (tmp_path / "again" / "key.pem").exists()
    assert join("ratings", "first").returncode == 0, "who is certified already needs no token"


def test_a_sidecar_joins_by_a_token_once_and_starts_again_by_what_it_kept(
    running: Place, tmp_path: Path
) -> None:
    made = operate(running, "mesh", "token", "stock")
    assert made.returncode == 0, made.stderr
    token = tmp_path / "token"
    token.write_text(made.stdout)
    away = ("--keep-identity", str(tmp_path / "kept"), "--enrol-at", str(tmp_path / "no-node-here"))
    first = running.mesh.start("stock", "--join", str(token), *away)
    assert "certified" in first.log()
    first.process.terminate()
    assert first.process.wait() == 0
    again = running.mesh.start("stock", *away)
    assert "certified" not in again.log()
    key = tmp_path / "kept" / "key.pem"
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
