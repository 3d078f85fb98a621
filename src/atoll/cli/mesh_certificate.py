"""``atoll mesh certificate``: keeps a workload's key, certificate and roots in files, for who has no Envoy beside it, and
writes gRPC's bootstrap beside them (``GRPC_XDS_BOOTSTRAP``).

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
from atoll.host.sidecar import grpc_bootstrap, plan
from atoll.host.sidecar.bootstrap import Wiring
from atoll.host.sidecar.folder import Folder
from atoll.host.sidecar.identity.files import CredentialFiles
from atoll.host.sidecar.identity.workload import Who, WorkloadIdentity
from atoll.host.sidecar.plan import Asked
from atoll.resources.mesh import join_token, proxyless
from atoll.resources.mesh.clients import Kind
from atoll.resources.mesh.services import Locality
from atoll.runtime import disk, logs, loop
from atoll.runtime.clock import BootClock
from atoll.runtime.net import parse_address
from atoll.runtime.rng import system_rng
from atoll.runtime.signals import Signals

JOIN_VARIABLE = "ATOLL_JOIN_TOKEN"
XDS_VARIABLE = "ATOLL_XDS"


def add(actions: Any) -> None:
    text = "keep a workload's certificate and bootstrap in files, for proxyless gRPC"
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
    option(
        "--port",
        action="append",
        default=[],
        type=int,
        metavar="N",
        help="a port that it serves gRPC at; repeatable",
    )
    option("--version", default="", metavar="V", help="its label `version`")
    option("--label", action="append", default=[], metavar="NAME=VALUE", help="a further label; repeatable")
    option("--region", default="", metavar="NAME", help="the region it runs in")
    option("--zone", default="", metavar="NAME", help="the zone it runs in")
    option("--sub-zone", default="", metavar="NAME", help="the sub-zone it runs in")
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
        write_bootstrap(options)
        if not options.once:
            with Signals() as signals:
                await signals.next()
    finally:
        await identity.close()


def write_bootstrap(options: argparse.Namespace) -> None:
    """Beside the certificate."""
    asked = Asked(
        kind=Kind.GRPC,
        service=options.service,
        namespace=options.namespace,
        version=options.version,
        labels=options.label,
        ports=[f"{number}:{number}/grpc" for number in options.port],
        locality=Locality(options.region, options.zone, options.sub_zone),
    )
    wanted = who(options)
    folder = Path(options.out).absolute()
    planned = plan.plan(asked, Folder(folder), lambda: 0)
    client = msgspec.structs.replace(planned.client, extensions=frozenset({proxyless.CERTIFICATES}))
    wiring = Wiring(client=client, instance=wanted.instance, xds=wanted.nodes)
    disk.write_private_file(folder / grpc_bootstrap.FILE, grpc_bootstrap.bootstrap(wiring, folder))


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
