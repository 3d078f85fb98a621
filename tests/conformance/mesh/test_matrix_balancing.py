"""The matrix: which endpoint a request goes to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.resources.mesh.services import Endpoint, Locality
from tests.conformance.mesh.backends import Backend, Reply
from tests.conformance.mesh.case import Case, endpoint
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import backends_of
from tests.conformance.mesh.test_matrix_resilience import rule, up

pytestmark = pytest.mark.peers

NAMES = ("v1", "v2", "v3")
HERE, THERE = Locality("eu", "eu-1"), Locality("us", "us-1")


@row("Balancing", "round robin")
def test_round_robin(case: Case) -> None:
    up(case, rule("{loadBalancer: {simple: ROUND_ROBIN}}"), *NAMES)
    case.until(lambda: set(backends_of(case.ask(count=6))) == set(NAMES), "connections to all")
    assert set(backends_of(case.ask(count=30)).values()) == {10}


@row("Balancing", "least request")
def test_least_request(case: Case) -> None:
    v1, *_ = up(case, rule("{loadBalancer: {simple: LEAST_REQUEST}}"), "v1", "v2")
    case.until(lambda: set(backends_of(case.ask(count=6))) == {"v1", "v2"}, "connections to all")
    v1.behave = lambda seen: Reply(delay_s=0.5)
    # Of two that are picked at random (which may be the same one twice) the one with fewer requests under way is taken; with
    # eight callers the slow one always has some, so that it gets about a quarter.
    found = backends_of(case.ask(count=80, parallel=8))
    if case.differs(Differs.BALANCING):
        assert found["v1"] == 40
    else:
        assert found["v1"] < 34, found


@row("Balancing", "random")
def test_random(case: Case) -> None:
    up(case, rule("{loadBalancer: {simple: RANDOM}}"), "v1", "v2")
    case.until(lambda: set(backends_of(case.ask(count=6))) == {"v1", "v2"}, "connections to all")
    order = [each.backend for each in case.ask(count=60)]
    alternating = all(one != other for one, other in zip(order, order[1:], strict=False))
    assert alternating if case.differs(Differs.BALANCING) else not alternating


def keeps_to_one(case: Case, **key: Any) -> str:
    found = backends_of(case.ask(count=10, **key))
    assert len(found) == 1, found
    return next(iter(found))


def hashed(case: Case) -> None:
    """Each user keeps to one backend, and together they have several."""
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    chosen = {user: keeps_to_one(case, headers={"user": user}) for user in "abcdefgh"}
    assert len(set(chosen.values())) > 1, chosen


@row("Balancing", "consistent hash of a header, by ring")
def test_ring(case: Case) -> None:
    up(
        case,
        rule("{loadBalancer: {consistentHash: {httpHeaderName: user, ringHash: {minimumRingSize: 512}}}}"),
        *NAMES,
    )
    hashed(case)


@row("Balancing", "consistent hash of a header, by Maglev")
def test_maglev(case: Case) -> None:
    up(
        case,
        rule("{loadBalancer: {consistentHash: {httpHeaderName: user, maglev: {tableSize: 1009}}}}"),
        *NAMES,
    )
    hashed(case)
    case.differs(Differs.MAGLEV)


@row("Balancing", "consistent hash of a cookie")
def test_cookie(case: Case) -> None:
    up(case, rule("{loadBalancer: {consistentHash: {httpCookie: {name: session, ttl: 0s}}}}"), *NAMES)
    if case.differs(Differs.HASH_OTHERS):
        assert len(backends_of(case.ask(count=30, headers={"cookie": "session=a"}))) > 1
        return
    chosen = {keeps_to_one(case, headers={"cookie": f"session={user}"}) for user in "abcdefgh"}
    assert len(chosen) > 1
    assert case.ask()[0].headers["set-cookie"].startswith("session=")


@row("Balancing", "consistent hash of the caller's address")
def test_source(case: Case) -> None:
    up(case, rule("{loadBalancer: {consistentHash: {useSourceIp: true}}}"), *NAMES)
    keeps_to_one(case)
    case.differs(Differs.HASH_SOURCE)


def at(backend: Backend, place: Locality, **fields: object) -> Endpoint:
    return msgspec.structs.replace(endpoint(backend), locality=place, **fields)


LOCALITY = "{outlierDetection: {consecutive5xxErrors: 5}, loadBalancer: {localityLbSetting: %s}}"


@row("Balancing", "the caller's own locality first, fail-over to another")
def test_failover(case: Case) -> None:
    near, far = case.backend("near"), case.backend("far")
    case.named("reviews")
    case.apply(rule(LOCALITY % "{enabled: true}"))
    case.service("reviews", at(near, HERE), at(far, THERE))
    case.reaches("near")
    assert backends_of(case.ask(count=20)) == {"near": 20}
    case.service("reviews", at(near, HERE, healthy=False), at(far, THERE))
    case.reaches("far")
    assert backends_of(case.ask(count=20)) == {"far": 20}


@row("Balancing", "weights between localities")
def test_distribute(case: Case) -> None:
    near, far = case.backend("near"), case.backend("far")
    case.named("reviews")
    case.apply(rule(LOCALITY % "{distribute: [{from: 'eu/*', to: {'eu/*': 80, 'us/*': 20}}]}"))
    case.service("reviews", at(near, HERE), at(far, THERE))
    case.reaches("far")
    found = backends_of(case.ask(count=300, parallel=4))
    assert 25 < found["far"] < 100, found  # 60 expected


@row("Balancing", "weights of endpoints")
def test_endpoint_weights(case: Case) -> None:
    heavy, light = case.backend("heavy"), case.backend("light")
    heavier = msgspec.structs.replace(endpoint(heavy), weight=300)
    case.named("reviews")
    case.apply(rule("{loadBalancer: {simple: ROUND_ROBIN}}"))
    case.service("reviews", heavier, endpoint(light))
    case.until(lambda: set(backends_of(case.ask(count=8))) == {"heavy", "light"}, "connections to all")
    found = backends_of(case.ask(count=40))
    if case.differs(Differs.WEIGHTS):
        assert found["light"] == 20
    else:
        assert 9 <= found["light"] <= 11, found
