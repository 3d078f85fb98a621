"""The HTTP API against requests made from its own OpenAPI document, allowed and not, on a real node.

What must hold of each: a documented status, a body of the documented shape, never a 500. What must hold after all of
them: the node answers, and its memory stayed in proportion. A request that breaks this is kept in ``fuzz/corpus/api``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as drawn_from
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis import checks as known_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from fuzz import api
from fuzz.api import Sent
from tests.e2e.atoll import Node
from tests.soaking import SoakReport

RESIDENT_GROWTH_BYTES_MAX = 256 * 2**20
ANSWERS_WITHIN_S = 30.0
HEAD_BYTES_LONG = 15_000
STREAMS = {"/v1/watch", "/v1/election/observe", "/v1/mesh/identity/bundles"}
# It would ask whatever host a case names; what it answers is tried against a real database elsewhere.
LEFT_OUT = {"/v1/configs/import-mysql"}
NAMED_HOSTS = re.compile("'ip'")  # a persistent instance is probed; no name of a host may be looked up
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    started = Node(tmp_path, "--store-url", "memory:").start()
    yield started
    started.process.kill()


@pytest.mark.peers
@pytest.mark.soak("fuzz-api", few=400, full=25_000, chunk=2_500)
def test_requests_get_documented_answers(node: Node, rounds: int, seed: int, soak_report: SoakReport) -> None:
    bench = _Bench(node)
    operations = bench.operations()
    before_bytes = bench.resident_bytes()
    for name, sent in api.kept():
        answer = bench.send(sent)
        assert answer.status_code != 500, f"the kept case {name} is answered with 500"
    share = -(-rounds // len(operations))
    for operation in operations:
        bench.try_one(operation, share, seed)
    grown_bytes = bench.resident_bytes() - before_bytes
    assert grown_bytes < RESIDENT_GROWTH_BYTES_MAX
    assert bench.statuses[200] > rounds / 20, bench.statuses
    assert bench.statuses[400] > rounds / 20, bench.statuses
    figures = {f"answers {status}": count for status, count in sorted(bench.statuses.items())}
    soak_report.row(
        "requests from the OpenAPI document",
        rounds=bench.cases,
        violations=0,
        figures={**figures, "operations": len(operations)},
    )


class _Bench:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._url = node.api
        self._session = requests.Session()
        self._document: dict[str, Any] = json.loads(node.get("/openapi.json"))
        self._checks: Any = known_checks.CHECKS.get_by_names(list(CHECKS))
        self.statuses: Counter[int] = Counter()
        self.cases = 0

    def resident_bytes(self) -> int:
        return int(
            self._session.get(f"{self._url}/v1/node", timeout=ANSWERS_WITHIN_S).json()["resident_bytes"]
        )

    def operations(self) -> list[Any]:
        schema = schemathesis.openapi.from_dict(self._document)
        found: list[Any] = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        return [each for each in found if each.path.startswith("/v1/") and each.path not in LEFT_OUT]

    def try_one(self, operation: Any, cases: int, seed: int) -> None:
        modes = (GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        strategy = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

        @drawn_from(seed)
        @settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy, st.integers(0, 2**32))
        def attempt(case: Case[Any], number: int) -> None:
            pick = random.Random(number)
            if pick.random() < 0.7 or NAMED_HOSTS.search(str(case.query) + str(case.body)):
                case.query = api.aimed(case.query, pick, text_chars_max=1_000)  # 431 comes before the API
                case.body = api.aimed(case.body, pick)
            self._attempt(case)

        attempt()

    def _attempt(self, case: Case[Any]) -> None:
        request = requests.Request(**case.as_transport_kwargs(base_url=self._url)).prepare()
        answer = self._answer(request, case.path in STREAMS)
        self.cases += 1
        self.statuses[answer.status_code] += 1
        if case.path in STREAMS and answer.status_code == 200:
            return  # its first line was read; what follows has no end
        if answer.status_code == 431 and len(str(request.url)) > HEAD_BYTES_LONG:
            return  # the HTTP server's own answer to a head that is too long
        try:
            case.validate_response(answer, checks=self._checks)
        except FailureGroup as failures:
            self._keep(request, "; ".join(str(each) for each in failures.exceptions))
        if answer.status_code == 500:
            self._keep(request, "an internal error")

    def _keep(self, request: requests.PreparedRequest, why: str) -> NoReturn:
        sent = _sent(request, self._url)
        what = f"{sent.method} {sent.target} {sent.body!r}"
        file = api.keep(hashlib.sha256(what.encode()).hexdigest()[:12], sent)
        raise AssertionError(f"{what[:500]}: {why}; kept as {file.name}")

    def _answer(self, request: requests.PreparedRequest, streams: bool) -> requests.Response:
        try:
            answer = self._session.send(request, timeout=ANSWERS_WITHIN_S, stream=streams)
        except requests.RequestException as error:
            tail = self._node.process.log_tail()
            self._keep(
                request,
                f"no answer: {type(error).__name__}; the node (ended with {self._node.process.returncode}) said {tail}",
            )
        if streams and answer.status_code == 200:
            next(answer.iter_lines(), None)
            answer.close()
        return answer

    def send(self, sent: Sent) -> requests.Response:
        request = requests.Request(sent.method, self._url + sent.target, sent.headers, data=sent.body)
        path = sent.target.partition("?")[0]
        return self._answer(request.prepare(), path in STREAMS)


def _sent(request: requests.PreparedRequest, url: str) -> Sent:
    body = request.body or b""
    kept = ("content-type", "authorization")
    headers = {name: str(value) for name, value in request.headers.items() if name.lower() in kept}
    return Sent(
        str(request.method),
        str(request.url).removeprefix(url),
        headers,
        body.encode() if isinstance(body, str) else bytes(body),
    )


def test_a_kept_case_is_read_as_it_was_written() -> None:
    sent = Sent("POST", "/v1/config?x=%00", {"content-type": "application/json"}, b"\xff{")
    assert api.of_text(sent.text()) == sent
