"""What a fleet is told to be, and the lines in which it says what happened to it. Plain values, shared by both sides.

Rule: times are of the boot clock, the same for all processes of a machine.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["providers", "subscribers", "writer"]


class Plan(msgspec.Struct, frozen=True):
    """``clients`` connections, each with the servers in the order that begins at ``home`` (-1: spread evenly).

    A provider registers ``each`` instances, one in each of so many services of ``services``; they are numbered from
    ``first``, so that two fleets do not share an address. A subscriber subscribes to all services and listens to all
    configurations; a writer publishes numbers from ``first`` to them in turn, every ``write_every_s``.
    """

    role: Role
    servers: list[str]
    out: str
    home: int = -1
    clients: int = 1
    first: int = 0
    each: int = 5
    services: int = 20
    configs: int = 5
    write_every_s: float = 0.1

    def instances(self, client: int) -> list[tuple[str, str, int]]:
        """(service, ip, port) of what one provider registers."""
        numbers = range(client * self.each, (client + 1) * self.each)
        return [
            (service_name(number % self.services), *address_of(self.first + number)) for number in numbers
        ]

    def hosts(self) -> dict[str, set[str]]:
        """The ``ip:port`` of all instances by service."""
        hosts: dict[str, set[str]] = {service_name(number): set() for number in range(self.services)}
        for client in range(self.clients):
            for service, ip, port in self.instances(client):
                hosts[service].add(f"{ip}:{port}")
        return hosts


def service_name(number: int) -> str:
    return f"faults-{number}"


def config_name(number: int) -> str:
    return f"faults-{number}.properties"


def address_of(number: int) -> tuple[str, int]:
    """An address that no other number has."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 8000


class Up(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A client is connected to ``server`` and has done what it does after that."""

    at_s: float
    client: int
    server: str


class Down(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A client's connection was lost."""

    at_s: float
    client: int
    why: str


class Left(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A client has taken leave, and was told so."""

    at_s: float
    client: int


class Listed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The list that a subscriber holds changed: what came, what went, and what turned unhealthy or healthy."""

    at_s: float
    client: int
    service: str
    added: list[str]
    removed: list[str]
    sick: list[str]
    cured: list[str]


class Held(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A listener holds another content."""

    at_s: float
    client: int
    config: str
    content: str


class Published(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The writer published; ``ok`` False: it was refused, or nobody knows."""

    at_s: float
    config: str
    content: str
    ok: bool


Event = Up | Down | Left | Listed | Held | Published
EVENTS = msgspec.json.Decoder(Event)
