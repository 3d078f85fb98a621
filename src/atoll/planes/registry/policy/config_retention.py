"""What of the past of configuration may go.

Rule: an entry of the history goes when it is older than the limit, or when its item has so many newer ones; chunks go
when nothing has named them for a good while, so that a publish that has written its chunks and not yet its record, and
a reader that has the record and not yet the chunks, are both safe.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.resources.config_item import ConfigKey

CHUNKS_UNNAMED_S = 3_600.0


def outdated(places: Iterable[bytes], now_s: float, limits: ConfigLimits) -> list[bytes]:
    """The keys of history entries that may go, of ``places`` in ascending order. ``now_s``: Unix time."""
    by_item: dict[ConfigKey, list[tuple[int, bytes]]] = defaultdict(list)
    for place in places:
        key, entry_id, _ = keys.parse_history(place)
        by_item[key].append((entry_id, place))
    oldest_id = int((now_s - limits.history_s_max) * 1000) * 1000
    gone = []
    for entries in by_item.values():
        surplus = max(0, len(entries) - limits.history_entries_max)
        gone += [
            place
            for number, (entry_id, place) in enumerate(entries)
            if number < surplus or entry_id < oldest_id
        ]
    return gone


def unnamed(
    present: Iterable[str], named: set[str], before: Mapping[str, float], now_s: float
) -> tuple[list[str], dict[str, float]]:
    """The chunks that may go, and since when each of the others has been unnamed. ``now_s``: boot clock."""
    since = {each: before.get(each, now_s) for each in dict.fromkeys(present) if each not in named}
    gone = [each for each, start_s in since.items() if now_s - start_s >= CHUNKS_UNNAMED_S]
    return gone, {each: start_s for each, start_s in since.items() if each not in gone}
