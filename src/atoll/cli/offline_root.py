"""A root of the mesh whose key is in a folder of an operator's, and in no node.

Rule: the key is made here, 0600 in a 0700 folder, is read when something is signed, and is written nowhere else. Keep the folder
on a medium that is away when nothing is to be signed.
"""

from __future__ import annotations

from pathlib import Path

from atoll.errors import AtollError, Code
from atoll.runtime import disk, keys
from atoll.runtime.clock import Clock
from atoll.wire.x509 import authorities
from atoll.wire.x509.authorities import Stamp
from atoll.wire.x509.certificates import Issuer

CERTIFICATE_FILE = "root.pem"
KEY_FILE = "root.key"


class OfflineRoot:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self.certificate_file = folder / CERTIFICATE_FILE
        self._folder = folder
        self._clock = clock

    def make(self, trust_domain: str) -> str:
        """Its certificate (PEM); made now if there is none. Raises as the disk says."""
        if self.certificate_file.exists():
            return self._issuer().certificate
        disk.make_private_folder(self._folder)
        made = authorities.root(trust_domain, keys.new_private_key(), keys.new_serial(), self._clock.wall_s())
        disk.write_private_file(self._folder / KEY_FILE, made.key.encode())
        disk.write_private_file(self.certificate_file, made.certificate.encode())
        return made.certificate

    def sign(self, request: str, node: str) -> str:
        """The intermediate's certificate for a node. Raises INVALID."""
        stamp = Stamp(keys.new_serial(), self._clock.wall_s())
        return authorities.intermediate(self._issuer(), request, node, stamp)

    def _issuer(self) -> Issuer:
        try:
            return Issuer(self.certificate_file.read_text(), (self._folder / KEY_FILE).read_text())
        except OSError as error:
            text = (
                f"{self._folder} has no root of the mesh ({error.strerror}); make one by `atoll mesh ca init`"
            )
            raise AtollError(Code.INVALID, text) from error
