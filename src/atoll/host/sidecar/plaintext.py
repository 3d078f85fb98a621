"""Which of a workload's ports are still called without the mesh's TLS, by Envoy's counters.

Rule: exact where the port speaks HTTP, whose connection manager counts connections with TLS apart. Of a byte stream with a
listener of its own, connections less handshakes are what came without, and while there was any such connection all that are
open count as such. Of a byte stream behind the listener of intercepted traffic nothing can be told, and that is said.

Source: Envoy's statistics of listeners and of HTTP connection managers, tried on Envoy 1.40.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from atoll.resources.mesh.traffic import Plain

ASKED: Final = (
    "http%5C.inbound_%5Cd%2B%5C.downstream_cx_(total|active|ssl_total|ssl_active)"
    "|listener%5C.[^/]*_%5Cd%2B%5C.(downstream_cx_(total|active)|ssl%5C.handshake)"
    "|cluster%5C.inbound%5C|%5Cd%2B%5C|%5C|%5C.membership_total"
)
"""Part of a filter of ``/stats``, escaped for a URL."""

_HTTP: Final = re.compile(r"http\.inbound_(\d+)\.downstream_cx_(\w+)")
_LISTENER: Final = re.compile(
    r"listener\.[^/]*_(\d+)\.(downstream_cx_total|downstream_cx_active|ssl\.handshake)"
)
_PORT: Final = re.compile(r"cluster\.inbound\|(\d+)\|\|\.membership_total")
UNKNOWN: Final = Plain(-1, 0)


class Counters:
    """Takes counters in any order, one answer of Envoy."""

    def __init__(self) -> None:
        self._ports: list[int] = []
        self._http: dict[int, dict[str, int]] = {}
        self._listeners: dict[int, dict[str, int]] = {}

    def take(self, name: str, value: int) -> None:
        if found := _PORT.fullmatch(name):
            self._ports.append(int(found[1]))
        elif found := _HTTP.fullmatch(name):
            self._http.setdefault(int(found[1]), {})[found[2]] = value
        elif (found := _LISTENER.fullmatch(name)) and ".worker_" not in name:
            self._listeners.setdefault(int(found[1]), {})[found[2]] = value

    def by_port(self) -> Mapping[int, Plain]:
        return {port: self._plain(port) for port in sorted(self._ports)}

    def _plain(self, port: int) -> Plain:
        http, listener = self._http.get(port), self._listeners.get(port)
        if http is not None:
            return Plain(
                max(0, http.get("total", 0) - http.get("ssl_total", 0)),
                max(0, http.get("active", 0) - http.get("ssl_active", 0)),
            )
        if listener is None:
            return UNKNOWN
        total = max(0, listener.get("downstream_cx_total", 0) - listener.get("ssl.handshake", 0))
        return Plain(total, listener.get("downstream_cx_active", 0) if total else 0)
