"""Disks for stores to fail on: small ones, such that cannot be written, such that lose what is synced."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of a few megabytes (needs root)."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """The folder or file at ``path``, not writable, not even by root (which this needs)."""
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def build_fail_sync(folder: Path) -> Path:
    """The library that makes fsync fail (``fail_sync.c``), compiled into ``folder``."""
    library = folder / "fail_sync.so"
    source = Path(__file__).with_name("fail_sync.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True)
    return library
