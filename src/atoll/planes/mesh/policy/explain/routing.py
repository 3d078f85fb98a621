"""Virtual host and route of a request in a ``RouteConfiguration``; what the route then makes of it.

Rule: the order is Envoy's: exact domains, then suffixes, then prefixes, the longest first, then ``*``; within the virtual
host the first route that matches. Why each earlier route did not match is told, up to ``TOLD_MAX`` of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from atoll.planes.mesh.policy.explain import local_replies, matching
from atoll.planes.mesh.policy.explain.facts import Facts, path_of
from atoll.planes.mesh.policy.explain.matching import Unclear

TOLD_MAX = 8


class Rewritten(msgspec.Struct, frozen=True):
    """As the upstream sees it."""

    host: str
    path: str


def virtual_host(config: Any, facts: Facts) -> tuple[Any | None, str]:
    """The virtual host for the request, None for no such, and the domain that it matched."""
    host = facts.host.lower()
    if config.ignore_port_in_host_matching:
        host = without_port(host)
    best: tuple[int, int, str, Any] | None = None
    for one in config.virtual_hosts:
        for domain in one.domains:
            rank = _rank(domain.lower(), host)
            if rank is not None and (best is None or rank > best[:2]):
                best = (*rank, domain, one)
    return (best[3], best[2]) if best is not None else (None, "")


def _rank(domain: str, host: str) -> tuple[int, int] | None:
    """How specifically ``domain`` matches; the larger wins. A wildcard stands for at least one character."""
    if domain == "*":
        return (0, 0)
    if domain.startswith("*"):
        return (2, len(domain)) if host.endswith(domain[1:]) and len(host) >= len(domain) else None
    if domain.endswith("*"):
        return (1, len(domain)) if host.startswith(domain[:-1]) and len(host) >= len(domain) else None
    return (3, 0) if domain == host else None


def without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def route(found: Any, facts: Facts) -> tuple[Any | None, list[str]]:
    """The first route of the virtual host that matches, and why those before it did not."""
    if found.HasField("matcher"):
        raise Unclear(f"the virtual host {found.name} has a matching tree, which is not modelled")
    before: list[str] = []
    for one in found.routes:
        reason = mismatch(one.match, facts)
        if not reason:
            return one, before
        if len(before) < TOLD_MAX:
            before.append(f"{one.name or 'a route without a name'}: {reason}")
    return None, before


def mismatch(match: Any, facts: Facts) -> str:
    """Why ``match`` is not met; empty: it is."""
    if not _path(match, facts):
        return f"the path is not {path_text(match)}"
    for matcher in match.headers:
        if not matching.header(matcher, facts):
            return f"the header {matcher.name} does not match"
    for parameter in match.query_parameters:
        if not matching.query_parameter(parameter, facts):
            return f"the query parameter {parameter.name} does not match"
    if match.HasField("grpc") and not local_replies.is_grpc(facts):
        return "it is not gRPC"
    for unknown in ("tls_context", "runtime_fraction"):
        if match.HasField(unknown):
            raise Unclear(f"a route that matches by {unknown} is not modelled")
    if match.dynamic_metadata and not all(matching.metadata(each, facts) for each in match.dynamic_metadata):
        return "what filters found does not match"
    if match.filter_state:
        raise Unclear("a route that matches by filter state is not modelled")
    return ""


def _path(match: Any, facts: Facts) -> bool:
    kind = match.WhichOneof("path_specifier")
    value = path_of(facts.path)
    if kind == "safe_regex":
        return matching.regex(match.safe_regex.regex).fullmatch(value) is not None
    if kind == "connect_matcher":
        return facts.method == "CONNECT"
    if kind not in ("prefix", "path", "path_separated_prefix"):
        raise Unclear(f"a route that matches its path by {kind} is not modelled")
    wanted = getattr(match, kind)
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        wanted, value = wanted.lower(), value.lower()
    if kind == "path":
        return bool(value == wanted)
    if kind == "prefix":
        return value.startswith(wanted)
    return bool(value == wanted or value.startswith(wanted + "/"))


def path_text(match: Any) -> str:
    kind = match.WhichOneof("path_specifier")
    value = match.safe_regex.regex if kind == "safe_regex" else getattr(match, kind)
    return f"{(kind or 'anything').replace('_', ' ')} {value if isinstance(value, str) else ''}".rstrip()


def rewritten(one: Any, action: Any, facts: Facts) -> Rewritten:
    """Host and path after the rewrites of a ``RouteAction``."""
    path, query = _split(facts.path)
    if action.prefix_rewrite:
        path = action.prefix_rewrite + path[len(_matched(one.match, path)) :]
    elif action.HasField("regex_rewrite"):
        path = substituted(action.regex_rewrite, path)
    host = facts.host
    kind = action.WhichOneof("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        host = action.host_rewrite_literal
    elif kind == "host_rewrite_header":
        host = facts.header(action.host_rewrite_header.lower()) or host
    elif kind == "host_rewrite_path_regex":
        host = substituted(action.host_rewrite_path_regex, path_of(facts.path))
    return Rewritten(host, path + query)


def location(one: Any, facts: Facts) -> str:
    """Of a ``RedirectAction``."""
    action = one.redirect
    scheme = facts.header(":scheme") or "http"
    if action.WhichOneof("scheme_rewrite_specifier"):
        scheme = "https" if action.https_redirect else action.scheme_redirect or scheme
    host = action.host_redirect or _host_for(facts.host, scheme, (facts.header(":scheme") or "http"))
    if action.port_redirect:
        host = f"{without_port(host)}:{action.port_redirect}"
    path, query = _split(facts.path)
    kind = action.WhichOneof("path_rewrite_specifier")
    if kind == "path_redirect":
        path = action.path_redirect
        query = "" if "?" in path else query
    elif kind == "prefix_rewrite":
        path = action.prefix_rewrite + path[len(_matched(one.match, path)) :]
    elif kind == "regex_rewrite":
        path = substituted(action.regex_rewrite, path)
    return f"{scheme}://{host}{path}{'' if action.strip_query else query}"


def _host_for(host: str, scheme: str, before: str) -> str:
    """Envoy leaves out a port that was the default one of the scheme before."""
    default = {"http": ":80", "https": ":443"}.get(before, "")
    return host.removesuffix(default) if scheme != before and default else host


def _split(path_and_query: str) -> tuple[str, str]:
    path = path_of(path_and_query)
    return path, path_and_query[len(path) :]


def _matched(match: Any, path: str) -> str:
    """The part of the path that a prefix rewrite replaces."""
    kind = match.WhichOneof("path_specifier")
    if kind in ("prefix", "path_separated_prefix"):
        return path[: len(getattr(match, kind))]
    return path


def substituted(rewrite: Any, value: str) -> str:
    pattern = matching.regex(rewrite.pattern.regex)
    return str(pattern.sub(rewrite.substitution, value))
