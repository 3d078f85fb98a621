"""The runtime folder of one sidecar: where its sockets and files are, and which sidecars of this machine there are.

Rule: the folder is 0700 and is gone when the sidecar is; what is in it is named here and nowhere else. ``sidecar.json`` is
written last, so that whoever finds it finds the rest. Folders of sidecars that were killed are removed by the next one of
the same user that starts.

The doubt: a process number that was given to another program makes a dead sidecar look alive until that program ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code
from atoll.runtime import disk

SOCKET_PATH_BYTES_MAX = 107  # unix(7): 108 with the final zero
ABOUT_FILE = "sidecar.json"
_LONGEST_NAME = "hot-restart-99_parent_99"


class About(msgspec.Struct, frozen=True):
    """One running sidecar, for commands on the same machine. ``node``: its ``node.id``."""

    pid: int
    node: str
    service: str
    namespace: str
    kind: str
    envoy: str = ""
    epoch: int = 0


class Folder:
    """Paths inside ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.admin_socket = path / "admin.sock"
        self.sds_socket = path / "sds.sock"
        self.http_socket = path / "http.sock"
        self.app_socket = path / "app.sock"
        self.bootstrap = path / "bootstrap.json"
        self.base_id_file = path / "base-id"

    def hot_restart(self, run: int) -> Path:
        """Where the epochs that began with ``run`` find each other."""
        return self.path / f"hot-restart-{run}"

    def make(self) -> None:
        """Raises INVALID where the path is too long for the sockets in it, and as the disk says."""
        longest = len(os.fsencode(self.path / _LONGEST_NAME))
        if longest > SOCKET_PATH_BYTES_MAX:
            text = (
                f"the runtime folder {self.path} is too long for Unix sockets in it ({longest} bytes, at most"
            )
            raise AtollError(
                Code.INVALID, f"{text} {SOCKET_PATH_BYTES_MAX}); give a shorter one with --runtime DIR"
            )
        disk.make_private_folder(self.path)

    def forget_shared_memory(self) -> None:
        """Envoy leaves it behind when it ends."""
        base_id = self.base_id()
        if base_id is not None:
            Path(f"/dev/shm/envoy_shared_memory_{base_id}0").unlink(missing_ok=True)
            self.base_id_file.unlink(missing_ok=True)

    def write_about(self, about: About) -> None:
        disk.write_private_file(self.path / ABOUT_FILE, msgspec.json.encode(about))

    def about(self) -> About | None:
        """What runs here; None: nothing does, or not yet."""
        try:
            return msgspec.json.decode((self.path / ABOUT_FILE).read_bytes(), type=About)
        except (OSError, msgspec.MsgspecError):
            return None

    def base_id(self) -> int | None:
        """What the first Envoy of those that take over from one another chose; None: it has not yet."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.base_id_file.read_text())
        return None

    def remove(self) -> None:
        self.forget_shared_memory()
        shutil.rmtree(self.path, ignore_errors=True)


def root() -> Path:
    """Where runtime folders are: a folder of this user's that the system empties at boot."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "atoll" if given else Path(tempfile.gettempdir()) / f"atoll-{os.geteuid()}"


def fresh(service: str) -> Folder:
    """The folder for a sidecar of this process. What dead ones left is removed."""
    place = root()
    disk.make_private_folder(place)
    _check_owner(place)
    for about, folder in every():
        if not _is_alive(about.pid):
            folder.remove()
    return Folder(place / f"{service[:24]}-{os.getpid()}")


def every() -> list[tuple[About, Folder]]:
    """Sidecars of this user, by folder."""
    found = (Folder(path.parent) for path in sorted(root().glob(f"*/{ABOUT_FILE}")))
    return [(about, folder) for folder in found if (about := folder.about()) is not None]


def _check_owner(place: Path) -> None:
    """A folder in a place that everybody may write to must be ours, or its owner reads our sockets."""
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        text = f"{place} belongs to another user; remove it, or give a folder of your own with --runtime DIR"
        raise AtollError(Code.DENIED, text)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
