"""TLS contexts from files, with errors that name the file.

Rule: TLS 1.2 or newer, the interpreter's own choice of ciphers; a client's certificate is verified or not asked for.
Keys of the mesh are never in a file that has a name: ``ssl`` reads them from memory (memfd_create(2)).
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Sequence

import msgspec

from atoll.errors import AtollError, Code

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


def server_context(certificate_file: str, key_file: str, client_ca_file: str = "") -> ssl.SSLContext:
    """For a listener. ``client_ca_file``: clients must bring a certificate signed by one of these. Raises INVALID."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        message = f"cannot use the certificate {certificate_file} with the key {key_file}: {error}"
        raise AtollError(Code.INVALID, message) from error
    if client_ca_file:
        try:
            context.load_verify_locations(client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise AtollError(
                Code.INVALID, f"cannot use the certificates in {client_ca_file}: {error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def peer_context(certificate_file: str, key_file: str, ca_file: str) -> ssl.SSLContext:
    """For a connection to another node: it must bring a certificate of ``ca_file``, whatever its name, since a node is
    not its address. Raises INVALID.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
        context.check_hostname = False
        context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        text = f"cannot use {certificate_file}, {key_file} and {ca_file} for other nodes: {error}"
        raise AtollError(Code.INVALID, text) from error
    return context


class ServerTls:
    """The TLS of a listener, replaceable while it serves: a connection begins with what ``context`` is then. None: no
    handshake is answered.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self._protocols: list[str] = []

    def offer(self, protocols: Sequence[str]) -> None:
        """What to agree on by ALPN (RFC 7301), now and after each replacement."""
        self._protocols = list(protocols)
        if self.context is not None:
            self.context.set_alpn_protocols(self._protocols)

    def replace(self, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(self._protocols)
        self.context = context


class Credentials(msgspec.Struct, frozen=True):
    """A certificate chain, its key, and whom to trust, all PEM; without ``key`` nothing is shown."""

    roots: str
    chain: str = ""
    key: str = ""


def mesh_server(credentials: Credentials) -> ssl.SSLContext:
    """For a listener of the mesh: clients show a certificate of ``roots``, or none; a wrong one ends the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    _load(context, credentials)
    return context


def mesh_client(credentials: Credentials) -> ssl.SSLContext:
    """For a connection to a listener of the mesh. Its name is a SPIFFE id, which the caller compares."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    _load(context, credentials)
    return context


def unverified_client() -> ssl.SSLContext:
    """Believes nobody: for asking what will be checked by other means. Nothing secret may go through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    try:
        context.load_verify_locations(cadata=credentials.roots)
        if credentials.key:
            _load_pair(context, credentials)
    except (OSError, ssl.SSLError) as error:
        raise AtollError(Code.INVALID, f"these credentials of the mesh cannot be used: {error}") from error


def _load_pair(context: ssl.SSLContext, credentials: Credentials) -> None:
    descriptor = os.memfd_create("credentials")
    try:
        os.write(descriptor, f"{credentials.key}\n{credentials.chain}".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def certificates_of(pem: str) -> list[str]:
    """Each certificate of ``pem`` by itself."""
    return [f"{_BEGIN}{part.partition(_END)[0]}{_END}\n" for part in pem.split(_BEGIN)[1:]]


def fingerprint(pem: str) -> str:
    """SHA-256 of one certificate, hexadecimal. Raises INVALID."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError as error:
        raise AtollError(Code.INVALID, f"not a certificate in PEM: {error}") from error
