"""``atoll debug bundle``: one archive with what somebody needs who looks into a trouble, and no secret.

Rule: what a running node cannot tell is left out and named in ``missing.txt``; the archive is made all the same.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import tarfile
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

import atoll
from atoll.cli import command
from atoll.client.node import Client
from atoll.errors import AtollError
from atoll.host.api import shown_settings
from atoll.runtime import disk, loop

PACKAGES = (
    "grpcio",
    "h11",
    "hpack",
    "msgspec",
    "prometheus-client",
    "protobuf",
    "rich",
    "starlette",
    "uvloop",
)


def add(commands: Any) -> None:
    parser = commands.add_parser("debug", help="collect what helps to find a trouble")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    bundle = actions.add_parser("bundle", help="write an archive: settings, versions, metrics, logs, store")
    bundle.add_argument("--output", default="atoll-debug.tar.gz", metavar="FILE", help="default: %(default)s")
    command.add_client(bundle)
    bundle.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    files = loop.run(_collect(command.client(options)))
    files["settings-here.json"] = _json(shown_settings(command.resolve(options)))
    files["versions.json"] = _json(_versions())
    disk.write_private_file(Path(options.output).absolute(), _archive(files))
    sys.stdout.write(f"{options.output}: {len(files)} files\n")
    return 0


async def _collect(client: Client) -> dict[str, bytes]:
    """What the node tells: one file an answer."""
    questions: dict[str, Callable[[], Awaitable[Any]]] = {
        "node.json": client.node,
        "settings-node.json": client.settings,
        "store.json": client.store,
        "leases.json": client.leases,
        "log.txt": client.logs,
        "metrics.txt": client.metrics,
    }
    files, missing = {}, []
    for name, question in questions.items():
        try:
            answer = await question()
        except AtollError as error:
            missing.append(f"{name}: {error.message}")
            continue
        if name.endswith(".json"):
            files[name] = _json(answer)
        else:
            files[name] = answer if isinstance(answer, bytes) else "\n".join(answer).encode()
    if missing:
        files["missing.txt"] = "\n".join(missing).encode() + b"\n"
    return files


def _versions() -> dict[str, str]:
    found = {"atoll": atoll.__version__, "python": sys.version, "system": platform.platform()}
    found["cpus"] = str(os.cpu_count())
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"atoll-debug/{name}")
            entry.size = len(content)
            entry.mode = 0o600
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
