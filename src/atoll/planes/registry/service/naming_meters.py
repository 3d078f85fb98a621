"""What naming counts, for the metrics page: read when somebody looks, so that the hot path pays next to nothing.

Rule: names, units and meanings are in docs/reference/metrics.md, which a test compares with this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from atoll.planes.registry.service.naming import Naming
from atoll.planes.registry.service.pushes import PushEvent
from atoll.runtime.metrics import Metrics, Sample


class NamingMeters:
    """Of one node."""

    def __init__(self, naming: Naming, metrics: Metrics) -> None:
        self._naming = naming
        self._ended: Counter[str] = Counter()
        self._took_s = metrics.histogram(
            "atoll_naming_push_seconds", "From a change seen here to a subscriber's acknowledgement."
        )
        naming.pushes.on_event.append(self._hear)
        metrics.read_on_scrape("atoll_naming_services", "Services known to this node.", (), self._services)
        metrics.read_on_scrape(
            "atoll_naming_instances", "Instances of all nodes, by kind.", ("kind",), self._instances
        )
        metrics.read_on_scrape(
            "atoll_naming_clients",
            "Clients of this node, by what keeps them alive.",
            ("kind",),
            self._clients,
        )
        metrics.read_on_scrape(
            "atoll_naming_subscriptions", "Subscriptions of this node's clients.", (), self._subscriptions
        )
        metrics.read_on_scrape(
            "atoll_naming_pushes_total", "Pushes, by what became of them.", ("how",), self._pushes
        )

    def _hear(self, event: PushEvent) -> None:
        self._ended[event.kind] += 1
        if event.kind == "acknowledged":
            self._took_s.observe(event.at_s - event.changed_s)

    def _services(self) -> Iterable[Sample]:
        yield (), sum(state.exists for state in self._naming.directory.services.values())

    def _instances(self) -> Iterable[Sample]:
        states = self._naming.directory.services.values()
        yield ("ephemeral",), sum(len(state.live) for state in states)
        yield ("persistent",), sum(len(state.persistent) for state in states)

    def _clients(self) -> Iterable[Sample]:
        kinds = Counter(known.client.kind.value for known in self._naming.clients)
        return [((kind,), count) for kind, count in sorted(kinds.items())]

    def _subscriptions(self) -> Iterable[Sample]:
        yield (), len(self._naming.pushes)

    def _pushes(self) -> Iterable[Sample]:
        return [((how,), count) for how, count in sorted(self._ended.items())]
