"""Sets of byte-string keys as sorted, disjoint intervals, for permissions.

One rule: an interval is ``(begin, end)``, half open, ``end`` None meaning "no end"; ``None`` is the only infinity.
The semantics are those of etcd 3.4's range permissions, read off the real server: two permissions that touch count
as one, a range request needs every key of its range covered, and a permission whose end is not above its key
covers nothing.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

Interval = tuple[bytes, bytes | None]


def interval(key: bytes, end: bytes) -> Interval:
    """The interval that etcd writes as ``key`` and ``range_end``."""
    if not end:
        return key, key + b"\0"
    return key, None if end == b"\0" else end


class KeySet:
    """A union of intervals; asking costs one binary search."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        merged: list[Interval] = []
        for begin, end in sorted(intervals, key=lambda found: found[0]):
            if end is not None and end <= begin:
                continue
            if merged and (merged[-1][1] is None or begin <= merged[-1][1]):
                merged[-1] = merged[-1][0], _later(merged[-1][1], end)
            else:
                merged.append((begin, end))
        self._begins = [begin for begin, _ in merged]
        self._ends = [end for _, end in merged]

    def covers(self, key: bytes, end: bytes = b"") -> bool:
        """Whether every key of the range is in the set. An empty range needs its first key covered; a range
        that runs backwards is covered by nothing."""
        wanted_begin, wanted_end = interval(key, end)
        at = bisect.bisect_right(self._begins, wanted_begin) - 1
        if at < 0:
            return False
        have_end = self._ends[at]
        if have_end is None:
            return wanted_end is None or wanted_end >= wanted_begin
        return wanted_end is not None and wanted_begin <= wanted_end <= have_end and wanted_begin < have_end


def _later(one: bytes | None, other: bytes | None) -> bytes | None:
    return None if one is None or other is None else max(one, other)
