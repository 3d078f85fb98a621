"""A thread that does one blocking job for as long as its owner lives, and cannot die in silence.

Rule: the job ends by returning, when its owner asks it to. If it ends by an error, the owner's promise (writes
become durable, leases end in time) is broken while everything looks healthy, so the process is ended instead.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable

from atoll.runtime.abort import abort


class Worker:
    """Runs ``job`` on a daemon thread, at once."""

    def __init__(self, name: str, job: Callable[[], None]) -> None:
        self._name = name
        self._job = job
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait_end(self) -> None:
        """Wait until the job has returned; does nothing on the job's own thread."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        returned = False
        try:
            self._job()
            returned = True
        finally:
            if not returned:
                why = "".join(traceback.format_exception(*sys.exc_info()))
                abort(f"the thread {self._name} failed: {why}")
