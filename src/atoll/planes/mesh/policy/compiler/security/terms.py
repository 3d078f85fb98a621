"""Terms of authorisation: what one field of a rule demands, as a message of Envoy's RBAC filter, and how terms combine.

Rule: a term says whether it can only be asked of an HTTP request. On a byte stream a rule that allows and asks such a
thing never matches, and a rule that refuses leaves it out: in doubt less is let through. Istio's semantics.

RBAC has two kinds of messages of one shape: *principals* (who calls) and *permissions* (what is called). ``Side`` is the
difference; all else is written once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

_Principal, _Permission = rbac_pb2.Principal, rbac_pb2.Permission


class Term(msgspec.Struct, frozen=True):
    message: Any
    http_only: bool = False


class Side(msgspec.Struct, frozen=True):
    """How messages of one kind combine."""

    anything: Callable[[], Any]
    all_of: Callable[[Sequence[Any]], Any]
    any_of: Callable[[Sequence[Any]], Any]
    none_of: Callable[[Any], Any]


CALLER = Side(
    lambda: _Principal(any=True),
    lambda terms: _Principal(and_ids=_Principal.Set(ids=terms)),
    lambda terms: _Principal(or_ids=_Principal.Set(ids=terms)),
    lambda term: _Principal(not_id=term),
)
CALLED = Side(
    lambda: _Permission(any=True),
    lambda terms: _Permission(and_rules=_Permission.Set(rules=terms)),
    lambda terms: _Permission(or_rules=_Permission.Set(rules=terms)),
    lambda term: _Permission(not_rule=term),
)


def one_of(side: Side, messages: Sequence[Any]) -> Any:
    return messages[0] if len(messages) == 1 else side.any_of(messages)


def each_of(side: Side, messages: Sequence[Any]) -> Any:
    if not messages:
        return side.anything()
    return messages[0] if len(messages) == 1 else side.all_of(messages)


def field(
    side: Side,
    values: Sequence[str] | None,
    refused: Sequence[str] | None,
    make: Callable[[str], Any],
    http_only: bool = False,
) -> list[Term]:
    """The terms of a field and of its negation (``principals`` and ``notPrincipals``); none where it is not given."""
    found = []
    if values:
        found.append(Term(one_of(side, [make(value) for value in values]), http_only))
    if refused:
        found.append(Term(side.none_of(one_of(side, [make(value) for value in refused])), http_only))
    return found


def text(pattern: str, before: str = "", ignore_case: bool = False) -> Any:
    """A matcher of Istio's patterns: ``exact``, ``prefix*``, ``*suffix``, ``*`` (anything but nothing). ``before``
    stands before what the pattern speaks of.
    """
    matcher = string_pb2.StringMatcher(ignore_case=ignore_case)
    if pattern == "*":
        return expression(re.escape(before) + ".+")
    if pattern.startswith("*") and before:
        return expression(f"{re.escape(before)}.*{re.escape(pattern[1:])}")
    if pattern.startswith("*"):
        matcher.suffix = pattern[1:]
    elif pattern.endswith("*"):
        matcher.prefix = before + pattern[:-1]
    else:
        matcher.exact = before + pattern
    return matcher


def expression(pattern: str) -> Any:
    """A matcher of a whole text by a regular expression of RE2."""
    return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern))


def header(name: str, pattern: str, ignore_case: bool = False) -> Any:
    if pattern == "*":
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=text(pattern, ignore_case=ignore_case))
