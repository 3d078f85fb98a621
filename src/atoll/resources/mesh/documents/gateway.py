"""Istio's ``Gateway`` (networking.istio.io/v1): what a gateway listens on, for which hosts and with which TLS.

Rule: as ``parts``. ``selector`` chooses gateway clients by their labels, in all namespaces; what is routed there say the
VirtualServices that name it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import (
    UPPER,
    Fault,
    Labels,
    Part,
    PortNumber,
    is_host_pattern,
    repeated,
)
from atoll.resources.records import NOTHING

TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


CipherSuite = Literal[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
]
"""Up to TLS 1.2; those of TLS 1.3 are not chosen."""


class ServerPort(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"targetPort": "it has no effect; leave it out"}

    number: PortNumber
    protocol: Annotated[
        Literal["HTTP", "HTTPS", "HTTP2", "GRPC", "TCP", "TLS"], msgspec.Meta(extra={"form": UPPER})
    ]
    name: str = ""


class ServerTls(Part, frozen=True):
    """Files are those of the machine where the gateway runs; ``credentialName`` is a secret that its agent serves."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "verifyCertificateSpki": "name the clients in subjectAltNames",
        "verifyCertificateHash": "name the clients in subjectAltNames",
        "credentialNames": "give one credentialName a server",
        "tlsCertificates": "give serverCertificate and privateKey",
    }

    mode: Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"] = "PASSTHROUGH"
    httpsRedirect: bool = False
    serverCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""
    caCrl: str = ""
    credentialName: str = ""
    subjectAltNames: tuple[str, ...] = ()
    minProtocolVersion: TlsVersion = "TLS_AUTO"
    maxProtocolVersion: TlsVersion = "TLS_AUTO"
    cipherSuites: tuple[CipherSuite, ...] = ()

    def faults(self) -> Iterator[Fault]:
        files = [
            name for name in ("serverCertificate", "privateKey", "caCertificates") if getattr(self, name)
        ]
        if self.mode in ("PASSTHROUGH", "ISTIO_MUTUAL"):
            for name in (*files, *(["credentialName"] if self.credentialName else [])):
                yield Fault((name,), f"mode {self.mode} takes no certificates from here", "leave it out")
        elif not self.credentialName:
            needed = ["serverCertificate", "privateKey"]
            needed += ["caCertificates"] if self.mode in ("MUTUAL", "OPTIONAL_MUTUAL") else []
            for name in needed:
                if not getattr(self, name):
                    yield Fault((), f"mode {self.mode} needs {name}", "give the files, or credentialName")
        elif files:
            yield Fault((files[0],), "credentialName and files exclude each other", "give one of them")
        order = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
        low, high = order.index(self.minProtocolVersion), order.index(self.maxProtocolVersion)
        if high and low > high:
            yield Fault(("minProtocolVersion",), "is above maxProtocolVersion", "exchange them")


class Server(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"defaultEndpoint": "route with a VirtualService"}

    port: ServerPort
    hosts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    bind: str = ""
    name: str = ""
    tls: ServerTls | None = None

    def faults(self) -> Iterator[Fault]:
        for position, host in enumerate(self.hosts):
            if not is_host_pattern(host.rpartition("/")[2]):
                yield Fault(
                    ("hosts", position), f"{host!r} is no host", "write HOST, *.HOST or NAMESPACE/HOST"
                )
        encrypted = self.port.protocol in ("HTTPS", "TLS")
        if encrypted and self.tls is None:
            yield Fault((), f"protocol {self.port.protocol} needs tls", "give tls: {mode: ...}")
        if self.tls is not None and not encrypted and self.tls != ServerTls(httpsRedirect=True):
            yield Fault(
                ("tls",),
                f"protocol {self.port.protocol} has no TLS",
                "write HTTPS or TLS, or only httpsRedirect",
            )
        if self.port.protocol == "HTTPS" and self.tls is not None and self.tls.httpsRedirect:
            yield Fault(
                ("tls", "httpsRedirect"), "HTTPS is redirected to itself", "put it at the HTTP server"
            )


class Gateway(Part, frozen=True):
    servers: Annotated[tuple[Server, ...], msgspec.Meta(min_length=1)]
    selector: Labels = NOTHING

    def faults(self) -> Iterator[Fault]:
        yield from repeated((each.name for each in self.servers), ("servers",), "name")
        if not self.selector:
            yield Fault((), "selects no gateway", "give selector: {istio: ingressgateway}, say")
        yield from self._twice()
        yield from self._mixed()

    def _twice(self) -> Iterator[Fault]:
        seen: dict[tuple[int, str, str], int] = {}
        for position, server in enumerate(self.servers):
            for host in server.hosts:
                place = (server.port.number, server.bind, host)
                if seen.setdefault(place, position) != position:
                    yield Fault(
                        ("servers", position, "hosts"),
                        f"{host} on port {server.port.number} is served by number {seen[place] + 1} already",
                        "take it out of one of them",
                    )

    def _mixed(self) -> Iterator[Fault]:
        protocols: dict[tuple[int, str], str] = {}
        for position, server in enumerate(self.servers):
            place, family = (server.port.number, server.bind), family_of(server)
            if protocols.setdefault(place, family) != family:
                yield Fault(
                    ("servers", position, "port"),
                    f"port {server.port.number} is {protocols[place]} and {family}",
                    "give each its own port",
                )


def family_of(server: Server) -> str:
    """What can share a port: cleartext HTTP, what is told apart by its TLS server name, or one byte stream."""
    if server.port.protocol in ("HTTP", "HTTP2", "GRPC"):
        return "HTTP"
    return "TCP" if server.port.protocol == "TCP" else "TLS"
