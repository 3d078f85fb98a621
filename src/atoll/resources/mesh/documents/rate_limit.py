"""``LocalRateLimit`` (atoll/v1): how many requests a workload's proxy lets through, by itself.

Istio and the Gateway API have no document for it (Istio's users patch Envoy's configuration by hand), so that this kind is
Atoll's own, in the manner of Istio's. Each proxy counts alone: two replicas let through twice as much.

Rule: as ``parts``. A request spends from the first limit that matches it and, if it has room, passes; without a match it
passes freely. A bucket of ``burst`` tokens is filled with ``requests`` every ``interval``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from atoll.resources.mesh.documents.parts import (
    Fault,
    HeaderName,
    Part,
    PortNumber,
    Positive,
    Seconds,
    Selector,
    StringMatch,
    TargetRef,
)
from atoll.resources.records import NOTHING

# Of envoy.type.v3.StatusCode, which the filter of Envoy goes by.
STATUSES = frozenset({*range(400, 418), *range(421, 425), 426, 428, 429, 431, *range(500, 509), 510, 511})


class RequestMatch(Part, frozen=True):
    uri: StringMatch | None = None
    method: StringMatch | None = None
    headers: Mapping[HeaderName, StringMatch] = NOTHING

    def faults(self) -> Iterator[Fault]:
        if self.uri is None and self.method is None and not self.headers:
            yield Fault((), "says no condition", "give uri, method or headers, or leave match out")
        for name in ("uri", "method"):
            found = getattr(self, name)
            if found is not None and found.is_presence:
                yield Fault((name,), "says no condition", "give exact, prefix or regex")


class Limit(Part, frozen=True):
    """``port``: of the workload, empty for all. ``status``: of the refusal. ``burst`` empty: as ``requests``."""

    requests: Positive
    interval: Seconds = 1.0
    burst: Positive | None = None
    port: PortNumber | None = None
    match: RequestMatch | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 429

    def faults(self) -> Iterator[Fault]:
        if self.status not in STATUSES:
            yield Fault(("status",), f"Envoy refuses with no {self.status}", "write 429 or 503, say")
        if self.interval < 0.05:
            yield Fault(
                ("interval",), "is shorter than 50ms, which Envoy does not take", "write 50ms or more"
            )
        if self.burst is not None and self.burst < self.requests:
            yield Fault(
                ("burst",), "is less than requests: the rest could never be used", "write as much or more"
            )


class LocalRateLimit(Part, frozen=True):
    """``dryRun``: count what would be refused, and let it through."""

    limits: Annotated[tuple[Limit, ...], msgspec.Meta(min_length=1)]
    selector: Selector | None = None
    targetRefs: tuple[TargetRef, ...] = ()
    dryRun: bool = False

    def faults(self) -> Iterator[Fault]:
        if self.selector is not None and self.targetRefs:
            yield Fault(("targetRefs",), "selector and targetRefs exclude each other", "give one of them")
        for position, limit in enumerate(self.limits):
            for later, other in enumerate(self.limits[position + 1 :], position + 1):
                if limit.match is None and limit.port in (None, other.port):
                    message = f"is behind number {position + 1}, which takes everything"
                    yield Fault(("limits", later), message, "exchange them")
                    return
