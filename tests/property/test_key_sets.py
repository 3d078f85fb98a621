"""Sets of keys against a dumb model: every key of a small world, one by one."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from atoll.access.ranges import KeySet, interval

# All keys up to two bytes over three letters; the letter after the last one makes every end expressible.
LETTERS = (b"\0", b"a", b"b")
KEYS = sorted({b"".join(parts) for size in (0, 1, 2) for parts in itertools.product(LETTERS, repeat=size)})
ENDS = [b"", *KEYS, b"c"]

pairs = st.tuples(st.sampled_from(KEYS), st.sampled_from(ENDS))


def inside(key: bytes, begin: bytes, end: bytes) -> bool:
    if not end:
        return key == begin
    return key >= begin and (end == b"\0" or key < end)


@given(st.lists(pairs, max_size=5), pairs)
def test_a_range_is_covered_when_each_of_its_keys_is(
    granted: list[tuple[bytes, bytes]], wanted: tuple[bytes, bytes]
) -> None:
    key, end = wanted
    covers = KeySet(interval(*one) for one in granted).covers(key, end)
    world = [*KEYS, *(key + b"\0" for key in KEYS), b"zz"]  # with points between the keys, and one beyond all
    asked = [one for one in world if inside(one, key, end)] or [key]
    dumb = all(any(inside(one, *grant) for grant in granted) for one in asked)
    if end and end != b"\0" and end < key:
        assert not covers
    else:
        assert covers == dumb
