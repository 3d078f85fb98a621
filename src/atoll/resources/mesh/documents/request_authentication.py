"""Istio's ``RequestAuthentication`` (security.istio.io/v1): which JSON Web Tokens are taken for true.

Rule: as ``parts``. A request with a token that no rule takes is refused; one without a token passes, and has no identity
(an ``AuthorizationPolicy`` may ask for one).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import msgspec

from atoll.resources.mesh.documents.parts import Fault, HeaderName, Part, Seconds, Selector, TargetRef

JWKS_BYTES_MAX = 65_536


class JwtHeader(Part, frozen=True):
    """``prefix``: stands before the token, as ``Bearer ``."""

    name: HeaderName
    prefix: str = ""


class ClaimToHeader(Part, frozen=True):
    """``claim``: nested ones with dots between them."""

    header: HeaderName
    claim: Annotated[str, msgspec.Meta(min_length=1)]


class JwtRule(Part, frozen=True):
    """Without ``from...``: the header ``Authorization: Bearer`` and the parameter ``access_token``."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "jwks_uri": "write jwksUri",
        "spaceDelimitedClaims": "ask for the claim scope, which is split at spaces",
    }

    issuer: Annotated[str, msgspec.Meta(min_length=1)]
    audiences: tuple[str, ...] = ()
    jwksUri: str = ""
    jwks: str = ""
    fromHeaders: tuple[JwtHeader, ...] = ()
    fromParams: tuple[str, ...] = ()
    fromCookies: tuple[str, ...] = ()
    outputPayloadToHeader: Annotated[str, msgspec.Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$")] = ""
    outputClaimToHeaders: tuple[ClaimToHeader, ...] = ()
    forwardOriginalToken: bool = False
    timeout: Seconds | None = None

    def faults(self) -> Iterator[Fault]:
        if bool(self.jwks) == bool(self.jwksUri):
            problem = (
                "jwks and jwksUri exclude each other"
                if self.jwks
                else "has no keys: neither jwks nor jwksUri"
            )
            yield Fault((), problem, "give one of them")
        if self.jwksUri and not self.jwksUri.startswith(("http://", "https://")):
            yield Fault(("jwksUri",), f"{self.jwksUri!r} is no URL", "write https://...")
        if self.jwks and not _is_key_set(self.jwks):
            yield Fault(("jwks",), "is no JSON Web Key Set", 'write {"keys": [...]} (RFC 7517)')


def _is_key_set(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    keys = found.get("keys") if isinstance(found, dict) else None
    return (
        isinstance(keys, list) and bool(keys) and all(isinstance(key, dict) and "kty" in key for key in keys)
    )


class RequestAuthentication(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"targetRef": "write targetRefs: [...]"}

    selector: Selector | None = None
    targetRefs: tuple[TargetRef, ...] = ()
    jwtRules: tuple[JwtRule, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if self.selector is not None and self.targetRefs:
            yield Fault(("targetRefs",), "selector and targetRefs exclude each other", "give one of them")
