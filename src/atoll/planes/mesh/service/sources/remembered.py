"""A source whose last word outlives the node's process: kept in a file of the data folder, and told again at the start.

Rule: the file is written in a thread, whole or not at all, and as seldom as its size asks for; one that cannot be read is
as good as none. What counts when is decided in ``model.remembered``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from atoll.errors import AtollError
from atoll.planes.mesh.model.remembered import Memory
from atoll.planes.mesh.service.sources import Sink, Source
from atoll.resources.mesh.services import MeshService
from atoll.runtime import disk, loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log

FORMAT = 1
SETTLE_S = 30.0  # for instances to come back to a node that started again: several beats
FORGET_S = 300.0
WRITE_EVERY_S_MIN = 0.5
WRITE_SHARE = 20.0  # pause so many times as long as writing took


class _File(msgspec.Struct, frozen=True):
    format: int
    services: tuple[MeshService, ...]


class Remembered:
    """``source`` with a memory at ``path``."""

    def __init__(self, source: Source, path: Path, clock: Clock) -> None:
        self.name = source.name
        self._source = source
        self._path = path
        self._clock = clock
        self._memory = Memory({})
        self._sink: Sink = _nobody
        self._dirty = loop.Event()
        self._log = Log("mesh")

    async def start(self, sink: Sink) -> None:
        self._memory = Memory(await loop.in_thread(self._read))
        self._sink = sink
        await self._source.start(self._hear)
        self._tell(self._memory.remembered())

    async def run(self) -> None:
        await loop.gather(self._source.run(), self._settle(), self._keep())

    def _hear(self, changed: Mapping[str, MeshService | None]) -> None:
        self._tell(self._memory.hear(changed))
        self._dirty.set()

    def _tell(self, changed: Mapping[str, MeshService | None]) -> None:
        if changed:
            self._sink(changed)

    async def _settle(self) -> None:
        await loop.sleep(SETTLE_S)
        self._tell(self._memory.settle())
        await loop.sleep(FORGET_S)
        self._tell(self._memory.forget())

    async def _keep(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            began_s = self._clock.now_s()
            try:
                await loop.in_thread(self._write, self._memory.everything())
            except AtollError as error:
                self._log.warning("the mesh's services are not kept for the next start", why=error.message)
            await loop.sleep(max(WRITE_EVERY_S_MIN, WRITE_SHARE * (self._clock.now_s() - began_s)))

    def _write(self, services: tuple[MeshService, ...]) -> None:
        disk.write_private_file(self._path, msgspec.msgpack.encode(_File(FORMAT, services)))

    def _read(self) -> dict[str, MeshService]:
        try:
            found = msgspec.msgpack.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            self._log.warning("what the mesh's services were before the start is not known", why=str(error))
            return {}
        return {each.host: each for each in found.services}


def _nobody(changed: object) -> None:
    return None
