"""The address of an etcd cluster, as text: ``etcd://[user:password@]host:port[,host:port...][?option=value&...]``.

One rule: a mistake is named together with what would be right, and the password appears in no message and no
``repr``, not even where a forgotten part makes it look like a port or an option. Options are ``ca``, ``cert`` and ``key`` (paths of PEM files; any of them means TLS) and ``tls=true``
(TLS against the system's authorities). User, password and option values are percent-decoded (RFC 3986, 2.1).
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

import msgspec

from atoll.errors import AtollError, Code

SCHEME = "etcd://"
PORT_DEFAULT = 2379
ENDPOINTS_MAX = 16
OPTIONS = ("ca", "cert", "key", "tls")
FORM = "etcd://[user:password@]host:port[,host:port...][?ca=FILE&cert=FILE&key=FILE]"


class EtcdAddress(msgspec.Struct, frozen=True):
    """``endpoints`` are ``host:port``, without repeats, in the order they were written."""

    endpoints: tuple[str, ...]
    user: str = ""
    password: str = ""
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"EtcdAddress({self.text()!r})"

    def text(self) -> str:
        """The address for people: without password and options."""
        user = f"{self.user}@" if self.user else ""
        return f"{SCHEME}{user}{','.join(self.endpoints)}"


def parse(url: str) -> EtcdAddress:
    """Raises INVALID with what is wrong and what would be right."""
    if not url.startswith(SCHEME):
        raise _wrong("it must begin with etcd://")
    rest, _, query = url[len(SCHEME) :].partition("?")
    credentials, _, hosts = rest.rpartition("@")
    user, password = _credentials(credentials)
    options = _options(query)
    return EtcdAddress(
        endpoints=_endpoints(hosts.rstrip("/")),
        user=user,
        password=password,
        tls=options.get("tls") == "true" or any(options.get(name) for name in ("ca", "cert", "key")),
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
    )


def _wrong(what: str) -> AtollError:
    return AtollError(Code.INVALID, f"the etcd address is not valid: {what}; the form is {FORM}")


def _credentials(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if text and not (user and colon and password):
        raise _wrong("before the @ there must be a user, a colon and a password")
    return unquote(user), unquote(password)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "@" in query:
        raise _wrong(
            "there is an @ after a ?; in a user or password write ? as %3F, and @ in an option as %40"
        )
    for name, value in options.items():
        if name not in OPTIONS:
            raise _wrong(f"there is no option {name!r}, only {', '.join(OPTIONS)}")
        if not value:
            raise _wrong(f"option {name!r} is empty")
    if options.get("tls", "true") not in ("true", "false"):
        raise _wrong("option 'tls' must be true or false")
    if options.get("tls") == "false" and len(options) > 1:
        raise _wrong("tls=false contradicts the certificate options")
    if ("cert" in options) != ("key" in options):
        raise _wrong("'cert' and 'key' go together; one of them is missing")
    return options


def _endpoints(hosts: str) -> tuple[str, ...]:
    if "/" in hosts:
        raise _wrong("it has a path; etcd has none")
    endpoints = tuple(dict.fromkeys(_endpoint(host.strip()) for host in hosts.split(",")))
    if len(endpoints) > ENDPOINTS_MAX:
        raise _wrong(f"it has {len(endpoints)} endpoints; at most {ENDPOINTS_MAX} are followed")
    return endpoints


def _endpoint(text: str) -> str:
    """``host``, ``host:port``, ``[v6]`` or ``[v6]:port``, with the default port filled in."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(PORT_DEFAULT)
    if not host.strip("[]"):
        raise _wrong("a host is empty")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise _wrong("a host has several colons; write an IPv6 address as [address]:port")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise _wrong(f"after {host!r} there must be a port from 1 to 65535")
    return f"{host}:{int(port)}"
