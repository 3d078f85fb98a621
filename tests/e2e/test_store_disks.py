"""Opening a store on a disk that is read-only or full: refused with the reason, and fine afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.store.sqlite import open_sqlite
from tests.e2e.crash.disks import read_only, small_disk

DISK_BYTES = 1024 * 1024


def _refusal(path: Path) -> AtollError:
    with pytest.raises(AtollError) as caught:
        open_sqlite(path)
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", ["store.db", "new.db"])
def test_a_read_only_folder(tmp_path: Path, name: str) -> None:
    open_sqlite(tmp_path / "store.db").close()
    with read_only(tmp_path):
        refusal = _refusal(tmp_path / name)
        assert (refusal.code, refusal.reason) == (Code.DENIED, Reason.PERMISSION_DENIED)
    open_sqlite(tmp_path / name).close()


def test_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_sqlite(path).close()
    with read_only(path):
        assert _refusal(path).code is Code.DENIED
    open_sqlite(path).close()


@pytest.mark.parametrize("name", ["store.db", "new.db"])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        open_sqlite(disk / "store.db").close()
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(b"b" * DISK_BYTES)
        refusal = _refusal(disk / name)
        assert (refusal.code, refusal.reason) == (Code.EXHAUSTED, Reason.NO_SPACE)
        ballast.unlink()
        open_sqlite(disk / name).close()
