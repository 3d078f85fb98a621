"""A node's own files: private folders, files that are whole or absent, and how much room is left.

Rule: folders are 0700 and files 0600 whatever the umask says, and a file is replaced in one step (written beside,
fsync, rename, fsync of the folder: rename(2), fsync(2)), so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from atoll.errors import AtollError, Code, Reason

FOLDER_MODE = 0o700
FILE_MODE = 0o600
DATA_LINK = "..data"


def default_data_folder() -> Path:
    """The platform's folder for a user's data, as the XDG base directory specification and Apple's guide say."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "atoll"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "atoll"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "atoll"


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` and its missing parents; ours is 0700 afterwards. Raises INVALID, DENIED or EXHAUSTED."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise explain(error, f"cannot use the folder {folder}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise AtollError(Code.DENIED, f"the folder {folder} cannot be written; give another with --data DIR")


def write_private_file(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, durable when this returns. Raises as ``explain`` says."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise explain(error, f"cannot write {path}") from error


def write_private_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace several files of ``folder`` in one step: each name is a link into a folder behind ``..data``, and that link is
    what is exchanged, so that whoever reads one file and then another sees at most one exchange in between (the way in which
    Kubernetes mounts secrets). Raises as ``explain`` says.
    """
    make_private_folder(folder)
    current = folder / DATA_LINK
    try:
        before = current.readlink().name if current.is_symlink() else ""
        fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
        for name, content in contents.items():
            write_private_file(fresh / name, content)
        _exchange_link(current, fresh.name)
        for name in contents:
            _exchange_link(folder / name, f"{DATA_LINK}/{name}")
        _sync_folder(folder)
    except OSError as error:
        raise explain(error, f"cannot write the files of {folder}") from error
    for old in folder.glob("..*"):
        if old.is_dir() and not old.is_symlink() and old.name not in (fresh.name, before):
            shutil.rmtree(old, ignore_errors=True)  # the one before stays: somebody may be reading it


def _exchange_link(link: Path, target: str) -> None:
    if link.is_symlink() and str(link.readlink()) == target:
        return
    beside = link.with_name(f".{link.name.lstrip('.')}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)


def free_bytes(folder: Path) -> int:
    """Room for an unprivileged writer on the file system of ``folder``, in bytes (statvfs(3))."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def explain(error: OSError, what: str) -> AtollError:
    """The ``AtollError`` for an error of the file system: DENIED, EXHAUSTED, NOT_FOUND, or INVALID for the rest."""
    text = f"{what}: {error.strerror or error}"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AtollError(Code.EXHAUSTED, text, reason=Reason.NO_SPACE)
    if isinstance(error, FileNotFoundError):
        return AtollError(Code.NOT_FOUND, text)
    return AtollError(Code.INVALID, text)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
