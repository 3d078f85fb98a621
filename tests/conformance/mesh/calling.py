"""One sidecar's outbound side as it was compiled, without a control plane: everything stands in its bootstrap.

Rule: a test says what services and documents there are, and what comes of a real request through a real Envoy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, World, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from tests.conformance.mesh import static_form
from tests.conformance.mesh.rig import Answer, Request, http_requests
from tests.conformance.mesh.workloads import Authority, SecretService, spiffe
from tests.peers.envoy import Admin, Envoy

DOMAIN = "default.svc.cluster.local"
QUIET = Choices(access_log="", connect_timeout_s=0.5)


def service(
    name: str, *endpoints: Endpoint, port: int = 80, protocol: Protocol = Protocol.HTTP
) -> MeshService:
    return MeshService(
        f"{name}.{DOMAIN}", name, "default", ports=(Port(port, protocol),), endpoints=endpoints
    )


def at(port: int, version: str = "", **more: Any) -> Endpoint:
    return Endpoint("127.0.0.1", port, labels={"version": version} if version else {}, **more)


@dataclasses.dataclass
class Sidecar:
    client: Client
    admin: Admin
    problems: tuple[str, ...]

    def ask(self, host: str, path: str = "/", count: int = 1, **more: Any) -> list[Answer]:
        return http_requests("127.0.0.1", self.client.http_port, Request(host, path, **more), count)

    def once(
        self, host: str, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> Answer:
        return self.ask(host, path, headers=headers or {}, method=method)[0]


def known(
    services: Iterable[MeshService], documents: Iterable[Document[Any]] = (), choices: Choices = QUIET
) -> World:
    return world_of({one.host: one for one in services}, choices, Policies(documents))


@contextmanager
def sidecar(
    folder: Path, client: Client, world: World, authority: Authority | None = None
) -> Iterator[Sidecar]:
    compiled = compile(world, client, Memo())
    with ExitStack() as opened:
        authority = authority or Authority()
        identity = authority.issue(spiffe(client.service))
        secrets = opened.enter_context(SecretService(authority, identity))
        envoy = Envoy(folder, static_form.as_json(static_form.bootstrap(compiled.snapshot, secrets.path)))
        opened.callback(envoy.stop)
        yield Sidecar(client, envoy.start().admin, compiled.problems)
