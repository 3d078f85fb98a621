"""Who may speak to an HTTP frontend: the check that stands before every one of them.

Rule: loopback is no boundary against a browser. On a loopback address the Host header must name the loopback (a
page whose name was re-bound to 127.0.0.1 sends its own name), and an Origin header, which browsers send with what
a page starts, must be the server's own. With a token, every request carries it besides; an endpoint that is meant
for users also takes what a user got at login, and is told who that is.

Sources: RFC 9110 section 7.2 (Host), RFC 6454 section 7 (Origin), RFC 6750 (Bearer), RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import binascii
import enum
import functools
import hmac
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.net import Address
from atoll.runtime.peer import Peer

HOSTS_KEPT_MAX = 64  # Host headers whose answer is remembered: a client sends the same one with every request

Sessions: TypeAlias = Callable[[str], str]
"""What a user got at login -> the user; empty while nobody needs to log in. Raises DENIED."""


class Audience(enum.Enum):
    """For whom an endpoint is."""

    ALL = "all"  # no credentials
    USERS = "users"  # the node's token, or a user's own
    OPERATORS = "operators"  # the node's token


OPERATOR_NAME = "(operator)"  # who showed the node's own token; no user can have this name and log in


class Caller(msgspec.Struct, frozen=True):
    """Who asks. ``operator``: by the node's token (``proven``), or where this frontend asks for none; ``user`` is empty
    then, and for an endpoint that is open to all.
    """

    user: str = ""
    address: str = ""
    operator: bool = False
    proven: bool = False
    peer: Peer | None = None  # None: a request of this process itself

    def operates(self, credentials_are_asked: bool) -> bool:
        """Whoever needed no token is the operator only while nobody needs one."""
        return self.operator and (self.proven or not credentials_are_asked)


class Door(Protocol):
    """Asked before every request of a frontend."""

    def check(
        self, headers: Iterable[tuple[bytes, bytes]], audience: Audience, peer: Peer | None = None
    ) -> Caller:
        """Raises DENIED."""


class Gate:
    """``address`` is where the frontend listens; ``token`` empty: no credentials are asked for. ``sessions`` knows
    the users' tokens; without it there is only the node's.
    """

    def __init__(self, address: Address, token: str = "", sessions: Sessions | None = None) -> None:
        self._address = address
        self._token = token
        self._sessions = sessions

    def check(
        self, headers: Iterable[tuple[bytes, bytes]], audience: Audience, peer: Peer | None = None
    ) -> Caller:
        """Raises DENIED for a foreign Host or Origin, and DENIED / INVALID_TOKEN without a token for ``audience``."""
        found = {name.lower(): value.decode("latin-1") for name, value in headers}
        host = found.get(b"host", "")
        if self._address.is_loopback and not _names_loopback(host):
            raise AtollError(Code.DENIED, f"the Host header {host!r} is not this node's; use {self._address}")
        origin = found.get(b"origin")
        if origin is not None and _netloc(origin) != host.lower():
            raise AtollError(Code.DENIED, f"requests of pages from {origin!r} are refused")
        if audience is Audience.ALL and self._token:
            return Caller()
        return self._bearer(found.get(b"authorization", ""), audience)

    def _bearer(self, authorization: str, audience: Audience) -> Caller:
        scheme, _, given = authorization.partition(" ")
        scheme, given = scheme.lower(), given.strip()
        secret = _basic_password(given) if scheme == "basic" else given if scheme == "bearer" else ""
        if self._token and hmac.compare_digest(secret.encode(), self._token.encode()):
            return Caller(operator=True, proven=True)
        if scheme == "bearer" and audience is Audience.USERS and self._sessions is not None:
            user = self._sessions(given)
            if user:
                return Caller(user=user)
        if not self._token:
            return Caller(operator=True)
        message = "this node asks for its API token: Authorization: Bearer TOKEN (file api-token in its data)"
        if audience is Audience.USERS:
            message += ", or for the token that a user gets at login"
        raise AtollError(Code.DENIED, message, reason=Reason.INVALID_TOKEN)


class SocketGate:
    """For a frontend at a Unix socket: this node's own user and root are its operators, proven by the system; anybody else
    is let in only where an endpoint is for all and asks ``caller.peer`` itself.
    """

    def __init__(self, owner_uid: int) -> None:
        self._operators = (0, owner_uid)

    def check(
        self, headers: Iterable[tuple[bytes, bytes]], audience: Audience, peer: Peer | None = None
    ) -> Caller:
        """Raises DENIED."""
        operator = peer is not None and peer.uid in self._operators
        if audience is not Audience.ALL and not operator:
            uid = "nobody" if peer is None else f"uid {peer.uid}"
            text = f"this is for uid {self._operators[1]}, whose node this is, and for root; {uid} asked"
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
        return Caller(operator=operator, proven=operator, peer=peer)


class CertificateGate:
    """For a frontend that asks for certificates of the mesh: nobody is its operator; endpoints that are for all ask
    ``caller.peer`` themselves.
    """

    def check(
        self, headers: Iterable[tuple[bytes, bytes]], audience: Audience, peer: Peer | None = None
    ) -> Caller:
        """Raises DENIED."""
        if audience is not Audience.ALL:
            text = (
                "this address is for workloads of the mesh; operators ask at the HTTP API or the Unix socket"
            )
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
        return Caller(peer=peer)


@functools.lru_cache(maxsize=HOSTS_KEPT_MAX)
def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # half an IPv6 address
        return False
    return Address(name, 0).is_loopback


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _basic_password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
