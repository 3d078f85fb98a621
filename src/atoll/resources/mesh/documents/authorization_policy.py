"""Istio's ``AuthorizationPolicy`` (security.istio.io/v1): who may do what at a workload.

Rule: as ``parts``. DENY is asked first, then ALLOW: where a workload has any ALLOW policy, what none of them allows is
refused. A policy without rules matches nothing (ALLOW: nothing is allowed); an empty rule matches everything.

Values compare exactly, as ``prefix*``, as ``*suffix``, or ``*`` for presence; paths know ``{*}`` and ``{**}`` besides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import Cidr, Fault, Part, Path, Selector, TargetRef, is_network

Action = Literal["ALLOW", "DENY", "AUDIT"]
Values = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
Networks = Annotated[tuple[Cidr, ...], msgspec.Meta(min_length=1)]

DRY_RUN = "istio.io/dry-run"
"""The annotation of a policy that only tells what it would do."""

PLAIN_KEYS = (
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
)
_OF_NETWORKS = ("source.ip", "remote.ip", "destination.ip")
_BRACKETED = re.compile(r"request\.headers\[[^\[\]]+\]|request\.auth\.claims(\[[^\[\]]+\])+")


class Source(Part, frozen=True):
    """``principals``: ``cluster.local/ns/NAMESPACE/sa/ACCOUNT``; ``serviceAccounts``: ``NAMESPACE/ACCOUNT`` or one of the
    policy's namespace. ``ipBlocks``: of the peer; ``remoteIpBlocks``: of the client that ``X-Forwarded-For`` names.
    """

    principals: Values | None = None
    notPrincipals: Values | None = None
    requestPrincipals: Values | None = None
    notRequestPrincipals: Values | None = None
    namespaces: Values | None = None
    notNamespaces: Values | None = None
    serviceAccounts: Values | None = None
    notServiceAccounts: Values | None = None
    ipBlocks: Networks | None = None
    notIpBlocks: Networks | None = None
    remoteIpBlocks: Networks | None = None
    notRemoteIpBlocks: Networks | None = None

    def faults(self) -> Iterator[Fault]:
        names = self.__struct_fields__
        if not any(getattr(self, name) for name in names):
            yield Fault(
                (), "says nothing of the source", f"give one of {', '.join(names)}, or leave from out"
            )
        for name in names:
            yield from _patterns(getattr(self, name) or (), (name,))


class Operation(Part, frozen=True):
    hosts: Values | None = None
    notHosts: Values | None = None
    ports: Values | None = None
    notPorts: Values | None = None
    methods: Values | None = None
    notMethods: Values | None = None
    paths: Values | None = None
    notPaths: Values | None = None

    def faults(self) -> Iterator[Fault]:
        names = self.__struct_fields__
        if not any(getattr(self, name) for name in names):
            yield Fault(
                (), "says nothing of the operation", f"give one of {', '.join(names)}, or leave to out"
            )
        for name in ("hosts", "notHosts", "methods", "notMethods"):
            yield from _patterns(getattr(self, name) or (), (name,))
        for name in ("ports", "notPorts"):
            for position, port in enumerate(getattr(self, name) or ()):
                if not _is_port(port):
                    yield Fault((name, position), f"{port!r} is no port", "write a number from 1 to 65535")
        for name in ("paths", "notPaths"):
            for position, path in enumerate(getattr(self, name) or ()):
                yield from _path_faults(path, (name, position))

    @property
    def needs_http(self) -> bool:
        """Whether it asks for what a byte stream does not show."""
        names = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")
        return any(getattr(self, name) for name in names)


class From(Part, frozen=True):
    source: Source


class To(Part, frozen=True):
    operation: Operation


class Condition(Part, frozen=True):
    key: str
    values: tuple[str, ...] = ()
    notValues: tuple[str, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if self.key not in PLAIN_KEYS and not _BRACKETED.fullmatch(self.key):
            known = ", ".join((*PLAIN_KEYS, "request.headers[NAME]", "request.auth.claims[NAME]"))
            yield Fault(("key",), f"{self.key!r} is not known", f"one of {known}")
        if not self.values and not self.notValues:
            yield Fault((), "compares with nothing", "give values or notValues")
        for name in ("values", "notValues"):
            for position, value in enumerate(getattr(self, name)):
                if self.key in _OF_NETWORKS and not is_network(value):
                    yield Fault((name, position), f"{value!r} is no network", "write 10.0.0.1 or 10.0.0.0/8")
                if self.key == "destination.port" and not _is_port(value):
                    yield Fault((name, position), f"{value!r} is no port", "write a number from 1 to 65535")


class Rule(Part, frozen=True):
    """All of what is given must hold: one of ``from``, one of ``to``, all of ``when``."""

    from_: Annotated[tuple[From, ...], msgspec.Meta(min_length=1)] | None = msgspec.field(
        name="from", default=None
    )
    to: Annotated[tuple[To, ...], msgspec.Meta(min_length=1)] | None = None
    when: Annotated[tuple[Condition, ...], msgspec.Meta(min_length=1)] | None = None


class AuthorizationPolicy(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "provider": "there is no external authorizer; write the rules with ALLOW and DENY",
        "targetRef": "write targetRefs: [...]",
    }

    selector: Selector | None = None
    targetRefs: tuple[TargetRef, ...] = ()
    rules: tuple[Rule, ...] = ()
    action: Action = "ALLOW"

    def faults(self) -> Iterator[Fault]:
        if self.selector is not None and self.targetRefs:
            yield Fault(("targetRefs",), "selector and targetRefs exclude each other", "give one of them")
        if self.action == "DENY" and not self.rules:
            yield Fault((), "DENY without rules denies nothing", "give rules: [{}] to deny everything")


def _patterns(values: tuple[str, ...], path: Path) -> Iterator[Fault]:
    for position, value in enumerate(values):
        inner = value[1:] if value.startswith("*") else value.removesuffix("*")
        if "*" in inner:
            yield Fault((*path, position), f"{value!r} has a * in the middle", "write prefix*, *suffix or *")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _path_faults(value: str, path: Path) -> Iterator[Fault]:
    if "{" not in value and "}" not in value:
        yield from _patterns((value,), path[:-1])
        return
    if any(part in value for part in ("{*}*", "*{*}")) or not _TEMPLATE.fullmatch(value):
        yield Fault(
            path, f"{value!r} is no path template", "let {*} stand for one part, {**} at the end for any"
        )


_TEMPLATE = re.compile(r"(/([^{}*/]+|\{\*\}))*(/\{\*\*\}|/)?(/[^{}*/]+)?")
