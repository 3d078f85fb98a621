"""From what the command line says to what is run: the client that the proxy is, its ports, its application's environment.

Rule: pure; what has to be drawn (free ports, the instance's name) comes as an argument. What cannot work is refused here,
before anything is started, by the name of its option.

A port is ``[SERVICE_PORT=]IN[:APP][/PROTOCOL]``: callers reach the sidecar at ``IN``, which reaches the application at
``APP`` of the loopback address; documents and callers of the mesh name the service's port, 80 for what speaks HTTP and
``IN`` for anything else unless it is given. Without ``APP`` a free port is drawn and told to the application.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code
from atoll.host.sidecar.folder import Folder
from atoll.host.sidecar.packets import Packets
from atoll.resources.mesh import proxy
from atoll.resources.mesh.clients import Capture, Client, Inbound, Kind, Outbound
from atoll.resources.mesh.instance_metadata import MUTUAL_TLS, PORTS, ports_text
from atoll.resources.mesh.services import PORT_OF_SERVICES, Locality, Protocol
from atoll.resources.naming_api import InstanceOrder
from atoll.resources.records import NOTHING
from atoll.runtime.net import Address

PORT_MAX = 65_535
PORTS_MAX = 32
LOOPBACK = "127.0.0.1"
CAPTURED = proxy.OUTBOUND_CAPTURE_PORT
ANY = ("0.0.0.0", "::")
DEFAULT_NAMESPACE = "default"
VERSION = "version"

_PORT = re.compile(r"(?:(?P<service>\d+)=)?(?P<port>\d+)(?::(?P<app>\d+))?(?:/(?P<protocol>[a-z0-9]+))?")
_OUT = re.compile(r"(?P<host>[^:=/]+)(?::(?P<service>\d+))?=(?:(?P<port>\d+)|(?P<path>/.+))")

_Choice = TypeVar("_Choice", bound=enum.StrEnum)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The command line, word by word. ``uid`` and ``gid``: of the application, where it is another user."""

    kind: Kind
    service: str
    namespace: str = DEFAULT_NAMESPACE
    version: str = ""
    labels: Sequence[str] = ()
    ports: Sequence[str] = ()
    protocol: str = Protocol.HTTP.value
    uses: Sequence[str] | None = None
    outs: Sequence[str] = ()
    capture: str = Capture.PORTS.value
    user: tuple[int, int] | None = None
    address: str = LOOPBACK
    advertise: str = ""
    http_port: int = 0
    locality: Locality = Locality()
    has_identity: bool = True


class Planned(msgspec.Struct, frozen=True):
    """``environment``: what the application is told besides its own. ``instance`` None: nothing to register."""

    client: Client
    environment: Mapping[str, str]
    answers_at: tuple[Address | str, ...]
    instance: InstanceOrder | None
    packets: Packets | None


def plan(asked: Asked, folder: Folder, free_port: Callable[[], int]) -> Planned:
    """Raises INVALID."""
    capture = _one_of(Capture, asked.capture, "--capture")
    inbound = _inbound(asked, capture, folder, free_port)
    client = Client(
        kind=asked.kind,
        service=asked.service,
        namespace=asked.namespace,
        labels=_labels(asked),
        locality=asked.locality,
        capture=capture,
        address=asked.address,
        inbound=inbound,
        outbound=tuple(_outbound(each) for each in asked.outs),
        http_port=asked.http_port or (CAPTURED if capture is Capture.REDIRECT else free_port()),
        http_path=str(folder.http_socket) if capture is Capture.UNIX else "",
        uses=tuple(asked.uses) if asked.uses is not None else None,
        has_identity=asked.has_identity,
    )
    return Planned(
        client,
        _environment(client, folder),
        tuple(each.app_path or Address(LOOPBACK, each.app_port) for each in inbound),
        _instance(asked, client),
        _packets(asked, client),
    )


# ------------------------------------------------------------------------------------------------ ports


def _inbound(
    asked: Asked, capture: Capture, folder: Folder, free_port: Callable[[], int]
) -> tuple[Inbound, ...]:
    if len(asked.ports) > PORTS_MAX:
        raise AtollError(Code.INVALID, f"--port: {len(asked.ports)} times; at most {PORTS_MAX}")
    found = tuple(_one_inbound(text, asked, capture, folder, free_port) for text in asked.ports)
    for what, numbers in (
        ("listens at", [each.port for each in found]),
        ("has the service's port", [each.service_port for each in found]),
    ):
        twice = sorted({each for each in numbers if numbers.count(each) > 1})
        if twice:
            raise AtollError(Code.INVALID, f"--port: more than one {what} {twice[0]}; each needs its own")
    if capture is Capture.UNIX and len(found) > 1:
        raise AtollError(Code.INVALID, "--capture unix: the application has one socket, so give one --port")
    return found


