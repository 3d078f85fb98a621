"""What a node counts and times, in Prometheus' text format, from a registry of its own.

Rule: a metric's name is spelled in the one place that declares it, begins with ``atoll_`` and ends with its unit
(``_seconds``, ``_bytes``, ``_total``); labels have few values (never a key, an id or an address). The reference page
docs/reference/metrics.md lists every name; a test compares the page with a running node.

Source: the Prometheus text exposition format 0.0.4, by ``prometheus_client``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Sample: TypeAlias = tuple[Sequence[str], float]

Counter = prometheus_client.Counter
Gauge = prometheus_client.Gauge
Histogram = prometheus_client.Histogram


class Metrics:
    """A node's registry. Two nodes in one process (tests) have two, so nothing is registered at import."""

    def __init__(self) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, help_text, labels, registry=self._registry)

    def histogram(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, help_text, labels, registry=self._registry, buckets=SECONDS_BUCKETS)

    def read_on_scrape(
        self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Iterable[Sample]]
    ) -> None:
        """A family whose samples are asked for when somebody looks, so that the hot path pays nothing. A name that
        ends with ``_total`` is a counter, any other a gauge. ``read`` gives (label values, value).
        """
        self._registry.register(_Read(name, help_text, labels, read))

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)

    def names(self) -> list[str]:
        """The names of all families, sorted."""
        return sorted(family.name for family in self._registry.collect())


class _Read:
    def __init__(
        self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Iterable[Sample]]
    ) -> None:
        self._family = (name, help_text, labels)
        self._read = read

    def _empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        name, help_text, labels = self._family
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        return kind(name, help_text, labels=labels)

    def describe(self) -> Iterable[Metric]:
        return [self._empty()]

    def collect(self) -> Iterable[Metric]:
        family = self._empty()
        for labels, value in self._read():
            family.add_metric(labels, value)
        return [family]
