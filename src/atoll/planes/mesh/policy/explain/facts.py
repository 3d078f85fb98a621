"""What Envoy knows of a request when it decides: its headers with the pseudo ones, its connection, proven claims.

Rule: values are as Envoy's matchers see them: names in lower case, each value of a name by itself, the host
without the port where the connection manager strips it. What is not asked about is empty, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.resources.mesh.explanations import Direction, Request
from atoll.resources.records import NOTHING


class Facts(msgspec.Struct, frozen=True):
    """``metadata``: dynamic metadata by filter, as filters before left it. ``port``: the destination's."""

    headers: Mapping[str, tuple[str, ...]]
    port: int = 0
    server_name: str = ""
    principal: str = ""
    source_address: str = ""
    destination_address: str = ""
    metadata: Mapping[str, Mapping[str, object]] = NOTHING
    claims: Mapping[str, str | tuple[str, ...]] = NOTHING
    inbound: bool = False

    @property
    def host(self) -> str:
        return self.header(":authority")

    @property
    def path(self) -> str:
        """With its query."""
        return self.header(":path")

    @property
    def method(self) -> str:
        return self.header(":method")

    @property
    def tls(self) -> bool:
        return bool(self.principal or self.server_name)

    def header(self, name: str) -> str:
        """The first value; empty: it is not there, or is empty."""
        return next(iter(self.headers.get(name, ())), "")

    def with_headers(self, changed: Mapping[str, str]) -> Facts:
        new = {name: (value,) for name, value in changed.items()}
        return msgspec.structs.replace(self, headers={**self.headers, **new})

    def with_metadata(self, filter_name: str, values: Mapping[str, object]) -> Facts:
        return msgspec.structs.replace(self, metadata={**self.metadata, filter_name: values})


def of_request(request: Request, port: int) -> Facts:
    """``port``: where it arrived."""
    headers: dict[str, tuple[str, ...]] = {
        ":authority": (request.host,),
        ":path": (request.path,),
        ":method": (request.method,),
        ":scheme": (request.scheme,),
    }
    for name, value in request.headers:
        key = name.lower()
        if key == "host":
            headers[":authority"] = (value,)
        else:
            headers[key] = (*headers.get(key, ()), value)
    return Facts(
        headers=headers,
        port=port,
        server_name=request.server_name,
        principal=request.principal,
        source_address=request.source_address,
        claims=request.claims,
        inbound=request.direction is Direction.INBOUND,
    )


def path_of(path_and_query: str) -> str:
    """What path matchers look at: no query, no fragment."""
    return path_and_query.partition("#")[0].partition("?")[0]


def query_of(path_and_query: str) -> dict[str, str]:
    """The first value of each parameter, as it was sent: Envoy's matchers do not decode."""
    found: dict[str, str] = {}
    for part in path_and_query.partition("#")[0].partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        if part:
            found.setdefault(name, value)
    return found
