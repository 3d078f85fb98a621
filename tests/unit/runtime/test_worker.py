"""A worker's end: by returning it is quiet, by an error it takes the process with it."""

from __future__ import annotations

import subprocess
import sys
import threading

from atoll.runtime import abort
from atoll.runtime.worker import Worker

DIES = """
from atoll.runtime.worker import Worker
Worker("journal", lambda: 1 // 0).wait_end()
print("still here")
"""


def test_a_job_that_fails_ends_the_process_and_says_why() -> None:
    ended = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, timeout=30)
    assert ended.returncode == abort.EXIT_CODE
    assert "still here" not in ended.stdout
    assert "ZeroDivisionError" in ended.stderr
    assert "journal" in ended.stderr


def test_a_job_runs_until_it_is_asked_to_return() -> None:
    asked, ran = threading.Event(), threading.Event()

    def job() -> None:
        ran.set()
        asked.wait(30)

    worker = Worker("job", job)
    assert ran.wait(30)
    asked.set()
    worker.wait_end()
