"""A set of byte strings that is always in order, in pure Python.

Rule: keys live in blocks of bounded length, so that an insertion moves at most one block, never the whole set
(a flat list costs O(n) a key: 0.4 ms at a million keys). The first key of every block is kept in a list of its
own, and bisection over that list finds the block.

Doubt: a B+ tree in C would be five times faster; ranges of the store are far from that being their bottleneck.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

BLOCK_KEYS_MAX = 1024


class SortedKeys:
    """Distinct byte strings in ascending order."""

    __slots__ = ("_blocks", "_firsts", "_size")

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        ordered = sorted(set(keys))
        step = BLOCK_KEYS_MAX // 2
        self._blocks = [ordered[i : i + step] for i in range(0, len(ordered), step)]
        self._firsts = [block[0] for block in self._blocks]
        self._size = len(ordered)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: bytes) -> bool:
        if not self._blocks:
            return False
        block = self._blocks[self._block_of(key)]
        i = bisect_left(block, key)
        return i < len(block) and block[i] == key

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            yield from block

    def add(self, key: bytes) -> None:
        """Insert ``key``; nothing happens if it is there."""
        if not self._blocks:
            self._blocks.append([key])
            self._firsts.append(key)
            self._size = 1
            return
        position = self._block_of(key)
        block = self._blocks[position]
        i = bisect_left(block, key)
        if i < len(block) and block[i] == key:
            return
        block.insert(i, key)
        self._size += 1
        if i == 0:
            self._firsts[position] = key
        if len(block) > BLOCK_KEYS_MAX:
            self._split(position)

    def discard(self, key: bytes) -> None:
        """Remove ``key``; nothing happens if it is not there."""
        if not self._blocks:
            return
        position = self._block_of(key)
        block = self._blocks[position]
        i = bisect_left(block, key)
        if i == len(block) or block[i] != key:
            return
        del block[i]
        self._size -= 1
        if not block:
            del self._blocks[position]
            del self._firsts[position]
        elif i == 0:
            self._firsts[position] = block[0]

    def between(self, start: bytes, end: bytes | None) -> list[bytes]:
        """The keys in ``[start, end)``; ``end`` None: all keys from ``start`` on."""
        keys: list[bytes] = []
        for block, low, high in self._spans(start, end):
            keys += block[low:high]
        return keys

    def iterate(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """As ``between``, one by one: what is not asked for costs nothing. The set must not change meanwhile."""
        for block, low, high in self._spans(start, end):
            yield from block[low:high]

    def count(self, start: bytes, end: bytes | None) -> int:
        """The number of keys in ``[start, end)``, in time proportional to the number of blocks."""
        return sum(high - low for _, low, high in self._spans(start, end))

    def _spans(self, start: bytes, end: bytes | None) -> Iterator[tuple[list[bytes], int, int]]:
        """The blocks that ``[start, end)`` touches, and which part of each."""
        if not self._blocks or (end is not None and end <= start):
            return
        first = self._block_of(start)
        last = len(self._blocks) - 1 if end is None else max(bisect_left(self._firsts, end) - 1, first)
        for position in range(first, last + 1):
            block = self._blocks[position]
            low = bisect_left(block, start) if position == first else 0
            high = bisect_left(block, end) if end is not None and position == last else len(block)
            yield block, low, high

    def _block_of(self, key: bytes) -> int:
        return max(bisect_right(self._firsts, key) - 1, 0)

    def _split(self, position: int) -> None:
        block = self._blocks[position]
        half = len(block) // 2
        self._blocks[position : position + 1] = [block[:half], block[half:]]
        self._firsts.insert(position + 1, block[half])
