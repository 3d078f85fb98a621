"""The disk's own speed: how long a small append with fdatasync takes, the floor under every durable write.

Rule: measured in the same folder and in the same minute as the stores, since a shared disk's speed wanders.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

APPEND_BYTES = 4096  # a page: what a store's log writes at least


def fsync_p50_s(folder: Path, count: int = 300) -> float:
    """The median time of an append and fdatasync, in seconds."""
    took_s = []
    file = folder / "fsync-probe"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(count):
            start_s = time.perf_counter()
            os.write(descriptor, bytes(APPEND_BYTES))
            os.fdatasync(descriptor)
            took_s.append(time.perf_counter() - start_s)
    finally:
        os.close(descriptor)
        file.unlink()
    return statistics.median(took_s)
