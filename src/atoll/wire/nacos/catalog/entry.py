"""One HTTP path of Nacos: how it is asked for, what it answers in, who may ask, and what becomes of it here.

Rule: an entry is a value; routes, permission checks and the reference page are made from it and from nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple


class Envelope(enum.Enum):
    """What an answer is wrapped in. TEXT: v1 (text or bare JSON, failures as text). REST: code 200. RESULT: code 0."""

    TEXT = "text"
    REST = "RestResult"
    RESULT = "Result"


class Surface(enum.Enum):
    """Who asks: applications, administration tools, or the web console."""

    CLIENT = "client"
    ADMIN = "admin"
    CONSOLE = "console"


class Status(enum.Enum):
    WORKS = "works"
    DIFFERS = "differs"
    ABSENT = "absent"


class Permit(NamedTuple):
    """``on`` names the resource: ``config`` and ``naming`` are made from the request's parameters; ``each``: the
    operation asks for every resource that it touches; ``open``: no credentials; anything else is the resource.
    """

    on: str
    action: str = ""


OPEN = Permit("open")
EACH = Permit("each")  # signed in, at least
CONFIG_R = Permit("config", "r")
CONFIG_W = Permit("config", "w")
NAMING_R = Permit("naming", "r")
NAMING_W = Permit("naming", "w")
OPS_R = Permit("console/ops", "r")
OPS_W = Permit("console/ops", "w")
NAMESPACES_R = Permit("console/namespaces", "r")
NAMESPACES_W = Permit("console/namespaces", "w")
USERS_R = Permit("console/users", "r")
USERS_W = Permit("console/users", "w")
ROLES_R = Permit("console/roles", "r")
ROLES_W = Permit("console/roles", "w")
PERMISSIONS_R = Permit("console/permissions", "r")
PERMISSIONS_W = Permit("console/permissions", "w")


POINTS: Mapping[str, str] = {
    "config.get": "ConfigQuery",
    "config.query.v3": "ConfigQuery",
    "config.publish": "ConfigPublish",
    "config.remove": "ConfigRemove",
    "config.listen": "ConfigListen",
    "instance.register": "NamingInstanceRegister",
    "instance.register.v3": "NamingInstanceRegister",
    "instance.deregister": "NamingInstanceDeregister",
    "instance.update": "NamingInstanceUpdate",
    "instance.patch": "NamingInstanceUpdate",
    "instance.get": "NamingInstanceQuery",
    "instance.get.v3": "NamingInstanceQuery",
    "instance.list": "NamingServiceSubscribe",
    "instance.hosts.v3": "NamingServiceSubscribe",
    "instance.beat": "HttpHealthCheck",
    "instance.metadata.put": "NamingInstanceMetadataUpdate",
    "instance.metadata.delete": "NamingInstanceMetadataUpdate",
    "service.create": "NamingServiceRegister",
    "service.update": "NamingServiceUpdate",
    "service.delete": "NamingServiceDeregister",
    "service.get": "NamingServiceQuery",
    "service.detail": "NamingServiceQuery",
    "service.detail.v3": "NamingServiceQuery",
    "service.list": "NamingServiceListQuery",
    "service.list.v3": "NamingServiceListQuery",
}


class Entry(NamedTuple):
    """``when``: the parameter, or ``name=value``, that chooses this entry among those of its verb and path.

    ``operation`` names what answers it.
    """

    verb: str
    path: str
    operation: str
    envelope: Envelope
    permit: Permit
    surface: Surface = Surface.ADMIN
    when: str = ""
    status: Status = Status.WORKS
    note: str = ""

    @property
    def title(self) -> str:
        return f"{self.verb} {self.path}" + (f"?{self.when}" if self.when else "")

    @property
    def point(self) -> str:
        """The one of Nacos's rate limits that it counts for; empty: none."""
        return POINTS.get(self.operation, "")

    def differs(self, how: str) -> Entry:
        return self._replace(status=Status.DIFFERS, note=how)


def absent(verb: str, path: str, why: str, envelope: Envelope = Envelope.RESULT) -> Entry:
    """A path that is answered with 501 and the reason."""
    return Entry(verb, path, "absent", envelope, EACH, status=Status.ABSENT, note=why)


def chosen(entry: Entry) -> Entry:
    """``entry`` with what follows a question mark of its path as its choice."""
    path, _, when = entry.path.partition("?")
    return entry._replace(path=path, when=when)
