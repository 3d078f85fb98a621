"""The node's own metrics: what is declared here is all that a node shows besides its planes' and the process's.

Rule: names, units and meanings are in docs/reference/metrics.md, which a test compares with this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.errors import AtollError
from atoll.runtime.grpc_call import Stats
from atoll.runtime.metrics import Metrics, Sample
from atoll.store.api import Store


class StoreMeters:
    """The store's state as gauges; ``refresh`` asks it, before the text is made."""

    def __init__(self, metrics: Metrics) -> None:
        self._up = metrics.gauge("atoll_store_up", "1 if the store answered the last scrape's question.")
        self._revision = metrics.gauge("atoll_store_revision", "The newest revision.")
        self._compacted = metrics.gauge(
            "atoll_store_compact_revision", "History is kept after this revision."
        )
        self._size = metrics.gauge("atoll_store_size_bytes", "Size of the store.")
        self._in_use = metrics.gauge("atoll_store_size_in_use_bytes", "Size without free pages.")
        self._leases = metrics.gauge("atoll_store_leases", "Leases that live.")
        self._alarms = metrics.gauge("atoll_store_alarms", "Alarms that are raised; see atoll status.")

    async def refresh(self, store: Store) -> None:
        try:
            status = await store.status()
            leases = await store.lease_list()
        except AtollError:
            self._up.set(0)
            return
        self._up.set(1)
        self._revision.set(status.revision)
        self._compacted.set(status.compact_revision)
        self._size.set(status.size_bytes)
        self._in_use.set(status.size_in_use_bytes)
        self._leases.set(len(leases.leases))
        self._alarms.set(len(status.alarms))


def show_grpc(metrics: Metrics, servers: Mapping[str, Stats]) -> None:
    """The counts of the gRPC servers, by the name of their API, read when somebody looks."""

    def connections() -> Iterable[Sample]:
        return [((api,), stats.connections_open) for api, stats in servers.items()]

    def calls() -> Iterable[Sample]:
        counted = [each for stats in servers.values() for each in stats.calls_ended.items()]
        return [((method, status.name), count) for (method, status), count in counted]

    def seconds() -> Iterable[Sample]:
        return [
            ((method,), spent_s) for stats in servers.values() for method, spent_s in stats.seconds.items()
        ]

    def moved() -> Iterable[Sample]:
        for api, stats in servers.items():
            yield (api, "received"), stats.received_bytes
            yield (api, "sent"), stats.sent_bytes

    def faults() -> Iterable[Sample]:
        for api, stats in servers.items():
            for code, count in stats.connection_faults.items():
                yield (api, code), count

    read = metrics.read_on_scrape
    read("atoll_grpc_connections", "Connections that are open.", ("api",), connections)
    read("atoll_grpc_calls_total", "Calls that ended.", ("method", "status"), calls)
    read("atoll_grpc_call_seconds_total", "Time from a call's begin to its end.", ("method",), seconds)
    read("atoll_grpc_bytes_total", "Bytes on connections.", ("api", "direction"), moved)
    read("atoll_grpc_faults_total", "Connections that broke the protocol.", ("api", "code"), faults)
