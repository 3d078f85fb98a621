"""The matrix: what becomes of requests when services are slow, fail, or are overrun."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.resources.mesh.services import Endpoint
from tests.conformance.mesh.backends import Backend, Reply, Seen
from tests.conformance.mesh.case import Case, endpoint
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import backends_of

pytestmark = pytest.mark.peers

UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED = 14, 4, 10


def route(extra: str) -> str:
    """A VirtualService of one rule that says ``extra`` as well."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: "{{reviews}}"}}
spec:
  hosts: ["{{reviews}}"]
  http:
  - route: [{{destination: {{host: "{{reviews}}"}}}}]
    {extra}
"""


def rule(policy: str) -> str:
    """A DestinationRule with this traffic policy."""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: "{{reviews}}"}}
spec:
  host: "{{reviews}}"
  trafficPolicy: {policy}
"""


def failing(times: int) -> Callable[[Seen], Reply]:
    """Fails so many requests, and answers from then on."""
    left, guard = [times], threading.Lock()

    def behave(seen: Seen) -> Reply:
        with guard:
            left[0] -= 1
            return Reply(status=503, grpc_status=UNAVAILABLE) if left[0] >= 0 else Reply()

    return behave


def always_failing(seen: Seen) -> Reply:
    return Reply(status=503, grpc_status=UNAVAILABLE)


def slow(seen: Seen) -> Reply:
    return Reply(delay_s=2.0)


def up(case: Case, documents: str, *names: str) -> list[Backend]:
    """The service with its documents, once it answers."""
    case.named("reviews")
    case.apply(documents)
    made = case.versions(*(names or ("v1",)))
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    for each in made:
        each.seen.clear()
    return made


@row("Resilience", "time limit of a request")
def test_timeout(case: Case) -> None:
    limit_s = 4.0 if case.is_grpc else 0.5  # gRPC's clock for this limit was seen to be up to 1.8 s off
    (v1,) = up(case, route(f"timeout: {limit_s}s"))
    v1.behave = lambda seen: Reply(delay_s=2 * limit_s)
    (answer,) = case.ask(within_s=30.0)
    assert answer.status == (DEADLINE_EXCEEDED if case.is_grpc else 504)
    assert 0.3 < answer.took_s < 1.8 * limit_s


@row("Resilience", "retries")
def test_retries(case: Case) -> None:
    (v1,) = up(case, route("retries: {attempts: 2, retryOn: 'unavailable,503'}"))
    v1.behave = failing(2)
    assert case.ask()[0].ok and len(v1.seen) == 3
    v1.behave = failing(3)
    assert not case.ask()[0].ok and len(v1.seen) == 6


@row("Resilience", "no retries where they are set to 0")
def test_no_retries(case: Case) -> None:
    (v1,) = up(case, route("retries: {attempts: 0}"))
    v1.behave = failing(1)
    assert not case.ask()[0].ok and len(v1.seen) == 1


@row("Resilience", "time limit of each try")
def test_try_timeout(case: Case) -> None:
    (v1,) = up(
        case, route("retries: {attempts: 1, perTryTimeout: 0.3s, retryOn: 'gateway-error,unavailable'}")
    )
    v1.behave = slow
    (answer,) = case.ask()
    if case.differs(Differs.TRY_TIMEOUT):
        assert answer.ok and answer.took_s > 1.8 and len(v1.seen) == 1
    else:
        assert answer.status == 504 and len(v1.seen) == 2 and answer.took_s < 1.8


@row("Resilience", "budget of retries")
def test_retry_budget(case: Case) -> None:
    documents = (
        route("retries: {attempts: 3, retryOn: 'unavailable,503'}")
        + "---"
        + rule("{retryBudget: {percent: 0, minRetryConcurrency: 0}}")
    )
    (v1,) = up(case, documents)
    v1.behave = always_failing
    assert not case.ask()[0].ok
    assert len(v1.seen) == (4 if case.differs(Differs.RETRY_BUDGET) else 1)


@row("Resilience", "fault injection: delay")
def test_delay(case: Case) -> None:
    up(case, route("fault: {delay: {fixedDelay: 0.5s, percentage: {value: 100}}}"))
    (answer,) = case.ask()
    assert answer.ok and answer.took_s >= 0.45


