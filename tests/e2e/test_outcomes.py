"""What a write's outcome says is true, over a network that breaks in every way while writes are under way.

Rule: success means applied once, UNAVAILABLE means not applied and never will be, UNKNOWN means either, once at most.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.store import etcd_url
from atoll.store.api import Outcome, Put, Range, RangeResult
from atoll.store.etcd import EtcdDriver
from atoll.testing.asking import ask
from atoll.testing.relay import Relay
from tests.peers.etcd import Cluster, etcd_cluster
from tests.soaking import SoakReport
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

WRITES = 24  # a round
UNDER_WAY = 6  # at once, so that faults come while some are at etcd and some are not
TIMEOUT_S = 0.7


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with etcd_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def relays(cluster: Cluster) -> Iterator[list[Relay]]:
    """Two ways to the same member: as if it were two members that never disagree."""
    host, _, port = cluster.endpoints[0].partition(":")
    with Relay(host, int(port)) as one, Relay(host, int(port)) as other:
        yield [one, other]


@pytest.fixture
def through(relays: list[Relay]) -> Iterator[EtcdDriver]:
    driver = EtcdDriver(etcd_url.parse("etcd://" + ",".join(relay.address for relay in relays)))
    yield driver
    driver.close()


@pytest.fixture
def direct(cluster: Cluster) -> Iterator[EtcdDriver]:
    driver = EtcdDriver(etcd_url.parse(cluster.url))
    yield driver
    driver.close()


FAULTS: list[Callable[[Relay, random.Random], None]] = [
    lambda relay, rng: relay.cut(),
    lambda relay, rng: relay.cut_after(rng.randint(0, 4_000)),
    lambda relay, rng: relay.hold(),
    lambda relay, rng: relay.hold(answers_only=True),
    lambda relay, rng: relay.refuse(),
    lambda relay, rng: setattr(relay, "delay_s", rng.choice([0.0, 0.01, 0.05])),
]


@pytest.mark.soak("outcomes", few=8, full=300, chunk=50)
def test_a_writes_outcome_is_true(
    direct: EtcdDriver,
    through: EtcdDriver,
    relays: list[Relay],
    rounds: int,
    seed: int,
    soak_report: SoakReport,
) -> None:
    rng = random.Random(seed)
    kinds: Counter[str] = Counter()
    lies: list[str] = []
    for number in range(rounds):
        outcomes = _write_while_it_breaks(through, relays, rng, b"%d/" % number)
        applied = ask(direct, Range(b"%d/" % number, b"%d0" % number), RangeResult).kvs
        versions = {kv.key: kv.version for kv in applied}
        for key, outcome in outcomes.items():
            kinds[_kind(outcome)] += 1
            if versions.get(key, 0) not in _possible(outcome):
                lies.append(f"{key!r}: {outcome!r}, applied {versions.get(key, 0)} times")
    soak_report.row(
        "outcomes of writes", rounds=rounds, violations=len(lies), figures=dict(sorted(kinds.items()))
    )
    assert not lies


def _write_while_it_breaks(
    through: EtcdDriver, relays: list[Relay], rng: random.Random, prefix: bytes
) -> dict[bytes, Outcome]:
    """The outcome of every write of one round; when it returns, the network is whole and quiet."""
    ask(through, Range(prefix), RangeResult, timeout_s=30.0)  # a member answers again
    outcomes: dict[bytes, Outcome] = {}
    for number in range(WRITES):
        if rng.random() < 0.2:
            rng.choice(FAULTS)(rng.choice(relays), rng)
        key = prefix + b"%03d" % number
        through.submit(Put(key, b"." * 500), functools.partial(outcomes.__setitem__, key), TIMEOUT_S)
        _wait_outcomes(outcomes, number - UNDER_WAY)
    _wait_outcomes(outcomes, WRITES)
    for relay in relays:
        relay.delay_s = 0.0
        relay.cut()
        relay.release()
        relay.accept()
    return outcomes


def _wait_outcomes(outcomes: dict[bytes, Outcome], count: int) -> None:
    wait_until(lambda: len(outcomes) >= count, TIMEOUT_S + 10.0, "the outcomes of writes")


def _kind(outcome: Outcome) -> str:
    return outcome.code.value if isinstance(outcome, AtollError) else "success"


def _possible(outcome: Outcome) -> tuple[int, ...]:
    """How often a write with this outcome may have been applied."""
    if not isinstance(outcome, AtollError):
        return (1,)
    return {Code.UNKNOWN: (0, 1), Code.UNAVAILABLE: (0,)}[outcome.code]
