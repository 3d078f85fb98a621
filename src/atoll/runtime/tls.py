"""TLS contexts from files, with errors that name the file.

Rule: TLS 1.2 or newer, the interpreter's own choice of ciphers; a client's certificate is verified or not asked for.
"""

from __future__ import annotations

import ssl

from atoll.errors import AtollError, Code


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
