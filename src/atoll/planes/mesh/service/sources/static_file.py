"""Services from a YAML file, for what no registry knows: the file is read again when it changes.

Rule: a file that cannot be read, or in which anything is wrong, changes nothing: what it said last stands, and the log
says where it is wrong. One that is wrong at the start keeps the node from starting.

    services:
    - name: ledger
      ports: [{number: 80, protocol: http}]
      endpoints: [{address: 10.0.0.5, port: 8080, labels: {version: v1}, locality: {zone: z1}}]
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from atoll.errors import AtollError, Code
from atoll.planes.mesh.service.sources import Sink
from atoll.resources.mesh.services import PORT_OF_SERVICES, Endpoint, MeshService, Port, host_of
from atoll.runtime import loop
from atoll.runtime.logs import Log

SOURCE = "file"
LOOK_EVERY_S = 1.0
FILE_BYTES_MAX = 16 * 1024 * 1024


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    namespace: str = "default"
    ports: tuple[Port, ...] = (Port(PORT_OF_SERVICES),)
    endpoints: tuple[Endpoint, ...] = ()
    addresses: tuple[str, ...] = ()
    external: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    services: tuple[_Entry, ...] = ()


class StaticFile:
    name = SOURCE

    def __init__(self, path: Path, domain: str, look_every_s: float = LOOK_EVERY_S) -> None:
        self.complaints = 0
        self._look_every_s = look_every_s
        self._path = path
        self._domain = domain
        self._read: bytes | None = None  # what was made something of, or was found wrong
        self._told: dict[str, MeshService] = {}
        self._sink: Sink | None = None
        self._log = Log("mesh")

    async def start(self, sink: Sink) -> None:
        """Raises INVALID for a file that cannot be read."""
        self._sink = sink
        self._tell(await loop.in_thread(self._bytes))

    async def run(self) -> None:
        while True:
            await loop.sleep(self._look_every_s)
            try:
                self._tell(await loop.in_thread(self._bytes))
            except AtollError as error:
                self.complaints += 1
                self._log.error("the file of services is not followed", why=error.message)

    def _bytes(self) -> bytes:
        try:
            if self._path.stat().st_size > FILE_BYTES_MAX:
                raise self._wrong(f"is larger than {FILE_BYTES_MAX} bytes")
            return self._path.read_bytes()
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from error

    def _tell(self, data: bytes) -> None:
        if data == self._read:
            return
        self._read = data
        found = {each.host: each for each in self._services(data)}
        changed: dict[str, MeshService | None] = dict.fromkeys(
            host for host in self._told if host not in found
        )
        changed.update({host: each for host, each in found.items() if self._told.get(host) != each})
        self._told = found
        if changed and self._sink is not None:
            self._sink(changed)

    def _services(self, data: bytes) -> list[MeshService]:
        try:
            entries = msgspec.convert(yaml.safe_load(data) or {}, _File).services
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise self._wrong(f"is wrong: {' '.join(str(error).split())}") from error
        return [self._service(entry) for entry in entries]

    def _service(self, entry: _Entry) -> MeshService:
        return MeshService(
            host=host_of(entry.name, entry.namespace, self._domain),
            name=entry.name,
            namespace=entry.namespace,
            ports=entry.ports,
            endpoints=entry.endpoints,
            addresses=entry.addresses,
            external=entry.external,
            source=SOURCE,
        )

    def _wrong(self, why: str) -> AtollError:
        return AtollError(Code.INVALID, f"the file of services {self._path} {why}")
