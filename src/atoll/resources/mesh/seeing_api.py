"""Questions to the mesh's API about what is: clients, one request, one proxy.

Rule: ``client`` names a connected client by its ``node.id``, or all of a service by ``SERVICE`` or ``SERVICE.NAMESPACE``,
which are alike to the control plane.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from atoll.resources.mesh.client_status import ClientStatus
from atoll.resources.mesh.explanations import Difference, Explanation, Request

CLIENT_CHARS_MAX = 512
_Client = Annotated[str, msgspec.Meta(min_length=1, max_length=CLIENT_CHARS_MAX)]


class ClientsAsked(msgspec.Struct, frozen=True):
    """``client`` empty: all of them."""

    client: Annotated[str, msgspec.Meta(max_length=CLIENT_CHARS_MAX)] = ""


class ClientsShown(msgspec.Struct, frozen=True):
    """Of the node of the control plane that was asked: ``server``."""

    clients: tuple[ClientStatus, ...]
    server: str = ""


class ExplainOrder(msgspec.Struct, frozen=True):
    """``dump``: what the proxy's ``/config_dump?include_eds`` gave; it is explained then instead of what is intended."""

    client: _Client
    request: Request
    dump: dict[str, Any] | None = None


class ExplainAnswer(msgspec.Struct, frozen=True):
    """``node``: the client whose configuration it was, empty where none of the name is connected and the configuration
    that a new one would get was taken.
    """

    explanation: Explanation
    node: str = ""


class DiffOrder(msgspec.Struct, frozen=True):
    client: _Client
    dump: dict[str, Any]


class DiffShown(msgspec.Struct, frozen=True):
    node: str
    differences: tuple[Difference, ...]
