"""What this node signs with: an intermediate of its own, whose key never leaves its data folder.

Rule: the node makes the key (0600, in a 0700 folder) and asks; who has the root's key signs. That is the node itself where the
root is kept in the store, and otherwise an operator with ``atoll mesh ca sign``, for whom the request waits in the store. An
intermediate is exchanged when half of its life is over, when the root that signs is another one, and when its key was lost;
until the new one is there the old one goes on.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_decisions as decisions
from atoll.planes.mesh.model.authority_decisions import Decided
from atoll.planes.mesh.model.authority_view import AuthorityView
from atoll.planes.mesh.service.identity.records import Records
from atoll.resources.actor import Actor
from atoll.resources.mesh.authority import Intermediate, Root, Stage
from atoll.runtime import disk, keys
from atoll.runtime.clock import Clock
from atoll.wire.x509 import authorities, certificates, requests
from atoll.wire.x509.authorities import Stamp
from atoll.wire.x509.certificates import Issuer

FOLDER = "mesh"
KEY_FILE = "intermediate.key"
_OWN = Actor(via="node")


class NodeIntermediate:
    """``node``: this node's id. ``prepare`` once, then ``keep`` whenever something may have changed."""

    def __init__(self, records: Records, node: str, data: Path, clock: Clock) -> None:
        self._records = records
        self._node = node
        self._folder = data / FOLDER
        self._clock = clock
        self._key = ""

    def prepare(self) -> None:
        """Read the key, or make one. Raises what the file system says."""
        disk.make_private_folder(self._folder)
        path = self._folder / KEY_FILE
        with contextlib.suppress(FileNotFoundError):
            self._key = path.read_text()
        if not self._key:
            self._key = keys.new_private_key()
            disk.write_private_file(path, self._key.encode())
        requests.private_key(self._key)

    def issuer(self) -> Issuer:
        """Raises UNAVAILABLE while this node cannot sign."""
        found = self._records.view.intermediate(self._node)
        if found is not None and self._serves(found):
            return Issuer(found.certificate, self._key)
        text = (
            "this node cannot sign yet: its intermediate waits for the offline root; run `atoll mesh ca sign "
            "--offline-root DIR` where the root is"
        )
        raise AtollError(Code.UNAVAILABLE, text, retry_after_s=5.0)

    def root(self) -> str:
        """The fingerprint of the root that this node's signatures stand under."""
        found = self._records.view.intermediate(self._node)
        return "" if found is None else found.root

    async def keep(self) -> None:
        """Sign, or ask for, what this node needs now. Raises what the store says."""
        if self._due():
            await self._records.commit(_OWN, self._decide)

    def _due(self) -> bool:
        roots = self._records.view.roots
        signing = None if roots is None else roots.at(Stage.SIGNING)
        if signing is None:
            return False
        found = self._records.view.intermediate(self._node)
        if found is None or not self._is_of_my_key(found):
            return True
        if found.root != signing.fingerprint or self._is_half_over(found):
            return bool(signing.key) or not found.request
        return False

    def _decide(self, view: AuthorityView) -> Decided:
        if not self._due():
            return Decided()
        signing = None if view.roots is None else view.roots.at(Stage.SIGNING)
        before = view.intermediate(self._node)
        kept = before is not None and self._is_of_my_key(before)
        request = requests.make(self._key, common_name=self._node)
        after = Intermediate(node=self._node, request=request)
        if before is not None and kept:  # goes on until the new one is there
            after = msgspec.structs.replace(before, request=request)
        if signing is not None and signing.key:
            after = signed(after, signing, self._clock.wall_s())
        return decisions.put_intermediate(view, after)

    def _serves(self, found: Intermediate) -> bool:
        if not found.certificate or found.not_after_s <= self._clock.wall_s():
            return False
        roots = self._records.view.roots
        return roots is not None and roots.root(found.root) is not None and self._is_of_my_key(found)

    def _is_of_my_key(self, found: Intermediate) -> bool:
        mine = certificates.public_key_of_private(self._key)
        if found.certificate:
            return certificates.public_key_of(found.certificate) == mine
        return requests.public_key_of(found.request) == mine

    def _is_half_over(self, found: Intermediate) -> bool:
        if not found.certificate:
            return False
        facts = certificates.read(found.certificate)
        return self._clock.wall_s() > (facts.not_before_s + facts.not_after_s) / 2


def signed(waiting: Intermediate, root: Root, now_s: float) -> Intermediate:
    """``waiting`` with the root's signature. Raises INVALID."""
    by = Issuer(root.certificate, root.key)
    certificate = authorities.intermediate(by, waiting.request, waiting.node, Stamp(keys.new_serial(), now_s))
    ends_s = certificates.read(certificate).not_after_s
    return msgspec.structs.replace(
        waiting, certificate=certificate, request="", root=root.fingerprint, not_after_s=ends_s
    )
