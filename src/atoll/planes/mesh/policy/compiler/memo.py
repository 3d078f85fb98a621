"""What compiling remembers: pieces by the identity of the objects that they were made of.

Rule: a piece is used again only while its inputs are the *very objects* that it was made of; comparing contents would cost
as much as compiling. The memo holds its inputs, so that an address is never somebody else's.

A key keeps a few variants, because two worlds are alive at once while a change of policy is tried on some clients. Nothing
depends on what is remembered but the time that compiling takes: an empty memo gives the same snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar, cast

S = TypeVar("S")
T = TypeVar("T")

_KEYS_MAX = 200_000  # a piece each of 1,000 services for 50 namespaces, four times over
_VARIANTS_MAX = 3  # of one key: the stable world, the one that is tried, and the one before

_FOLLOWED_MAX = 2_000  # sets of targets: about one a scope and locality


class Memo:
    """``hits`` and ``misses`` count, for metrics and for tests of what a change costs."""

    def __init__(self, keys_max: int = _KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._pieces: dict[Hashable, list[tuple[tuple[object, ...], Any]]] = {}
        self._kept: dict[Hashable, list[Any]] = {}
        self._followed: dict[Hashable, list[tuple[Any, Any]]] = {}
        self._pair: tuple[Mapping[str, object], Mapping[str, object], tuple[str, ...]] | None = None
        self.hits = 0
        self.misses = 0

    @property
    def keys_count(self) -> int:
        return len(self._pieces)

    def piece(
        self,
        key: Hashable,
        inputs: tuple[object, ...],
        make: Callable[[], T],
        holds: Callable[[T], bool] | None = None,
    ) -> T:
        """What ``make`` gives for ``inputs``: all that it depends on besides ``key``, and besides what ``holds`` looks at
        when a piece is to be used again.
        """
        variants = self._pieces.get(key)
        if variants is not None:
            for known, made in variants:
                if len(known) == len(inputs) and all(map(_is, known, inputs)) and (not holds or holds(made)):
                    self.hits += 1
                    return cast(T, made)
        self.misses += 1
        result = make()
        if variants is None:
            variants = self._pieces[key] = []
            if len(self._pieces) > self._keys_max:
                del self._pieces[next(iter(self._pieces))]
        variants.insert(0, (inputs, result))
        del variants[_VARIANTS_MAX:]
        return result

    def kept(self, key: Hashable, value: T) -> T:
        """The object that was given for ``key`` before and is equal to ``value``; else ``value``. What is made of equal
        things need not be made again then.
        """
        variants = self._kept.setdefault(key, [])
        for known in variants:
            if known == value:
                return cast(T, known)
        variants.insert(0, value)
        del variants[_VARIANTS_MAX:]
        if len(self._kept) > _FOLLOWED_MAX:
            del self._kept[next(iter(self._kept))]
        return value

    def following(self, key: Hashable, state: S, make: Callable[[tuple[S, T] | None], T]) -> T:
        """What ``make`` gives for ``state``, told the last (state, result) of ``key`` to start from."""
        variants = self._followed.setdefault(key, [])
        for known, made in variants:
            if known is state:
                return cast(T, made)
        before = variants[0] if variants else None
        result = make(before)
        variants.insert(0, (state, result))
        del variants[_VARIANTS_MAX:]
        if len(self._followed) > _FOLLOWED_MAX:
            del self._followed[next(iter(self._followed))]
        return result

    def differing(self, before: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
        """The keys at which the two mappings do not hold the same object, in order; the last pair is remembered."""
        if self._pair is not None and self._pair[0] is before and self._pair[1] is now:
            return self._pair[2]
        changed = [key for key, value in now.items() if before.get(key) is not value]
        changed += [key for key in before if key not in now]
        self._pair = (before, now, tuple(sorted(changed)))
        return self._pair[2]


def _is(one: object, other: object) -> bool:
    return one is other