@row("Resilience", "fault injection: abort half of the requests")
def test_abort(case: Case) -> None:
    (v1,) = up(case, route("fault: {abort: {httpStatus: 429, percentage: {value: 50}}}"))
    answers = case.ask(count=200, parallel=4)
    refused = [each for each in answers if not each.ok]
    assert {each.status for each in refused} == {UNAVAILABLE if case.is_grpc else 429}
    assert 60 < len(refused) < 140 and len(v1.seen) == 200 - len(refused)


@row("Resilience", "fault injection: abort with a gRPC status")
def test_abort_grpc(case: Case) -> None:
    (v1,) = case.versions("v1")
    case.apply(route("fault: {abort: {grpcStatus: ABORTED}}"))
    case.until(lambda: case.ask_grpc()[0].status == ABORTED, "calls to be aborted")
    assert not v1.seen


@row("Resilience", "circuit breaking: requests under way")
def test_circuit_breaking(case: Case) -> None:
    documents = rule(
        "{connectionPool: {http: {http2MaxRequests: 2, http1MaxPendingRequests: 1}, tcp: {maxConnections: 2}}}"
    )
    (v1,) = up(case, documents)
    v1.behave = lambda seen: Reply(delay_s=0.5)
    answers = case.ask(count=8, parallel=8)
    refused = [each for each in answers if not each.ok]
    assert {each.status for each in refused} == {UNAVAILABLE if case.is_grpc else 503}
    assert len(v1.seen) == 8 - len(refused) and 2 <= len(v1.seen) <= 4
    case.differs(Differs.LIMITS)


@row("Resilience", "ejection of endpoints that fail")
def test_ejection(case: Case) -> None:
    policy = "{consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 60s, maxEjectionPercent: 50}"
    no_retries = route("retries: {attempts: 0}")
    v1, v2 = up(case, f"{no_retries}---{rule(f'{{outlierDetection: {policy}}}')}", "v1", "v2")
    v1.behave = always_failing
    case.until(lambda: backends_of(case.ask(count=10)) == {"v2": 10}, "v1 to be ejected")
    v1.seen.clear()
    assert backends_of(case.ask(count=20)) == {"v2": 20} and not v1.seen
    case.differs(Differs.EJECTION)


@row("Resilience", "panic threshold: too few healthy endpoints")
def test_panic(case: Case) -> None:
    well, ill = case.backend("well"), case.backend("ill")
    documents = rule("{outlierDetection: {minHealthPercent: 60}}")
    case.named("reviews")
    case.apply(documents)
    case.service("reviews", endpoint(well), Endpoint("127.0.0.1", ill.port, healthy=False))
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    seen = {each.backend for each in case.ask(count=20)}
    assert seen == ({"well"} if case.differs(Differs.PANIC) else {"well", "ill"})


@row("Resilience", "unhealthy endpoints are left out")
def test_unhealthy(case: Case) -> None:
    well, ill = case.backend("well"), case.backend("ill")
    case.service("reviews", endpoint(well), Endpoint("127.0.0.1", ill.port, healthy=False))
    case.reaches("well")
    assert backends_of(case.ask(count=20)) == {"well": 20}


@row("Resilience", "the source lists no endpoint any more: the last ones are kept")
def test_empty_list(case: Case) -> None:
    v1 = case.backend("v1")
    case.service("reviews", endpoint(v1))
    case.reaches("v1")
    case.service("reviews")
    case.service("others", endpoint(v1))  # what came after the empty list has arrived
    case.until(lambda: case.ask("others")[0].ok, "the other service to answer")
    assert backends_of(case.ask(count=5)) == {"v1": 5}


@row("Resilience", "an endpoint is replaced under load")
def test_replaced(case: Case) -> None:
    old, new = case.backend("old"), case.backend("new")
    case.service("reviews", endpoint(old))
    case.reaches("old")
    case.service("reviews", endpoint(old), endpoint(new))
    case.reaches("new")
    case.service("reviews", endpoint(new))
    seen = backends_of(case.ask(count=100, parallel=4))
    assert set(seen) <= {"old", "new"}, seen
    case.until(lambda: backends_of(case.ask(count=10)) == {"new": 10}, "only the new endpoint to be called")
