"""Waiting in tests: on a condition, with a bound; never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02


def wait_until(condition: Callable[[], T | None], within_s: float, what: str) -> T:
    """The first true value of ``condition``. Fails with ``what`` when there is none ``within_s``."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s} s in vain for: {what}")
        time.sleep(POLL_S)
