"""``atoll sidecar`` and ``atoll gateway``: an Envoy of the mesh, before an application or alone at the border.

Rule: everything before ``--`` is about the proxy, everything after it is the application. What the options mean together is
decided in ``host.sidecar.plan``; here they are read.
"""

from __future__ import annotations

import argparse
import os
import platform
import pwd
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atoll.cli import command, mesh_identity
from atoll.cli.mesh_certificate import JOIN_VARIABLE
from atoll.client import mesh_doors
from atoll.client.registry import Options, Registry
from atoll.errors import AtollError, Code
from atoll.host.node import TOKEN_FILE
from atoll.host.sidecar import folder as folders
from atoll.host.sidecar import machine, plan
from atoll.host.sidecar.bootstrap import Wiring
from atoll.host.sidecar.folder import Folder
from atoll.host.sidecar.identity.credentials import NamedCredentials, parse_credential
from atoll.host.sidecar.identity.files import CredentialFiles, KeptToo
from atoll.host.sidecar.identity.held import Held
from atoll.host.sidecar.identity.sds import SecretServer
from atoll.host.sidecar.identity.workload import Who, WorkloadIdentity
from atoll.host.sidecar.plan import Asked, Planned
from atoll.host.sidecar.processes import Program
from atoll.host.sidecar.proxy import Limits
from atoll.host.sidecar.supervisor import Order, Supervisor
from atoll.resources.mesh import join_token
from atoll.resources.mesh.clients import Capture, Kind
from atoll.resources.mesh.services import Locality, Protocol
from atoll.resources.mesh.traffic import ReportTaken, TrafficReport
from atoll.resources.naming_api import InstanceAsked, InstanceOrder
from atoll.runtime import logs, loop, net
from atoll.runtime.clock import BootClock
from atoll.runtime.net import Address, parse_address
from atoll.runtime.rng import system_rng
from atoll.runtime.tls import Credentials

EXIT_NOT_FOUND = 127
XDS_VARIABLE = "ATOLL_XDS"
GATEWAY_NAME = "gateway"


def add(commands: Any) -> None:
    sidecar = commands.add_parser(
        "sidecar",
        help="run a program with an Envoy of the mesh before it",
        usage="atoll sidecar --service SERVICE [options] -- PROGRAM [ARGUMENT ...]",
        description="Run PROGRAM as an instance of SERVICE, with an Envoy of the mesh before it.",
    )
    sidecar.add_argument("program", nargs="+", metavar="PROGRAM", help="after --: the application")
    sidecar.add_argument("--service", required=True, metavar="SERVICE", help="whose instance it is")
    _add_client(sidecar)
    _add_application(sidecar)
    _add_proxy(sidecar)
    sidecar.set_defaults(run=run)
    gateway = commands.add_parser(
        "gateway",
        help="run an Envoy of the mesh at its border",
        description="Run an Envoy of the mesh that serves what Gateway documents say.",
    )
    gateway.add_argument("--service", default=GATEWAY_NAME, metavar="NAME", help="default: %(default)s")
    _add_client(gateway)
    gateway.add_argument(
        "--credential",
        action="append",
        default=[],
        metavar="NAME=CERT,KEY[,CA]",
        help="PEM files of the certificate, its key and the authority of clients that a Gateway document calls NAME "
        "(credentialName, certificateRefs); read again when they change; repeatable",
    )
    _add_proxy(gateway)
    gateway.set_defaults(run=run, program=[])


