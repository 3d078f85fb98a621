"""Mutated messages against the etcd API of a live server.

What must hold of each case: an answer, or an error that etcd's API documents (a text of the error table, or one that
begins as this file says); never an internal error. What must hold after all of them: the server serves, no call is
left open, and memory stayed in proportion. A failure names its seed: ``Mutator(corpus()).case(SEED)`` is the case.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from atoll.planes.coordination.frontends.etcd import Settings
from atoll.planes.coordination.frontends.etcd.cluster import ONE_MEMBER
from atoll.planes.coordination.frontends.etcd.errors import TEXTS
from atoll.store.api import Limits
from atoll.store.memory import open_memory
from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS
from fuzz.etcd import Mutator, corpus
from tests.conformance.etcd import ask
from tests.conformance.etcd.served import Served
from tests.conformance.etcd.side import Side
from tests.soaking import SoakReport
from tests.waiting import wait_until

RESIDENT_GROWTH_BYTES_MAX = 128 * 2**20
QUOTA_BYTES = 16 * 2**20
WAITS_S = 0.02  # for calls that wait by nature: locks, campaigns, and streams that go on
ANSWERS_WITHIN_S = 20.0
WAITING = {"Lock.Lock", "Election.Campaign", "Election.Observe", "Watch.Watch"}

KNOWN_TEXTS = {text for _, text in TEXTS.values()}
KNOWN_TEXTS |= {text.replace("etcdserver: ", "auth: ") for text in KNOWN_TEXTS}
KNOWN_TEXTS |= {
    "",
    ONE_MEMBER,
    "election: no leader",
    "election: not leader",
    "mutex: session is expired",
    '"leader" field must be provided',
    "etcdserver: bad leader transferee",
}
KNOWN_BEGINNINGS = (
    "grpc: error unmarshalling request: ",
    "etcdserver: sort_order is ",
    "etcdserver: sort_target is ",
    "etcdserver: target is ",
    "etcdserver: result is ",
    "etcdserver: alarm ",
    "etcdserver: a store in memory has no file",
)


@pytest.fixture
def served() -> Iterator[Served]:
    limits = Limits(quota_bytes=QUOTA_BYTES)
    with Served(open_memory(limits), Settings(limits=limits)) as served:
        yield served


@pytest.mark.soak("fuzz-etcd", few=2_000, full=50_000, chunk=10_000)
def test_mutated_requests_get_documented_answers(
    served: Served, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    side, mutator = Side("atoll", served.address), Mutator(corpus())
    before_bytes = _resident_bytes()
    outcomes: Counter[str] = Counter()
    for current in range(seed, seed + rounds):
        method, data = mutator.case(current)
        status, text = _send(side, method, data)
        outcomes[status] += 1
        assert _documented(status, text), f"seed {current}: {method} {data!r} ended with {status} {text!r}"
        if current % 500 == 0:
            _check_serves(side)
    _check_serves(side)
    side.close()
    wait_until(lambda: served.server.stats.calls_open == 0, ANSWERS_WITHIN_S, "all calls to have ended")
    assert _resident_bytes() - before_bytes < RESIDENT_GROWTH_BYTES_MAX
    soak_report.row("mutated requests, etcd API", rounds=rounds, figures=dict(outcomes))


def _send(side: Side, method: str, data: bytes) -> tuple[str, str]:
    found = METHODS[method]
    timeout_s = WAITS_S if method in WAITING else ANSWERS_WITHIN_S
    if not (found.request_streams or found.response_streams):
        return side.raw(found.path, data, timeout_s)[:2]
    try:
        for _ in side.raw_stream(found.path, data, timeout_s):
            continue
    except grpc.RpcError as error:
        return str(error.code().name), str(error.details())
    return "OK", ""


def _documented(status: str, text: str) -> bool:
    if status in ("OK", "DEADLINE_EXCEEDED"):
        return True
    return text in KNOWN_TEXTS or text.startswith(KNOWN_BEGINNINGS)


def _check_serves(side: Side) -> None:
    """An honest client is served: it may have to clear the alarm that a case raised."""
    disarm = messages.AlarmRequest(action=messages.AlarmRequest.DEACTIVATE, alarm=1)
    side.stub("Maintenance.Alarm")(disarm, timeout=ANSWERS_WITHIN_S)
    side.stub("KV.Put")(ask.put(b"alive", b"1"), timeout=ANSWERS_WITHIN_S)
    assert side.stub("KV.Range")(ask.get(b"alive"), timeout=ANSWERS_WITHIN_S).kvs[0].value == b"1"


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
