"""A certificate authority, a server's and a client's certificate, made by openssl in a directory of the test."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SUBJECT_ALT_NAMES = "DNS:localhost,IP:127.0.0.1"
CLIENT_URI = "spiffe://atoll.test/client"


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def make_certificates(directory: Path, *, client_name: str = "client") -> Certificates:
    """``client_name`` is the client certificate's common name (etcd's user with --client-cert-auth)."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_key, ca = directory / "ca.key", directory / "ca.pem"
    _openssl(
        *("req", "-x509", *_new_key(ca_key), "-subj", "/CN=test authority", "-days", "2", "-out", str(ca)),
        *("-addext", "keyUsage=keyCertSign"),
    )
    server = _issue(directory, "server", "server", f"subjectAltName={SUBJECT_ALT_NAMES}", ca, ca_key)
    client = _issue(directory, "client", client_name, f"subjectAltName=URI:{CLIENT_URI}", ca, ca_key)
    return Certificates(ca, *server, *client)


def _issue(
    directory: Path, file_name: str, common_name: str, extension: str, *authority: Path
) -> tuple[Path, Path]:
    ca, ca_key = authority
    key, request, cert = (directory / f"{file_name}.{suffix}" for suffix in ("key", "csr", "pem"))
    _openssl("req", *_new_key(key), "-subj", f"/CN={common_name}", "-addext", extension, "-out", str(request))
    _openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial"),
        *("-days", "2", "-copy_extensions", "copy", "-out", str(cert)),
    )
    return cert, key


def _new_key(path: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
