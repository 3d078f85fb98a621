"""The real peers that tests talk to: Debian's etcd and friends, and foreign Python clients from PyPI.

Rule: a tool that is still missing after the install ends the job with its name; nothing is skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools import environment

# command -> the Debian package that brings it
TOOLS: Mapping[str, str] = {
    "curl": "curl",
    "etcd": "etcd-server",
    "etcdctl": "etcd-client",
    "gcc": "gcc",
    "h2load": "nghttp2-client",
    "ip": "iproute2",
    "iptables": "iptables",
    "mariadb": "mariadb-client",
    "mariadbd": "mariadb-server",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
    "nghttp": "nghttp2-client",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "ps": "procps",
    "setpriv": "util-linux",
    "tc": "iproute2",
    "unshare": "util-linux",
}
FILES: Mapping[str, str] = {
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/share/java/zookeeper.jar": "zookeeper",  # brings the Java that runs it
}

_POLICY = Path("/usr/sbin/policy-rc.d")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def install() -> None:
    """Bring whatever is missing; a second call costs a few look-ups."""
    os.environ["PATH"] = _PATH
    packages = _missing()
    if packages:
        print(f"installing {', '.join(packages)} from Debian ...", flush=True)
        _apt(packages)
    left = _missing()
    if left:
        raise environment.ToolFailed(f"still missing after apt-get install: {', '.join(left)}")
    for name in environment.FOREIGN:
        environment.foreign(name)
    for name in environment.NPM:
        environment.npm(name)


def _missing() -> list[str]:
    packages = {package for tool, package in TOOLS.items() if not shutil.which(tool, path=_PATH)}
    packages |= {package for file, package in FILES.items() if not Path(file).exists()}
    return sorted(packages)


def _apt(packages: list[str]) -> None:
    if os.geteuid() != 0:
        raise environment.ToolFailed(
            f"the tests need Debian's {' '.join(packages)}: run apt-get install as root, then run this again"
        )
    if not shutil.which("apt-get"):
        raise environment.ToolFailed(f"no apt-get here: install {', '.join(sorted(TOOLS))} by hand")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with _services_stay_stopped():
        environment.call("apt-get update", ["apt-get", "-qq", "update"], **quiet)
        line = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages]
        environment.call("apt-get install", line, **quiet)


@contextlib.contextmanager
def _services_stay_stopped() -> Iterator[None]:
    """Debian starts a service when it installs it; the tests start their own etcd, on ports of their own."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
