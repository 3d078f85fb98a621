"""Letting users in, on a real node: over TLS on the Nacos port, over a restart, and without a secret in what it prints."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import grpc
import pytest

from atoll.planes.registry.service.signing_keys import KEY
from tests.e2e import atoll
from tests.peers.certificates import Certificates, make_certificates

pytestmark = pytest.mark.peers


class Nacos:
    """A client of the Nacos HTTP API that checks the node's certificate."""

    def __init__(self, node: atoll.Node, certificates: Certificates) -> None:
        self.node = node
        self._context = ssl.create_default_context(cafile=str(certificates.ca))

    def ask(self, verb: str, path: str, **fields: str) -> str:
        body = urlencode(fields)
        target = f"https://{self.node.nacos}/nacos{path}"
        request = urllib.request.Request(target if verb != "GET" else f"{target}?{body}", method=verb)
        request.data = None if verb == "GET" else body.encode()
        with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
            return str(answer.read().decode())

    def status(self, verb: str, path: str, **fields: str) -> int:
        try:
            self.ask(verb, path, **fields)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200

    def login(self, name: str, password: str) -> str:
        return str(
            json.loads(self.ask("POST", "/v1/auth/login", username=name, password=password))["accessToken"]
        )


def signing_keys(node: atoll.Node) -> list[str]:
    """As they lie in the store's file."""
    with contextlib.closing(sqlite3.connect(node.data / "store.db")) as connection:
        rows = connection.execute("SELECT value FROM history WHERE key = ?", (KEY,)).fetchall()
    return [key["secret"] for (value,) in rows for key in json.loads(value)["keys"]]


def test_over_tls_and_a_restart_and_no_secret_is_printed(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "tls")
    flags = ["--auth", "--log-level", "debug"]
    flags += ["--tls-certificate", str(certificates.server_cert), "--tls-key", str(certificates.server_key)]
    node = atoll.Node(tmp_path, *flags).start()
    printed = ""
    try:
        nacos = Nacos(node, certificates)
        made = json.loads(nacos.ask("POST", "/v1/auth/users/admin"))
        assert nacos.status("POST", "/v1/auth/users/admin") == 409
        token = nacos.login("nacos", made["password"])
        item = {"dataId": "d", "group": "G"}
        assert nacos.status("POST", "/v1/cs/configs", **item, content="c") == 403
        assert nacos.ask("POST", "/v1/cs/configs", **item, content="c", accessToken=token) == "true"
        assert nacos.status("GET", "/v1/cs/configs", **item) == 403
        assert nacos.status("POST", "/v1/auth/login", username="nacos", password="not this one") == 403
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://{node.nacos}/nacos/v1/console/health/liveness", timeout=30)
        with grpc_channel(node, certificates) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
        secrets = [made["password"], token, "not this one", *signing_keys(node)]
        secrets += [(node.data / name).read_text().strip() for name in ("api-token", "root-password")]
        printed = node.text()
        node.process.terminate()
        node.process.wait()
        node.start()
        assert nacos.ask("GET", "/v1/cs/configs", **item, accessToken=token) == "c"
        printed += node.text()
        assert len(secrets) == 6
        assert len(base64.b64decode(secrets[3])) == 48
        assert [secret for secret in secrets if secret in printed] == []
    finally:
        node.process.kill()


def grpc_channel(node: atoll.Node, certificates: Certificates) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(Path(certificates.ca).read_bytes())
    return grpc.secure_channel(node.nacos, credentials)


def test_two_nodes_have_two_keys(tmp_path: Path) -> None:
    """There is no default key that a forger could know."""
    keys = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        node = atoll.Node(tmp_path / name, "--auth").start()
        keys += signing_keys(node)
        node.process.kill()
    assert len(set(keys)) == 2


def test_what_users_did_is_checked_from_the_command_line(tmp_path: Path) -> None:
    node = atoll.Node(tmp_path, "--auth").start()
    try:
        password = tmp_path / "ann.password"
        password.write_text("a long one\n")
        made = node.run("user", "create", "ann", "--new-password-file", str(password))
        assert made.returncode == 0, made.stderr
        listed = node.run("audit", "list", "--json")
        assert "user.create" in listed.stdout
        verified = node.run("audit", "verify")
        assert verified.returncode == 0, verified.stderr
    finally:
        node.process.kill()
