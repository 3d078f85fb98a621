"""A join token as it is handed from an operator to a workload: a secret, and the pin of the mesh's root.

Rule: with the pin the workload knows a node of the mesh before it sends the secret to it; without it, whoever answers at that
address would get the secret.
"""

from __future__ import annotations

import re

import msgspec

from atoll.errors import AtollError, Code, Reason

_FORM = re.compile(r"atoll-join\.([A-Za-z0-9_-]{32})\.([0-9a-f]{64})")


class JoinText(msgspec.Struct, frozen=True):
    """``root``: SHA-256 of the root certificate, hexadecimal."""

    secret: str
    root: str

    def __str__(self) -> str:
        return f"atoll-join.{self.secret}.{self.root}"


def parse(text: str) -> JoinText:
    """Raises INVALID."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise AtollError(
            Code.INVALID,
            "this is no join token; expected atoll-join.SECRET.ROOT, as `atoll mesh token` prints it",
            reason=Reason.INVALID_TOKEN,
        )
    return JoinText(found[1], found[2])
