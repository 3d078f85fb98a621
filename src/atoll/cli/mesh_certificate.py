"""``atoll mesh certificate``: keeps a workload's key, certificate and roots in files, for who has no Envoy beside it.

Rule: it runs as long as the workload does; what it wrote stays in force without it until the certificate ends.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import msgspec

from atoll.cli import command, mesh_identity, registry
from atoll.client import mesh_doors
from atoll.host.sidecar.identity.files import CredentialFiles
from atoll.host.sidecar.identity.workload import Who, WorkloadIdentity
from atoll.resources.mesh import join_token
from atoll.runtime import logs, loop
from atoll.runtime.clock import BootClock
from atoll.runtime.net import parse_address
from atoll.runtime.rng import system_rng
from atoll.runtime.signals import Signals

JOIN_VARIABLE = "ATOLL_JOIN_TOKEN"
XDS_VARIABLE = "ATOLL_XDS"


def add(actions: Any) -> None:
    text = "keep a workload's certificate in files, for proxyless gRPC"
    parser = actions.add_parser("certificate", help=text, description=text.capitalize() + ".")
    option = parser.add_argument
    option("--service", required=True, metavar="NAME", help="whose certificate")
    option("--namespace", default="default", metavar="NAME", help="default: %(default)s")
    option("--out", required=True, metavar="DIR", help="where the files are to be; 0700")
    option("--once", action="store_true", help="end when they are there, instead of keeping them in force")
    option("--join", default="", metavar="FILE", help=f"a file with its join token ({JOIN_VARIABLE})")
    option(
        "--xds",
        default="",
        metavar="HOST:PORT,...",
        help="nodes, with a join token; default: as the settings say",
    )
    option(
        "--ttl",
        type=float,
        default=0.0,
        metavar="S",
        help="how long a certificate lives; default: the node's",
    )
    option("--log-level", choices=list(logs.LEVELS), default="info", help="default: %(default)s")
    command.add_client(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    logs.set_up(options.log_level)
    loop.run(_run(options))
    return 0


async def _run(options: argparse.Namespace) -> None:
    clock = BootClock()
    files = CredentialFiles(Path(options.out).absolute(), clock)
    identity = WorkloadIdentity(who(options), mesh_doors, files, clock, system_rng())
    try:
        await identity.open(files.load())
        if not options.once:
            with Signals() as signals:
                await signals.next()
    finally:
        await identity.close()


def who(options: argparse.Namespace) -> Who:
    """A join token where there is one, else the Unix socket of the node on this machine."""
    text = os.environ.get(JOIN_VARIABLE, "")
    if options.join:
        text = registry.read_text(options.join)
    texts = [each for each in (options.xds or os.environ.get(XDS_VARIABLE, "")).split(",") if each]
    nodes = tuple(parse_address(each) for each in texts)
    found = Who(
        service=options.service,
        namespace=options.namespace,
        instance=f"{platform.node()}-{os.getpid()}",
        nodes=nodes or (command.resolve(options).settings.address("listen_xds"),),
        ttl_s=options.ttl,
    )
    if text:
        return msgspec.structs.replace(found, token=join_token.parse(text))
    return msgspec.structs.replace(found, socket=mesh_identity.socket_of(options))
