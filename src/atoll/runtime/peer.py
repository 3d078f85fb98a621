"""Who is at the other end of a connection, as far as the system or the handshake vouches for it.

Rule: nothing here was said by the peer itself: addresses are the kernel's, a Unix socket's uid and pid are from when it
connected (SO_PEERCRED, unix(7)), and names of a certificate are set only where it was verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Any

import msgspec

from atoll.runtime import net

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class Peer(msgspec.Struct, frozen=True):
    """``uid`` None: not a Unix socket. ``certificate_ends_s``: Unix time at which its certificate is over, 0: it showed none."""

    address: str  # "127.0.0.1:40312"
    is_loopback: bool = False
    tls: bool = False
    tls_common_name: str = ""
    tls_dns_names: tuple[str, ...] = ()
    spiffe_id: str = ""  # "spiffe://..." from the certificate's URI name
    certificate_serial: str = ""  # lower-case hexadecimal
    certificate_ends_s: float = 0.0
    uid: int | None = None
    pid: int = 0


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return _local(sock)
    name = transport.get_extra_info("peername") or ("", 0)
    host, port = str(name[0]), name[1]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    is_loopback = host.startswith("127.") or host == "::1"
    secured = transport.get_extra_info("ssl_object")
    if secured is None:
        return Peer(address, is_loopback)
    return _secured(address, is_loopback, secured.getpeercert() or {})


def _local(sock: Any) -> Peer:
    pid, uid, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return Peer(address=f"{net.UNIX_SCHEME}uid={uid}", is_loopback=True, uid=uid, pid=pid)


def _secured(address: str, is_loopback: bool, certificate: dict[str, Any]) -> Peer:
    subject = {key: value for part in certificate.get("subject", ()) for key, value in part}
    ends = certificate.get("notAfter")
    return Peer(
        address=address,
        is_loopback=is_loopback,
        tls=True,
        tls_common_name=subject.get("commonName", ""),
        tls_dns_names=_names(certificate, "DNS"),
        spiffe_id=spiffe_id_of(certificate),
        certificate_serial=certificate.get("serialNumber", "").lower(),
        certificate_ends_s=float(ssl.cert_time_to_seconds(ends)) if ends else 0.0,
    )


def spiffe_id_of(certificate: dict[str, Any]) -> str:
    """The one URI name of a verified certificate (as ``ssl`` gives it) if it is a SPIFFE id, otherwise nothing: a
    certificate with several URI names is no SVID (SPIFFE X509-SVID, section 2).
    """
    names = _names(certificate, "URI")
    return names[0] if len(names) == 1 and names[0].startswith("spiffe://") else ""


def _names(certificate: dict[str, Any], wanted: str) -> tuple[str, ...]:
    return tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == wanted)
