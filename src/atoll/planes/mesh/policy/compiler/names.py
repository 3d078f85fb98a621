"""Names of xDS resources: the words by which clients, logs, statistics and people speak of what was compiled.

Rule: names are made here and taken apart here, nowhere else. Cluster names are Istio's, so that its users' dashboards
and eyes know them.
"""

from __future__ import annotations

from typing import Any

from atoll.resources.mesh.documents.kinds import Document

OUTBOUND_HTTP = "outbound_http"  # the listener of all outbound HTTP, by Host
HTTP_ROUTES = "http"  # its route configuration
REFUSED = "refused"  # the virtual host of destinations that the mesh does not know
PASSED_ON = "passed_on"  # the same where they go on as they were dialled
VIRTUAL_OUTBOUND = "virtual_outbound"  # the listener of all captured outbound connections
DEFAULT_ROUTE = "default"
VIRTUAL_INBOUND = "virtual_inbound"  # the listener of all captured inbound connections
MISSING = "missing"  # the host that stands for destinations which are not there


def outbound_cluster(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


def host_of_cluster(name: str) -> str:
    """The host of an outbound cluster; empty: it is of another kind."""
    parts = name.split("|")
    return parts[3] if len(parts) == 4 and parts[0] == "outbound" else ""


def outbound_sni(host: str, port: int, subset: str = "") -> str:
    """The server name in the mesh's TLS; Istio's form. Tells a gateway in between the cluster that is meant."""
    return f"outbound_.{port}_.{subset}_.{host}"


def outbound_listener(host: str, port: int) -> str:
    return f"outbound_{host}_{port}"


def virtual_host(host: str, port: int) -> str:
    return f"{host}:{port}"


def inbound_cluster(port: int) -> str:
    return f"inbound|{port}||"


def inbound_listener(port: int) -> str:
    return f"inbound_{port}"


def inbound_routes(port: int) -> str:
    return f"inbound|{port}"


def keys_cluster(host: str, port: int) -> str:
    """Where the keys of tokens are fetched."""
    return f"jwks|{port}||{host}"


def route(document: Document[Any], rule: int) -> str:
    """Of the ``rule``-th rule of ``document``. It is in access logs, so that traffic tells which version routed it."""
    return f"{document.key}/{rule}@{document.hash8}"


def gateway_listener(port: int, bind: str = "") -> str:
    return f"gateway_{bind}_{port}" if bind else f"gateway_{port}"


def gateway_routes(listener: str, server: str = "") -> str:
    """``server``: of one that has its TLS to itself; without: all that share the listener in plain text."""
    return f"{listener}|{server}" if server else listener
