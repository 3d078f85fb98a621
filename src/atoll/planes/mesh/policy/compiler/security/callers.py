"""Who calls: a rule's ``from`` and the conditions on it, as principals of Envoy's RBAC filter.

Rule: an identity counts only where TLS proved it. A caller without a certificate has no principal and no namespace, so it
matches no rule that names one, and every rule that excludes one, as in Istio.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2

from atoll.planes.mesh.policy.compiler.security import claims, terms
from atoll.planes.mesh.policy.compiler.security.terms import CALLER, Term
from atoll.resources.mesh.documents.authorization_policy import Source

_Principal = rbac_pb2.Principal
_SCHEME = "spiffe://"
_ANY_DOMAIN = "cluster.local/"  # in documents: the mesh's own trust domain, whatever it is called


class Domain:
    """Identities as a document of ``namespace`` names them, in a mesh whose trust domain is ``trust_domain``."""

    def __init__(self, trust_domain: str, namespace: str) -> None:
        self._own = f"{trust_domain}/"
        self._namespace = namespace

    def source(self, source: Source) -> list[Term]:
        """Terms that must all hold of one ``from``."""
        return [
            *terms.field(CALLER, source.principals, source.notPrincipals, self.principal),
            *terms.field(CALLER, source.namespaces, source.notNamespaces, namespace),
            *terms.field(CALLER, source.serviceAccounts, source.notServiceAccounts, self.account),
            *terms.field(CALLER, source.ipBlocks, source.notIpBlocks, direct_address),
            *terms.field(CALLER, source.remoteIpBlocks, source.notRemoteIpBlocks, remote_address),
            *terms.field(
                CALLER,
                source.requestPrincipals,
                source.notRequestPrincipals,
                request_principal,
                http_only=True,
            ),
        ]

    def principal(self, pattern: str) -> Any:
        if pattern.startswith(_ANY_DOMAIN):
            pattern = self._own + pattern.removeprefix(_ANY_DOMAIN)
        return _named(terms.text(pattern, before=_SCHEME))

    def account(self, name: str) -> Any:
        """``NAMESPACE/ACCOUNT``, or an account of the document's own namespace."""
        space, _, account = name.rpartition("/")
        return _named(terms.text(f"{self._own}ns/{space or self._namespace}/sa/{account}", before=_SCHEME))

    def condition(self, key: str, values: Sequence[str], refused: Sequence[str]) -> list[Term] | None:
        """The terms of a ``when``; None: ``key`` does not speak of the caller."""
        if key.startswith("request.headers["):
            name = _bracketed(key)[0]
            return terms.field(CALLER, values, refused, lambda value: _header(name, value), http_only=True)
        if key.startswith("request.auth.claims["):
            path = _bracketed(key)
            return terms.field(CALLER, values, refused, lambda value: _claim(path, value), http_only=True)
        named = {"source.principal": self.principal, "source.serviceAccount": self.account}
        make = named.get(key) or _SOURCES.get(key)
        if make is not None:
            return terms.field(CALLER, values, refused, make)
        make = _TOKENS.get(key)
        return None if make is None else terms.field(CALLER, values, refused, make, http_only=True)


def namespace(pattern: str) -> Any:
    inner = re.escape(pattern.strip("*"))
    before = "[^/]*" if pattern.startswith("*") else ""
    after = "[^/]*" if pattern.endswith("*") and len(pattern) > 1 else ""
    return _named(terms.expression(f"{_SCHEME}[^/]+/ns/{before}{inner}{after}/.*"))


def direct_address(network: str) -> Any:
    """Of the connection itself."""
    return _Principal(direct_remote_ip=cidr(network))


def remote_address(network: str) -> Any:
    """Of the first caller, as ``x-forwarded-for`` tells where the proxy believes it."""
    return _Principal(remote_ip=cidr(network))


def request_principal(pattern: str) -> Any:
    alternatives = [
        terms.each_of(CALLER, [_Principal(metadata=one) for one in matchers])
        for matchers in claims.principal(pattern)
    ]
    return terms.one_of(CALLER, alternatives) if alternatives else _Principal(not_id=_Principal(any=True))


def cidr(network: str) -> Any:
    parsed = ipaddress.ip_network(network, strict=False)
    length = {"value": parsed.prefixlen}
    return address_pb2.CidrRange(address_prefix=str(parsed.network_address), prefix_len=length)


def _named(matcher: Any) -> Any:
    return _Principal(authenticated=_Principal.Authenticated(principal_name=matcher))


def _header(name: str, pattern: str) -> Any:
    return _Principal(header=terms.header(name, pattern))


def _claim(path: Sequence[str], pattern: str) -> Any:
    return terms.one_of(CALLER, [_Principal(metadata=one) for one in claims.claim(path, pattern)])


def _audience(pattern: str) -> Any:
    return _claim(["aud"], pattern)


def _presenter(pattern: str) -> Any:
    return _claim(["azp"], pattern)


def _bracketed(key: str) -> list[str]:
    """``request.auth.claims[a][b]``: a, b."""
    return re.findall(r"\[([^]]+)\]", key)


_SOURCES: Mapping[str, Callable[[str], Any]] = {
    "source.ip": direct_address,
    "remote.ip": remote_address,
    "source.namespace": namespace,
}
_TOKENS: Mapping[str, Callable[[str], Any]] = {
    "request.auth.principal": request_principal,
    "request.auth.audiences": _audience,
    "request.auth.presenter": _presenter,
}
