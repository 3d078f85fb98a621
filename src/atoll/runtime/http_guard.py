"""Who may speak to an HTTP frontend: the check that stands before every one of them.

Rule: loopback is no boundary against a browser. On a loopback address the Host header must name the loopback (a
page whose name was re-bound to 127.0.0.1 sends its own name), and an Origin header, which browsers send with what
a page starts, must be the server's own. With a token, every request carries it besides.

Sources: RFC 9110 section 7.2 (Host), RFC 6454 section 7 (Origin), RFC 6750 (Bearer), RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.net import Address


class Gate:
    """``address`` is where the frontend listens; ``token`` empty: no credentials are asked for."""

    def __init__(self, address: Address, token: str = "") -> None:
        self._address = address
        self._token = token

    def check(self, headers: Iterable[tuple[bytes, bytes]], needs_token: bool = True) -> None:
        """Raises DENIED for a foreign Host or Origin, and DENIED / INVALID_TOKEN without the token."""
        found = {name.lower(): value.decode("latin-1") for name, value in headers}
        host = found.get(b"host", "")
        if self._address.is_loopback and not _names_loopback(host):
            raise AtollError(Code.DENIED, f"the Host header {host!r} is not this node's; use {self._address}")
        origin = found.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise AtollError(Code.DENIED, f"requests of pages from {origin!r} are refused")
        if self._token and needs_token and not self._has_token(found.get(b"authorization", "")):
            message = (
                "this node asks for its API token: Authorization: Bearer TOKEN (file api-token in its data)"
            )
            raise AtollError(Code.DENIED, message, reason=Reason.INVALID_TOKEN)

    def _has_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            given = _basic_password(given)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(), self._token.encode())


def _names_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    return Address(name, 0).is_loopback


def _basic_password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
