"""A canary of policy under load, on real proxies: what breaks its share never reaches the others and is soon back; what is
good goes on by itself.

Every client calls all the time; what each was answered is counted.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import meshed
from tests.e2e.meshed import Mesh, Workload
from tests.soaking import SoakReport
from tests.waiting import wait_until

CLIENTS = 4
BACK_WITHIN_S = 10.0
CALM_CALLS = 150  # of each client, before a change: what it is compared with

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews}}]
"""
BROKEN = ROUTE.replace(
    "  - route", "  - fault: {abort: {percentage: {value: 100}, httpStatus: 503}}\n    route"
)
MARKED = ROUTE + "    headers: {response: {set: {x-tried: 'yes'}}}\n"

pytestmark = pytest.mark.peers


class Caller:
    """One client that calls until it is stopped."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.answers: Counter[int] = Counter()
        self.marked = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.answers.items() if status != 200)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _call(self) -> None:
        while not self._ended.wait(0.01):
            try:
                answer = self.workload.call("reviews")
                self.answers[answer.status] += 1
                self.marked += "x-tried" in answer.headers
            except (OSError, http.client.HTTPException):
                self.answers[0] += 1


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with meshed.mesh(tmp_path_factory.mktemp("mesh")) as made:
        made.start("reviews")
        yield made


@pytest.fixture(scope="module")
def callers(mesh: Mesh) -> Iterator[list[Caller]]:
    begun = [mesh.begin("shop", "--no-register") for _ in range(CLIENTS)]
    mesh.apply(ROUTE)
    for each in begun:
        wait_until(lambda each=each: each.calls("reviews"), 30.0, "a call through the proxy")  # type: ignore[misc]
    found = [Caller(each) for each in begun]
    yield found
    for caller in found:
        caller.stop()


def begin(mesh: Mesh, name: str, text: str, *options: str) -> None:
    file = mesh.folder / f"{name}.yaml"
    file.write_text(text)
    done = mesh.node.run("apply", "-f", str(file), "--canary", "20", "--name", name, *options)
    assert done.returncode == 0, done.stderr


def shown(mesh: Mesh, name: str) -> Any:
    done = mesh.node.run("mesh", "canary", "show", name, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def calm(callers: list[Caller]) -> None:
    before = [sum(each.answers.values()) for each in callers]
    wait_until(
        lambda: all(
            sum(each.answers.values()) - known >= CALM_CALLS
            for each, known in zip(callers, before, strict=True)
        ),
        60.0,
        "calls before the change",
    )


@pytest.mark.soak("mesh-canary", few=1, full=20)
def test_what_breaks_its_share_never_reaches_the_others_and_is_back_soon(
    mesh: Mesh, callers: list[Caller], rounds: int, soak_report: SoakReport
) -> None:
    back_s, errors, reached, late = [], 0, 0, 0
    for number in range(rounds):
        calm(callers)
        before = [each.errors for each in callers]
        name = f"broken-{number}-{time.time_ns()}"
        begin(mesh, name, BROKEN, "--requests-min", "50")
        wait_until(over(mesh, name), 30.0, "the way back")
        ended = shown(mesh, name)["canary"]
        assert ended["state"] == "rolled_back", ended
        back_s.append(ended["ended_s"] - ended["started_s"])
        broken = [each.errors - known for each, known in zip(callers, before, strict=True)]
        settled = [each.errors for each in callers]
        calm(callers)
        late += sum(each.errors - known for each, known in zip(callers, settled, strict=True))
        errors += sum(broken)
        reached += sum(count > 0 for count in broken) - 1
    violations = reached + sum(each > BACK_WITHIN_S for each in back_s)
    soak_report.row(
        f"a policy that breaks everything, on 1 of {CLIENTS + 1} clients",
        rounds=rounds,
        violations=violations,
        samples={"back_s": back_s},
        figures={"errors of the share": errors, "other clients reached": reached, "errors afterwards": late},
    )
    assert violations == 0, (back_s, reached)
    assert late <= rounds  # what was under way at the moment of the way back


def over(mesh: Mesh, name: str) -> Callable[[], bool]:
    return lambda: shown(mesh, name)["canary"]["state"] != "running"


def test_what_is_good_goes_on_by_itself_and_is_proven_by_traffic(mesh: Mesh, callers: list[Caller]) -> None:
    calm(callers)
    before = [each.errors for each in callers]
    name = f"good-{time.time_ns()}"
    begin(mesh, name, MARKED, "--requests-min", "100", "--hold", "3")
    wait_until(lambda: any(each.marked for each in callers), 10.0, "the change at its share")
    assert sum(each.marked > 0 for each in callers) == 1
    wait_until(over(mesh, name), 60.0, "the end of the canary")
    ended = shown(mesh, name)["canary"]
    assert ended["state"] == "promoted", ended
    wait_until(lambda: all(each.marked for each in callers), 30.0, "the change at everybody")
    assert [each.errors for each in callers] == before
    assert "x-tried" in mesh.node.run("get", "virtualservice", "reviews").stdout


def test_no_data_holds(mesh: Mesh, tmp_path: Path) -> None:
    """Nobody calls with what the change is about, so it stands."""
    other = ROUTE.replace("name: reviews", "name: silent").replace("hosts: [reviews]", "hosts: [silent]")
    begin(mesh, "silent", other, "--force", "--hold", "0", "--requests-min", "1")
    seen = shown(mesh, "silent")
    assert seen["canary"]["state"] == "running" and "no data" in seen["verdict"]
    done = mesh.node.run("mesh", "canary", "cancel", "silent")
    assert done.returncode == 0 and "cancelled" in done.stdout
