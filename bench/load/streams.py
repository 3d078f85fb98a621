"""The two streaming loads: events fanned out to many watchers, and keep-alives of many leases.

Rule: a load ends when everything that was asked for has arrived, so that its figure is of delivered answers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from atoll.wire.etcd import messages
from bench.load.grpc_client import GrpcClient

WATCH = "/etcdserverpb.Watch/Watch"
PUT = "/etcdserverpb.KV/Put"
GRANT = "/etcdserverpb.Lease/LeaseGrant"
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"

KEY = b"bench/watched"
WATCHERS_PER_STREAM = 100
LEASES = 100
TTL_S = 600


@dataclass(frozen=True)
class FanOut:
    """Events delivered a second, and the median time from sending a put to its event at the last watcher."""

    events_per_s: float
    last_event_p50_s: float


def fan_out(port: int, watchers: int, puts: int) -> FanOut:
    """One put after the other, each when all ``watchers`` have seen the one before."""
    client, writer = GrpcClient(port), GrpcClient(port)
    try:
        _watch(client, watchers)
        put = messages.PutRequest(key=KEY, value=b"v" * 64).SerializeToString()
        took_s = []
        for _ in range(puts):
            start_s = time.perf_counter()
            writer.call(PUT, put)
            _receive_events(client, watchers)
            took_s.append(time.perf_counter() - start_s)
    finally:
        client.close()
        writer.close()
    return FanOut(watchers * puts / sum(took_s), sorted(took_s)[len(took_s) // 2])


def keep_alives_per_s(port: int, in_flight: int, count: int) -> float:
    """``count`` renewals of ``LEASES`` leases in turn, on one stream."""
    client = GrpcClient(port)
    try:
        grant = messages.LeaseGrantRequest(TTL=TTL_S).SerializeToString()
        leases = [messages.LeaseGrantResponse.FromString(client.call(GRANT, grant)).ID for _ in range(LEASES)]
        requests = [messages.LeaseKeepAliveRequest(ID=lease).SerializeToString() for lease in leases]
        start_s = time.perf_counter()
        stream = client.open(KEEP_ALIVE, *(requests[at % LEASES] for at in range(in_flight)))
        for at in range(count):
            _, answer = client.receive()
            if messages.LeaseKeepAliveResponse.FromString(answer).TTL != TTL_S:
                raise RuntimeError("a lease was not renewed")
            client.send(stream, requests[(at + in_flight) % LEASES])
        took_s = time.perf_counter() - start_s
        for lease in leases:
            request = messages.LeaseRevokeRequest(ID=lease).SerializeToString()
            client_revoke(port, request)
        return count / took_s
    finally:
        client.close()


def client_revoke(port: int, request: bytes) -> None:
    """Revoke on a connection of its own, since the other one still has answers under way."""
    client = GrpcClient(port)
    try:
        client.call("/etcdserverpb.Lease/LeaseRevoke", request)
    finally:
        client.close()


def _watch(client: GrpcClient, watchers: int) -> None:
    create = messages.WatchRequest(create_request=messages.WatchCreateRequest(key=KEY)).SerializeToString()
    for first in range(0, watchers, WATCHERS_PER_STREAM):
        client.open(WATCH, *[create] * min(WATCHERS_PER_STREAM, watchers - first))
    created = 0
    while created < watchers:
        _, answer = client.receive()
        created += messages.WatchResponse.FromString(answer).created


def _receive_events(client: GrpcClient, expected: int) -> None:
    seen = 0
    while seen < expected:
        _, answer = client.receive()
        seen += len(messages.WatchResponse.FromString(answer).events)
