"""Paths beside the versioned API: the address server, Prometheus, Spring's health.

Rule: as the modules ``address`` and ``prometheus`` of Nacos 2.4.3 have them.
"""

from __future__ import annotations

from atoll.wire.nacos.catalog.entry import EACH, OPEN, OPS_R, Entry, Envelope, Permit, Surface, absent
from atoll.wire.nacos.catalog.v1 import NO_FILES


def _text(path: str, operation: str, permit: Permit) -> Entry:
    return Entry("GET", path, operation, Envelope.TEXT, permit, Surface.CLIENT)


ENTRIES: tuple[Entry, ...] = (
    _text("/serverlist", "address.list", OPEN),
    _text("/nacos/serverlist", "address.list", OPEN),
    _text("/v1/as/nodes", "address.list", OPEN),
    absent("POST", "/v1/as/nodes", NO_FILES, Envelope.TEXT),
    absent("DELETE", "/v1/as/nodes", NO_FILES, Envelope.TEXT),
    _text("/prometheus", "prometheus.all", EACH),
    _text("/prometheus/namespaceId/{namespaceId}", "prometheus.namespace", EACH),
    _text("/prometheus/namespaceId/{namespaceId}/service/{service}", "prometheus.service", EACH),
    _text("/actuator/prometheus", "metrics.scrape", OPS_R),
    _text("/actuator/health", "actuator.health", OPEN),
)