def _add_client(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who it is")
    option = group.add_argument
    option("--namespace", default=plan.DEFAULT_NAMESPACE, help="default: %(default)s")
    option("--version", default="", metavar="V", help="its label `version`, for subsets")
    option("--label", action="append", default=[], metavar="NAME=VALUE", help="a further label; repeatable")
    for part in ("region", "zone", "sub-zone"):
        option(f"--{part}", default="", metavar="NAME", help=f"the {part} it runs in")
    option(
        "--address", default=plan.LOOPBACK, help="where the proxy listens for callers; default: %(default)s"
    )


def _add_application(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the application")
    option = group.add_argument
    option(
        "--port",
        action="append",
        default=[],
        metavar="[PORT=]IN[:APP][/PROTOCOL]",
        help="callers reach the proxy at IN, it reaches the application at APP of the loopback address (default: a free "
        "port, told in ATOLL_APP_PORT); the service's port is PORT (default: 80 for HTTP, else IN); repeatable",
    )
    option(
        "--protocol",
        default=Protocol.HTTP.value,
        choices=[each.value for each in Protocol],
        help="of ports without /PROTOCOL; default: %(default)s",
    )
    option(
        "--uses", default=None, metavar="A,B", help="the services that it calls; default: as documents say"
    )
    option(
        "--out",
        action="append",
        default=[],
        metavar="SERVICE[:PORT]=LOCAL",
        help="a listener of its own towards a service: a local port or a Unix socket's path; repeatable",
    )
    option(
        "--capture",
        default=Capture.PORTS.value,
        choices=[each.value for each in Capture],
        help="how its traffic gets to the proxy: explicit ports (default), Unix sockets, or iptables (redirect)",
    )
    option("--uid-app", default="", metavar="USER", help="run the application as this user (name or number)")
    option("--advertise", default="", metavar="ADDRESS", help="where callers find it, if not at --address")
    option("--http-port", type=int, default=0, metavar="N", help="its way out by HTTP; default: a free port")
    option("--no-register", action="store_true", help="do not register an instance")
    option(
        "--stop-within",
        type=float,
        default=machine.Rules.stop_within_s,
        metavar="S",
        help="time to end after TERM",
    )


def _add_proxy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the proxy")
    option = group.add_argument
    option(
        "--xds",
        default="",
        metavar="HOST:PORT,...",
        help=f"the control plane ({XDS_VARIABLE}); default: as the settings say",
    )
    option("--sotw", action="store_true", help="xDS by state of the world, not incremental")
    option(
        "--insecure-xds",
        action="store_true",
        help="xDS in plain text, and no identity: callers get no TLS of the mesh (see mesh.insecure_xds)",
    )
    option("--join", default="", metavar="FILE", help=f"a file with its join token ({JOIN_VARIABLE})")
    option(
        "--keep-identity",
        default="",
        metavar="DIR",
        help="keep key and certificate there (0600), so that a start after the first needs no join token",
    )
    option(
        "--enrol-at",
        default="",
        metavar="PATH",
        help="a node's Unix socket, where its user proves it; default: as the settings say",
    )
    option(
        "--certificate-ttl",
        type=float,
        default=0.0,
        metavar="S",
        help="how long its certificates live; default: as long as the node gives",
    )
    option("--metrics", default="", metavar="HOST:PORT", help="serve Prometheus metrics there, at /metrics")
    option(
        "--envoy",
        default="",
        metavar="FILE",
        help="its program; default: that of atoll[mesh], or envoy in PATH",
    )
    option("--envoy-threads", type=int, default=2, metavar="N", help="workers; default: %(default)s")
    option("--envoy-log-level", default="warning", metavar="LEVEL", help="default: %(default)s")
    option(
        "--runtime", default="", metavar="DIR", help="its folder for sockets; default: one of this user's own"
    )
    option(
        "--drain-within",
        type=float,
        default=machine.Rules.drain_within_s,
        metavar="S",
        help="wait so long for requests under way when it stops; default: %(default)s",
    )
    option(
        "--hand-over",
        type=int,
        default=20,
        metavar="S",
        help="connections outlive an upgrade of Envoy (signal HUP) by so long; default: %(default)s",
    )
    option("--log-level", choices=list(logs.LEVELS), default="info", help="default: %(default)s")
    command.add_client(parser)


def run(options: argparse.Namespace) -> int:
    logs.set_up(options.log_level)
    if options.program and shutil.which(options.program[0]) is None:
        sys.stderr.write(f"atoll sidecar: no such program: {options.program[0]}\n")
        return EXIT_NOT_FOUND
    folder = Folder(Path(options.runtime).absolute()) if options.runtime else folders.fresh(options.service)
    planned = plan.plan(_asked(options), folder, net.free_port)
    if not options.program or options.no_register:
        planned = msgspec.structs.replace(planned, instance=None)
    return loop.run(_run(options, _order(options, folder, planned), planned.instance))


async def _run(options: argparse.Namespace, order: Order, instance: InstanceOrder | None) -> int:
    registrar = Registration(_registry(options), instance) if instance is not None else None
    credentials = [parse_credential(each) for each in getattr(options, "credential", ())]
    if credentials and options.insecure_xds:
        text = "--credential is served together with the identity: leave --insecure-xds out, or name files in the Gateway"
        raise AtollError(Code.INVALID, text)
    log = logs.Log("sidecar").bind(service=options.service)
    clock = BootClock()

    def identity(may_ask: Callable[[int], bool]) -> Enrolment:
        secrets = SecretServer(order.folder.sds_socket, may_ask, clock)
        files = (
            CredentialFiles(Path(options.keep_identity).absolute(), clock) if options.keep_identity else None
        )
        sink = KeptToo(secrets, files) if files is not None else secrets
        kept = WorkloadIdentity(_who(options, order), mesh_doors, sink, clock, system_rng())
        named = NamedCredentials(credentials, secrets.serve_also)
        return Enrolment(kept, files.load() if files is not None else None, named, order.wiring.xds)

    made = None if options.insecure_xds else identity
    return await Supervisor(order, made, registrar, clock, log).run()


class Enrolment:
    """The workload's identity, as a node of the mesh certifies it, and what a gateway shows to outsiders (``named``).
    ``held``: from an earlier run. ``nodes``: their xDS ports.
    """

    def __init__(
        self, kept: WorkloadIdentity, held: Held | None, named: NamedCredentials, nodes: Sequence[Address]
    ) -> None:
        self._kept = kept
        self._held = held
        self._named = named
        self._nodes = nodes

    async def open(self) -> str:
        await self._named.open()
        await self._kept.open(self._held)
        held = self._kept.held
        return held.bundle.control_plane if held is not None else ""

    async def report(self, report: TrafficReport) -> ReportTaken:
        held = self._kept.held
        if held is None:
            raise AtollError(Code.UNAVAILABLE, "the workload has no certificate yet")
        credentials = Credentials(held.bundle.roots, held.issued.chain, held.key)
        return await mesh_doors.reports(self._nodes, credentials, held.bundle).report(report)

    async def close(self) -> None:
        await self._named.close()
        await self._kept.close()


class Registration:
    """One instance in Atoll's registry."""

    def __init__(self, registry: Registry, order: InstanceOrder) -> None:
        self._registry = registry
        self._order = order
        self._name: InstanceAsked | None = None

    async def register(self) -> None:
        self._name = await self._registry.register(self._order)

    async def deregister(self) -> None:
        """What nobody knows of is gone as well."""
        order = self._order
        name = InstanceAsked(order.name, order.ip, order.port, namespace=order.namespace)
        try:
            await self._registry.deregister(self._name or name)
        except AtollError as error:
            if error.code is not Code.NOT_FOUND:
                raise

    async def close(self) -> None:
        await self._registry.close()


def _asked(options: argparse.Namespace) -> Asked:
    shared = {
        "service": options.service,
        "namespace": options.namespace,
        "version": options.version,
        "labels": options.label,
        "address": options.address,
        "has_identity": not options.insecure_xds,
        "locality": Locality(options.region, options.zone, options.sub_zone),
    }
    if not options.program:
        return Asked(kind=Kind.GATEWAY, **shared)
    return Asked(
        kind=Kind.SIDECAR,
        ports=options.port,
        protocol=options.protocol,
        uses=None if options.uses is None else [each for each in options.uses.split(",") if each],
        outs=options.out,
        capture=options.capture,
        user=_user(options.uid_app),
        advertise=options.advertise,
        http_port=options.http_port,
        **shared,
    )


def _user(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except KeyError:
        if text.isdecimal():
            return int(text), int(text)
        raise AtollError(Code.INVALID, f"--uid-app {text}: this machine has no such user") from None
    return found.pw_uid, found.pw_gid


def _order(options: argparse.Namespace, folder: Folder, planned: Planned) -> Order:
    texts = (options.xds or os.environ.get(XDS_VARIABLE, "")).split(",")
    xds = tuple(parse_address(each) for each in texts if each)
    wiring = Wiring(
        client=planned.client,
        instance=f"{platform.node()}-{os.getpid()}",
        xds=xds or (command.resolve(options).settings.address("listen_xds"),),
        delta=not options.sotw,
        metrics=_address(options.metrics),
    )
    has_app = bool(options.program)
    rules = machine.Rules(
        has_app=has_app,
        serves=planned.instance is not None,
        drain_within_s=options.drain_within,
        stop_within_s=options.stop_within if has_app else 0.0,
        replaced_within_s=options.hand_over + machine.REPLACED_MARGIN_S,
    )
    environment = {**os.environ, **planned.environment}
    user = _user(options.uid_app) if has_app else None
    return Order(
        wiring=wiring,
        folder=folder,
        rules=rules,
        limits=Limits(
            drain_s=max(1, options.hand_over // 2),
            parent_s=options.hand_over,
            threads=options.envoy_threads,
            log_level=options.envoy_log_level,
        ),
        envoy=options.envoy,
        program=Program(tuple(options.program), environment, user) if has_app else None,
        answers_at=planned.answers_at,
        packets=planned.packets,
    )


def _who(options: argparse.Namespace, order: Order) -> Who:
    """A join token where there is one, else the Unix socket of the node on this machine."""
    text = os.environ.get(JOIN_VARIABLE, "")
    if options.join:
        text = command.read(options.join)[1]
    socket = Path(options.enrol_at) if options.enrol_at else mesh_identity.socket_of(options)
    client = order.wiring.client
    return Who(
        service=client.service,
        namespace=client.namespace,
        instance=order.wiring.instance,
        socket=None if text else socket,
        nodes=order.wiring.xds,
        token=join_token.parse(text) if text else None,
        ttl_s=options.certificate_ttl,
    )


def _address(text: str) -> Address | None:
    return parse_address(text) if text else None


def _registry(options: argparse.Namespace) -> Registry:
    resolved = command.resolve(options)
    password = command.secret(options.password_file, f"password of {options.user}: ") if options.user else ""
    return Registry(
        options.url or os.environ.get(command.URL_VARIABLE) or command.api_url(resolved.settings),
        Options(
            app=options.service,
            token="" if options.user else command.token(resolved.settings.data / TOKEN_FILE),
            user=options.user,
            password=password,
            ca_file=options.ca,
        ),
    )