def _one_inbound(
    text: str, asked: Asked, capture: Capture, folder: Folder, free_port: Callable[[], int]
) -> Inbound:
    match = _PORT.fullmatch(text)
    if match is None:
        raise AtollError(
            Code.INVALID,
            f"--port {text}: expected [SERVICE_PORT=]IN[:APP][/PROTOCOL], as in 9080:9081 or 6379/redis",
        )
    protocol = _one_of(Protocol, match["protocol"] or asked.protocol, "--port or --protocol")
    port = _number(match["port"], text)
    service_port = _number(match["service"], text) if match["service"] else 0
    service_port = service_port or (PORT_OF_SERVICES if protocol.is_http else port)
    if capture is Capture.UNIX:
        return Inbound(port, 0, protocol, str(folder.app_socket), service_port)
    if match["app"]:
        app = _number(match["app"], text)
    else:
        app = port if capture is Capture.REDIRECT else free_port()
    if app == port and capture is not Capture.REDIRECT and asked.address in (LOOPBACK, *ANY):
        text = f"--port {text}: the sidecar and the application cannot both listen at {port}; give IN:APP"
        raise AtollError(Code.INVALID, text)
    return Inbound(port, app, protocol, "", service_port)


def _outbound(text: str) -> Outbound:
    match = _OUT.fullmatch(text)
    if match is None:
        raise AtollError(
            Code.INVALID,
            f"--out {text}: expected HOST[:SERVICE_PORT]=PORT or =/PATH, as in redis=6379 or redis:6379=/run/redis.sock",
        )
    port = _number(match["port"], text) if match["port"] else 0
    service_port = _number(match["service"], text) if match["service"] else port
    if not service_port:
        raise AtollError(
            Code.INVALID, f"--out {text}: which port of the service? As in redis:6379={match['path']}"
        )
    return Outbound(match["host"], service_port, port, match["path"] or "")


def _number(text: str, whole: str) -> int:
    if not 0 < int(text) <= PORT_MAX:
        raise AtollError(Code.INVALID, f"{whole}: {text} is no port; it must be from 1 to {PORT_MAX}")
    return int(text)


# ------------------------------------------------------------------------------------------- the rest


def _labels(asked: Asked) -> Mapping[str, str]:
    found = {}
    for text in asked.labels:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise AtollError(Code.INVALID, f"--label {text}: expected NAME=VALUE, as in track=canary")
        found[name] = value
    if asked.version:
        found[VERSION] = asked.version
    return found or NOTHING


def _environment(client: Client, folder: Folder) -> dict[str, str]:
    """See docs/reference/cli.md."""
    told = {
        "ATOLL_SERVICE": client.service,
        "ATOLL_NAMESPACE": client.namespace,
        "ATOLL_SIDECAR": str(folder.path),
    }
    if client.capture is Capture.UNIX:
        told["ATOLL_HTTP_OUT_SOCKET"] = client.http_path
    elif client.capture is Capture.PORTS:
        told["ATOLL_HTTP_OUT"] = f"http://{LOOPBACK}:{client.http_port}"
    for each in client.inbound[:1]:
        if each.app_path:
            told["ATOLL_APP_SOCKET"] = each.app_path
        else:
            told["ATOLL_APP_PORT"] = str(each.app_port)
    if len(client.inbound) > 1:
        told["ATOLL_APP_PORTS"] = ",".join(f"{each.service_port}={each.app_port}" for each in client.inbound)
    for out in client.outbound:
        name = re.sub(r"[^A-Z0-9]", "_", out.host.upper())
        told[f"ATOLL_OUT_{name}"] = out.path or f"{LOOPBACK}:{out.port}"
    return told


def _instance(asked: Asked, client: Client) -> InstanceOrder | None:
    if not client.inbound:
        return None
    advertised = asked.advertise or client.address
    if advertised in ANY:
        text = f"--address {client.address}: where do callers reach this machine? Say so with --advertise ADDRESS"
        raise AtollError(Code.INVALID, text)
    where = {
        "region": asked.locality.region,
        "zone": asked.locality.zone,
        "sub_zone": asked.locality.sub_zone,
    }
    metadata = {
        **client.labels,
        **{name: value for name, value in where.items() if value},
        PORTS: ports_text(client.inbound),
        MUTUAL_TLS: str(asked.has_identity).lower(),
    }
    namespace = "" if client.namespace == DEFAULT_NAMESPACE else client.namespace
    return InstanceOrder(
        client.service, advertised, client.inbound[0].port, namespace=namespace, metadata=metadata
    )


def _packets(asked: Asked, client: Client) -> Packets | None:
    if client.capture is not Capture.REDIRECT:
        return None
    if asked.user is None or asked.user[0] == 0:
        text = "--capture redirect needs --uid-app USER: the application must be another user than the proxy"
        raise AtollError(Code.INVALID, text)
    return Packets(
        uid=asked.user[0],
        inbound=tuple(each.port for each in client.inbound),
        inbound_to=proxy.INBOUND_CAPTURE_PORT,
        outbound_to=client.http_port,
    )


def _one_of(kind: type[_Choice], text: str, option: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        choices = ", ".join(each.value for each in kind)
        raise AtollError(Code.INVALID, f"{option} {text}: it must be one of {choices}") from None
