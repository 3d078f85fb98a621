"""What a gateway shows to callers from outside the mesh: certificates by name, from files of the operator's.

Rule: a key is read here and goes on to Envoy over the secret service, so that a pair that changes is taken up without a
restart, and both halves together: while certificate and key do not belong to each other the last pair goes on.

A ``Gateway`` document names a pair by ``credentialName`` (``certificateRefs``), and the authority of clients' certificates by
the same name with ``-cacert``, as in Istio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.mesh import proxy
from atoll.runtime import disk, loop
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks
from atoll.wire.x509 import certificates
from atoll.wire.xds import secrets
from atoll.wire.xds.secrets import Secret

LOOK_EVERY_S = 5.0
STOP_WITHIN_S = 1.0
_RESERVED = (proxy.IDENTITY_SECRET, proxy.ROOTS_SECRET)


class Credential(msgspec.Struct, frozen=True):
    name: str
    certificate: Path
    key: Path
    authority: Path | None = None


def parse_credential(text: str) -> Credential:
    """``NAME=CERT,KEY[,CA]``. Raises INVALID."""
    name, _, files = text.partition("=")
    paths = [Path(each) for each in files.split(",") if each]
    if not name or len(paths) not in (2, 3):
        raise AtollError(Code.INVALID, f"{text!r} is no credential: write NAME=CERT,KEY or NAME=CERT,KEY,CA")
    if name in _RESERVED:
        raise AtollError(Code.INVALID, f"{name!r} is the workload's own: give the credential another name")
    return Credential(name, paths[0], paths[1], paths[2] if len(paths) == 3 else None)


def read(credentials: Sequence[Credential]) -> Mapping[str, Secret]:
    """By name. Raises INVALID for what cannot be read or does not belong together."""
    found = {}
    for each in credentials:
        chain, key = _text(each.certificate), _text(each.key)
        if not certificates.is_pair(chain, key):
            text = f"{each.key} is not the key of {each.certificate}: give the pair of {each.name!r}"
            raise AtollError(Code.INVALID, text)
        found[each.name] = secrets.certificate(each.name, chain, key)
        if each.authority is not None:
            name = each.name + proxy.AUTHORITY_SUFFIX
            found[name] = secrets.authority(name, _text(each.authority))
    return found


class NamedCredentials:
    """``serve`` is told all of them, first by ``open`` and then whenever one has changed."""

    def __init__(
        self,
        credentials: Sequence[Credential],
        serve: Callable[[Mapping[str, Secret]], None],
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._credentials = credentials
        self._serve = serve
        self._look_every_s = look_every_s
        self._served: Mapping[str, Secret] = {}
        self._log = Log("credentials")
        self._tasks = Tasks(self._log, self._failed)

    async def open(self) -> None:
        """Raises INVALID."""
        self._take(await loop.in_thread(read, self._credentials))
        if self._credentials:
            self._tasks.start("credentials", self._follow())

    async def close(self) -> None:
        await self._tasks.stop(STOP_WITHIN_S)

    async def _follow(self) -> None:
        while True:
            await loop.sleep(self._look_every_s)
            try:
                self._take(await loop.in_thread(read, self._credentials))
            except AtollError as error:
                self._log.warning("a credential cannot be read; the last one goes on", why=error.message)

    def _take(self, found: Mapping[str, Secret]) -> None:
        if found != self._served:
            self._served = found
            self._serve(found)

    def _failed(self, name: str, error: BaseException) -> None:
        self._log.error("credentials are not followed any more", error, task=name)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise disk.explain(error, f"read {file}") from error
