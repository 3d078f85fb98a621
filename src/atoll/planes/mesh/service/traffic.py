"""What the proxies connected to this node served, for whoever judges a change by it.

Rule: reports are cumulative and may be lost; everything here is a difference of two of them. A proxy that started anew counts
from nothing. What is kept is bounded: of each client the newest report and one count every ``STEP_S`` for ``BEFORE_S``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from atoll.resources.mesh.traffic import Tally, TrafficReport

BEFORE_S = 60.0
STEP_S = 2.0
SILENT_S_MAX = 120.0  # a client that has not reported for so long is forgotten
CLIENTS_MAX = 20_000


class _Mark(msgspec.Struct, frozen=True):
    """Where a client stood when a change reached it, and what it had served for a while before."""

    total: Tally
    routes: dict[str, int]
    before: Tally


class _Known:
    __slots__ = ("heard_s", "marks", "newest", "past")

    def __init__(self, report: TrafficReport) -> None:
        self.newest = report
        self.heard_s = 0.0
        self.past: deque[tuple[float, Tally]] = deque()
        self.marks: dict[str, _Mark] = {}


class Traffic:
    """``now_s``: boot clock."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def hear(self, report: TrafficReport, now_s: float) -> None:
        known = self._known.get(report.node)
        if known is None or known.newest.run != report.run:
            fresh = _Known(report)
            if known is not None:
                fresh.marks = {name: _Mark(Tally(), {}, mark.before) for name, mark in known.marks.items()}
            known = self._known[report.node] = fresh
        known.newest = report
        known.heard_s = now_s
        if not known.past or now_s - known.past[-1][0] >= STEP_S:
            known.past.append((now_s, report.total))
        while known.past[0][0] < now_s - BEFORE_S:
            known.past.popleft()
        self._forget(now_s)

    def mark(self, name: str, node: str) -> bool:
        """From now on ``since`` tells what ``node`` serves after the change ``name``; asked again it changes nothing. False:
        nothing is known of the node yet.
        """
        known = self._known.get(node)
        if known is None:
            return False
        if name not in known.marks:
            newest = known.newest
            known.marks[name] = _Mark(newest.total, dict(newest.routes), newest.total.minus(known.past[0][1]))
        return True

    def unmark(self, name: str) -> None:
        for known in self._known.values():
            known.marks.pop(name, None)

    def since(self, name: str, nodes: Iterable[str]) -> Tally:
        """What those of ``nodes`` that are marked served since."""
        return _sum(known.newest.total.minus(mark.total) for known, mark in self._marked(name, nodes))

    def before(self, name: str, nodes: Iterable[str]) -> Tally:
        return _sum(mark.before for _, mark in self._marked(name, nodes))

    def busy(self, nodes: Iterable[str], documents: Iterable[str]) -> frozenset[str]:
        """Those of ``nodes`` that served requests by routes of one of ``documents`` (``Kind/namespace/name``); of whatever
        version, or by any route where none of them did.
        """
        begins = tuple(f"{document}/" for document in documents)
        known = [(node, self._known[node].newest) for node in nodes if node in self._known]
        by_them = frozenset(
            node for node, newest in known if any(route.startswith(begins) for route in newest.routes)
        )
        return by_them or frozenset(node for node, newest in known if newest.total.requests)

    def by_routes(self, name: str, nodes: Iterable[str], wanted: Iterable[str]) -> int:
        """Requests since, by routes whose name ends with one of ``wanted`` (``@HASH8``)."""
        ends = tuple(wanted)
        return sum(
            count - mark.routes.get(route, 0)
            for known, mark in self._marked(name, nodes)
            for route, count in known.newest.routes.items()
            if route.endswith(ends)
        )

    def _marked(self, name: str, nodes: Iterable[str]) -> list[tuple[_Known, _Mark]]:
        found = ((self._known.get(node), node) for node in nodes)
        return [(known, known.marks[name]) for known, _ in found if known is not None and name in known.marks]

    def _forget(self, now_s: float) -> None:
        if len(self._known) > CLIENTS_MAX:
            del self._known[min(self._known, key=lambda node: self._known[node].heard_s)]
        oldest = next(iter(self._known))
        if self._known[oldest].heard_s < now_s - SILENT_S_MAX:
            del self._known[oldest]
        else:  # look at another one next time
            self._known[oldest] = self._known.pop(oldest)


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for each in tallies:
        total = total.plus(each)
    return total
