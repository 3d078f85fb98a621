"""A workload's identity as files, for who reads files: proxyless gRPC, and an agent that starts again.

Rule: the folder is 0700, the files 0600, and all of them change in one step; a reader never sees a key with the certificate of
another one for longer than it takes it to look twice. ``identity.json`` has what renewal needs besides, and no key.

gRPC reads ``certificate.pem``, ``key.pem`` and ``roots.pem`` by its file watcher (gRFC A29). ``bundle.json`` is a SPIFFE bundle
map with the roots of all trust domains (gRFC A87), for whoever reads one; gRPC does so behind an experiment only.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code
from atoll.host.sidecar.identity.held import Held
from atoll.host.sidecar.identity.workload import Sink
from atoll.resources.mesh.identity import Issued
from atoll.runtime import disk, loop
from atoll.runtime.clock import Clock
from atoll.wire.x509 import bundle_map, certificates

CERTIFICATE = "certificate.pem"
KEY = "key.pem"
ROOTS = "roots.pem"
BUNDLE = "bundle.json"
IDENTITY = "identity.json"


class CredentialFiles:
    """A ``Sink`` of ``WorkloadIdentity`` that writes to ``folder``."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    async def open(self) -> None:
        disk.make_private_folder(self._folder)

    async def close(self) -> None:
        """The files stay: whoever starts again renews by them."""

    async def hold(self, held: Held) -> bool:
        issued = msgspec.structs.replace(held.issued, bundle=held.bundle)
        domains = {held.bundle.trust_domain: held.bundle.roots, **held.bundle.foreign}
        contents = {
            CERTIFICATE: held.issued.chain.encode(),
            KEY: held.key.encode(),
            ROOTS: held.bundle.roots.encode(),
            BUNDLE: bundle_map.encode(domains),
            IDENTITY: msgspec.json.encode(issued),
        }
        await loop.in_thread(disk.write_private_files, self._folder, contents)
        return True

    def load(self) -> Held | None:
        """What an earlier run left, if it is still in force. Raises INVALID for what cannot be read."""
        try:
            issued = msgspec.json.decode((self._folder / IDENTITY).read_bytes(), type=Issued)
            key = (self._folder / KEY).read_text()
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            text = f"{self._folder / IDENTITY} cannot be read: {error}; remove the folder to begin anew"
            raise AtollError(Code.INVALID, text) from error
        left_s = issued.not_after_s - self._clock.wall_s()
        if left_s <= 0 or certificates.public_key_of(issued.chain) != certificates.public_key_of_private(key):
            return None
        known = issued.bundle.version
        kept = msgspec.structs.replace(issued, ttl_s=left_s)
        return Held(key, kept, issued.bundle, known, known, self._clock.now_s())


class KeptToo:
    """A ``Sink`` whose identity is kept in ``files`` as well, so that an agent that starts again needs no further proof."""

    def __init__(self, sink: Sink, files: CredentialFiles) -> None:
        self._sink = sink
        self._files = files

    async def open(self) -> None:
        await self._files.open()
        await self._sink.open()

    async def close(self) -> None:
        await self._sink.close()

    async def hold(self, held: Held) -> bool:
        await self._files.hold(held)
        return await self._sink.hold(held)
