"""The last known state of what an application follows, in files: what it starts with when no node answers.

Rule: one file for one configuration or service, whole or absent, private to the user; a snapshot that cannot be read or
written is told to the log and is no failure of the application, which lives on what the nodes say.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from atoll.errors import AtollError
from atoll.runtime import disk
from atoll.runtime.logs import Log

T = TypeVar("T")
NAME_CHARS_MAX = 150  # of a file; longer names of services are told apart by their hash


class Snapshots:
    """``folder`` None: nothing is kept."""

    def __init__(self, folder: Path | None, log: Log) -> None:
        self._folder = folder
        self._log = log

    def read(self, kind: type[T], *names: str) -> T | None:
        """What was written under ``names``, or None."""
        if self._folder is None:
            return None
        path = self._path(self._folder, names)
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            self._log.warning("snapshot cannot be read", path=str(path), error=str(error))
            return None

    def write(self, value: msgspec.Struct, *names: str) -> None:
        if self._folder is None:
            return
        try:
            disk.make_private_folder(self._folder)
            disk.write_private_file(self._path(self._folder, names), msgspec.json.encode(value))
        except AtollError as error:
            self._log.warning("snapshot cannot be written", error=error.message)

    def _path(self, folder: Path, names: tuple[str, ...]) -> Path:
        """Every character that a file system may take for something else is escaped."""
        name = "@".join(quote(part, safe="") for part in names)
        if len(name) > NAME_CHARS_MAX:
            name = f"{name[:NAME_CHARS_MAX]}@{hashlib.sha256(name.encode()).hexdigest()}"
        return folder / f"{name}.json"
