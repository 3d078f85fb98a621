"""``SortedKeys`` beside the obvious model: a set that is sorted on every question."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.kit import sorted_keys
from atoll.kit.sorted_keys import SortedKeys

_KEYS = st.binary(max_size=2)


@given(
    start=st.sets(_KEYS),
    steps=st.lists(st.tuples(st.booleans(), _KEYS), max_size=60),
    low=_KEYS,
    high=st.none() | _KEYS,
)
def test_behaves_like_a_sorted_set(
    start: set[bytes], steps: list[tuple[bool, bytes]], low: bytes, high: bytes | None
) -> None:
    keys, model = SortedKeys(start), set(start)
    for adds, key in steps:
        if adds:
            keys.add(key)
            model.add(key)
        else:
            keys.discard(key)
            model.discard(key)
        assert (key in keys) == (key in model)
    assert list(keys) == sorted(model)
    assert len(keys) == len(model)
    assert keys.between(low, high) == sorted(k for k in model if k >= low and (high is None or k < high))


def test_ranges_cross_blocks() -> None:
    numbers = range(5 * sorted_keys.BLOCK_KEYS_MAX)
    keys = SortedKeys()
    for number in reversed(numbers):
        keys.add(b"%06d" % number)
    assert list(keys) == [b"%06d" % number for number in numbers]
    assert keys.between(b"001000", b"004000") == [b"%06d" % number for number in range(1000, 4000)]
    for number in numbers:
        if number % 3:
            keys.discard(b"%06d" % number)
    assert keys.between(b"001000", None) == [b"%06d" % n for n in numbers if n % 3 == 0 and n >= 1000]


@given(keys=st.sets(_KEYS), low=_KEYS, high=st.none() | _KEYS)
def test_counting_and_iterating_agree_with_listing(keys: set[bytes], low: bytes, high: bytes | None) -> None:
    ordered = SortedKeys(keys)
    assert ordered.count(low, high) == len(ordered.between(low, high))
    assert list(ordered.iterate(low, high)) == ordered.between(low, high)
