"""A storm of reconnects: hundreds of clients come at the same moment, without the patience that Envoy and gRPC have.

Rule: what must not suffer is whoever is there; what must not happen is that somebody never gets in. Clients are simulated
(``bench/load/xds.py``), each of a service of its own, so that nothing is shared but the world.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from atoll.planes.mesh.policy.admission import Admission
from atoll.planes.mesh.service.push import Rules
from atoll.resources.mesh.clients import Client, Kind
from atoll.wire.xds.snapshot import Snapshot
from bench.load import xds
from tests.conformance.mesh.xds_resources import cluster, endpoints, http_listener, route, snapshot
from tests.peers.ads_client import CLUSTER, AdsClient
from tests.peers.xds_server import XdsServer
from tests.soaking import SoakReport
from tests.waiting import wait_until

CLIENTS = 500
CLUSTERS = 100
WITHIN_S = 60.0
LATE_S_MAX = 5.0
ADMISSION = Admission(per_s=400.0, burst=100.0, wait_s_max=10.0)


def world(timeout: str) -> Snapshot:
    names = [f"service-{number}" for number in range(CLUSTERS)]
    made = [cluster(name, connect_timeout=timeout if name == "service-0" else "1s") for name in names]
    lists = [endpoints(name, [1]) for name in names]
    return snapshot(*made, *lists, http_listener("http", 1, "http"), route("http", "service-1"))


async def storm(port: int) -> float:
    """All clients at once; how long until each has everything."""
    clients = [Client(Kind.SIDECAR, f"client-{number}", "default") for number in range(CLIENTS)]
    arrivals, began_s = xds.Arrivals(), time.perf_counter()
    batches = [clients[first : first + 50] for first in range(0, CLIENTS, 50)]
    crowds = await asyncio.gather(*(xds.connect(port, each, True, arrivals, WITHIN_S) for each in batches))
    took_s = time.perf_counter() - began_s
    for crowd in crowds:
        for each in crowd:
            each.close()
        await asyncio.gather(*(each.lost for each in crowd))
    return took_s


@pytest.mark.soak("mesh-reconnect-storm", few=1, full=20)
def test_a_storm_of_clients_gets_in_and_keeps_nobody_waiting_who_is_there(
    rounds: int, soak_report: SoakReport
) -> None:
    took_s: list[float] = []
    late_s: list[float] = []
    with ThreadPoolExecutor(1) as pool, XdsServer(rules=Rules(admission=ADMISSION)) as server:
        server.serve(world("1s"))
        with AdsClient(server.port, "sidecar~there.default~1") as there:
            there.say(CLUSTER)
            there.accept(there.hear())
            for number in range(rounds):
                coming = pool.submit(asyncio.run, storm(server.port))
                wait_until(lambda: len(server.push) > CLIENTS / 10, WITHIN_S, "the storm")
                began_s = time.perf_counter()
                server.serve(world(f"{number + 2}s"))
                there.accept(there.hear())
                late_s.append(time.perf_counter() - began_s)
                took_s.append(coming.result(WITHIN_S))
                wait_until(lambda: len(server.push) == 1, WITHIN_S, "the storm to be over")
        assert server.push.door.refused == 0
    soak_report.row(
        f"{CLIENTS} clients come at once",
        rounds=rounds,
        violations=0,
        samples={"took_s": took_s, "late_s": late_s},
    )
    assert max(late_s) < LATE_S_MAX
    assert min(took_s) > (CLIENTS - ADMISSION.burst) / ADMISSION.per_s * 0.9, "nobody was held back"
