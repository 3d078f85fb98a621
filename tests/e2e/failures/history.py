"""The check of the failure table: the witness's lines, replayed in the order of the store's revisions.

Rule: a write is stale when, at its revision, its token is not that of the queue's head. The store is the judge of
who leads: the smallest create revision among the candidates' keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Write:
    """An accepted leader-only write. ``token``: the create revision that it was written under."""

    revision: int
    token: int
    candidate: str
    heard_s: float


class History:
    """Of one election, whose writes are under ``<name>-writes``."""

    def __init__(self, election: str, lines: Iterable[str]) -> None:
        self.writes: list[Write] = []
        self.stale: list[Write] = []
        self._writes_key = f"{election}-writes"
        self._queue_prefix = f"{election}/"
        self._queue: dict[str, int] = {}
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        broken = [event["failed"] for event in events if "failed" in event]
        if broken:
            raise AssertionError(f"the witness's watch failed: {broken}")
        for event in sorted(
            (each for each in events if "key" in each), key=lambda each: int(each["revision"])
        ):
            self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        key = event["key"]
        if key == self._writes_key:
            self._take_write(event)
        elif key.startswith(self._queue_prefix):
            if event["deleted"]:
                self._queue.pop(key, None)
            else:
                self._queue[key] = event["create_revision"]

    def _take_write(self, event: dict[str, Any]) -> None:
        value = json.loads(event["value"])
        token = int(value["token"].split(".")[1])
        write = Write(event["revision"], token, value["candidate"], event["heard_s"])
        self.writes.append(write)
        if token != min(self._queue.values(), default=0):
            self.stale.append(write)


def read(election: str, file: Path) -> History:
    return History(election, file.read_text().splitlines(keepends=True) if file.exists() else [])
