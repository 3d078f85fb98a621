"""Questions to the claims of a verified token, as conditions on the metadata that the JWT filter leaves.

Rule: only what was verified is asked: the JWT filter writes a token's payload under ``PAYLOAD`` once its signature,
issuer, audience and dates hold, and nothing else writes there.

A claim is a text, a list of texts, or (``scope``) a text of words, which the JWT filter is told to split. A request's
principal is ``ISSUER/SUBJECT``, which Envoy holds in two claims: a pattern is asked at each place where its slash may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.type.matcher.v3 import metadata_pb2, value_pb2

from atoll.planes.mesh.policy.compiler.security import terms

FILTER = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
_Value = value_pb2.ValueMatcher


def claim(path: Sequence[str], pattern: str) -> list[Any]:
    """Metadata matchers of which one must hold: the claim at ``path`` is ``pattern``, or is a list with it."""
    wanted = _Value(string_match=terms.text(pattern))
    return [_at(path, wanted), _at(path, _Value(list_match=value_pb2.ListMatcher(one_of=wanted)))]


def principal(pattern: str) -> list[list[Any]]:
    """Alternatives, each of metadata matchers that must all hold: issuer, a slash, subject, as one text. None: no
    token's principal can be ``pattern``.
    """
    if pattern == "*":
        return [[_text_at("iss", "*"), _text_at("sub", "*")]]
    bare = pattern.strip("*")
    found = []
    if pattern.startswith("*"):
        found.append([_text_at("iss", "*"), _text_at("sub", f"*{bare}")])
    if pattern.endswith("*"):
        found.append([_text_at("iss", f"{bare}*"), _text_at("sub", "*")])
    for place in (index for index, char in enumerate(bare) if char == "/"):
        issuer, subject = bare[:place], bare[place + 1 :]
        issuer = f"*{issuer}" if pattern.startswith("*") else issuer
        subject = f"{subject}*" if pattern.endswith("*") else subject
        if issuer and subject:
            found.append([_text_at("iss", issuer), _text_at("sub", subject)])
    return found


def _text_at(name: str, pattern: str) -> Any:
    return _at([name], _Value(string_match=terms.text(pattern)))


def _at(path: Sequence[str], value: Any) -> Any:
    segments = [metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in (PAYLOAD, *path)]
    return metadata_pb2.MetadataMatcher(filter=FILTER, path=segments, value=value)
