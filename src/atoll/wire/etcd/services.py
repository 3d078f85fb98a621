"""The methods of etcd's gRPC API: path, request and response class, which sides stream.

One rule: client stubs and server routes are both made from ``METHODS``, so that they cannot disagree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from atoll.wire.etcd import messages
from atoll.wire.etcd.table import TABLE


class Method(NamedTuple):
    """One call. ``path`` is what goes on the wire, for example ``/etcdserverpb.KV/Range``."""

    service: str
    name: str
    request: Any
    response: Any
    request_streams: bool
    response_streams: bool

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


def _load(table: str) -> dict[str, Method]:
    methods: dict[str, Method] = {}
    package = ""
    for words in messages.statements(table):
        if words[0] == "package":
            package = words[1]
        elif words[0] == "rpc":
            methods[words[1]] = _method(package, words[1], words[2:])
    return methods


def _method(package: str, name: str, sides: list[str]) -> Method:
    """``sides``: the request's and the response's class, each perhaps after the word ``stream``."""
    service, _, short = name.partition(".")
    request, response = (word for word in sides if word != "stream")
    return Method(
        service=f"{package}.{service}",
        name=short,
        request=messages.BY_NAME[request],
        response=messages.BY_NAME[response],
        request_streams=sides[0] == "stream",
        response_streams=sides[-2] == "stream",
    )


METHODS: dict[str, Method] = _load(TABLE)
"""By ``Service.Method``, for example ``METHODS["KV.Range"]``."""
