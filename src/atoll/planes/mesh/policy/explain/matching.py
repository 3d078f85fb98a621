"""Envoy's matchers over ``Facts``: strings, headers, query parameters, addresses, metadata.

Rule: a matcher that Envoy would evaluate by something that is not modelled here raises ``Unclear``; it is never taken for
a yes or a no. Regular expressions are RE2's, by the same library that Envoy uses: the same language, linear time.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Any

import re2

from atoll.planes.mesh.policy.explain.facts import Facts, path_of, query_of

_REGEX_MEMORY_BYTES_MAX = 4 * 1_048_576


class Unclear(Exception):
    """What a decision depends on and nobody asked, or nothing here models: ``what`` for people."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@functools.lru_cache(maxsize=1024)
def regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES_MAX
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        raise Unclear(f"the regular expression {pattern!r} is none that Envoy takes: {error}") from error


def string(matcher: Any, value: str) -> bool:
    """A ``StringMatcher``."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return regex(matcher.safe_regex.regex).fullmatch(value) is not None
    if kind in (None, "custom"):
        raise Unclear(f"a string matcher of kind {kind} is not modelled")
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    return _plain(kind, wanted, value)


def _plain(kind: str, wanted: str, value: str) -> bool:
    if kind == "exact":
        return value == wanted
    if kind == "prefix":
        return value.startswith(wanted)
    return value.endswith(wanted) if kind == "suffix" else wanted in value


def header(matcher: Any, facts: Facts) -> bool:
    """A ``HeaderMatcher``, met where one of the header's values meets it. A header that is not there matches nothing but its
    absence, inverted or not, unless it is to be treated as empty.
    """
    kind = matcher.WhichOneof("header_match_specifier")
    values = facts.headers.get(matcher.name.lower(), ())
    if kind in (None, "present_match"):
        wanted = matcher.present_match if kind else True
        there = bool(values) or bool(matcher.treat_missing_header_as_empty)
        return bool((there == wanted) != matcher.invert_match)
    if not values:
        if not matcher.treat_missing_header_as_empty:
            return False
        values = ("",)
    return any(_header_value(matcher, kind, value) for value in values) != bool(matcher.invert_match)


def _header_value(matcher: Any, kind: str, value: str) -> bool:
    if kind == "string_match":
        return string(matcher.string_match, value)
    if kind == "safe_regex_match":
        return regex(matcher.safe_regex_match.regex).fullmatch(value) is not None
    if kind == "range_match":
        try:
            return bool(matcher.range_match.start <= int(value) < matcher.range_match.end)
        except ValueError:
            return False
    return _plain(kind.removesuffix("_match"), getattr(matcher, kind), value)


def query_parameter(matcher: Any, facts: Facts) -> bool:
    kind = matcher.WhichOneof("query_parameter_match_specifier")
    value = query_of(facts.path).get(matcher.name)
    if kind == "string_match":
        return value is not None and string(matcher.string_match, value)
    return (value is not None) == (matcher.present_match if kind else True)


def path(matcher: Any, facts: Facts) -> bool:
    """A ``PathMatcher``, as RBAC has it."""
    return string(matcher.path, path_of(facts.path))


def address(ranges: Any, value: str) -> bool:
    """Whether ``value`` is in one of the ``CidrRange`` messages."""
    if not value:
        raise Unclear("it depends on an address that the question does not tell")
    ip = ipaddress.ip_address(value)
    return any(ip in network(one) for one in ranges)


def network(cidr: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    length = cidr.prefix_len.value
    return ipaddress.ip_network(f"{cidr.address_prefix}/{length}", strict=False)


def metadata(matcher: Any, facts: Facts) -> bool:
    value: object = facts.metadata.get(matcher.filter)
    for segment in matcher.path:
        value = value.get(segment.key) if isinstance(value, dict) else None
    return bool(_value(matcher.value, value) != matcher.invert)


def _value(matcher: Any, value: object) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "string_match":
        return isinstance(value, str) and string(matcher.string_match, value)
    if kind == "list_match":
        found = value if isinstance(value, (tuple, list)) else ()
        return any(_value(matcher.list_match.one_of, each) for each in found)
    if kind == "or_match":
        return any(_value(each, value) for each in matcher.or_match.value_matchers)
    if kind == "present_match":
        return (value is not None) == bool(matcher.present_match)
    if kind == "bool_match":
        return value is bool(matcher.bool_match)
    if kind == "null_match":
        return value is None
    raise Unclear(f"a metadata matcher of kind {kind} is not modelled")
