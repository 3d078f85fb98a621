"""``atoll mesh status``, ``explain`` and ``diff``: how clients stand, why a request goes where it goes, what a proxy has.

Rule: what a proxy has is asked of the proxy itself, at the admin socket that its sidecar keeps on this machine; the node
only compares and explains.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from atoll.cli import registry, show
from atoll.client.mesh_seeing import MeshSeeing
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.host.sidecar import folder as folders
from atoll.resources.mesh.client_status import ClientStatus, State
from atoll.resources.mesh.explanations import Candidate, Chance, Direction, Explanation, Outcome, Request
from atoll.resources.mesh.seeing_api import ClientsAsked, DiffOrder, ExplainOrder
from atoll.runtime import http_client
from atoll.runtime.http_client import HttpRequest
from atoll.runtime.net import UNIX_SCHEME

DUMP_TARGET = "/config_dump?include_eds"
ASK_WITHIN_S = 30.0
_CANDIDATES_MAX = 8


def add(actions: Any) -> None:
    status = registry.action(actions, "status", "show how each client of the mesh stands", _status)
    status.add_argument("client", nargs="?", default="", metavar="CLIENT", help=_CLIENT_HELP)
    explain = registry.action(
        actions, "explain", "say why a request goes where it goes, or is refused", _explain
    )
    _client(explain)
    explain.add_argument(
        "request", metavar="URL", help="as http://reviews:9080/api?x=1, or a path with --inbound"
    )
    _request(explain)
    explain.add_argument(
        "--proxy", action="store_true", help="by what the proxy has, instead of what is intended"
    )
    _admin(explain)
    diff = registry.action(actions, "diff", "compare what a proxy has with what is intended for it", _diff)
    _client(diff)
    _admin(diff)


_CLIENT_HELP = "a client's node id, or SERVICE, or SERVICE.NAMESPACE"


def _client(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT", help=_CLIENT_HELP)


def _admin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin",
        default="",
        metavar="PATH",
        help="the admin socket of the proxy; default: that of the client's sidecar on this machine",
    )


def _request(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("-X", "--method", default="GET", help="default: %(default)s")
    option("-H", "--header", action="append", default=[], metavar="NAME: VALUE", help="repeatable")
    option("--inbound", action="store_true", help="a request to the client's application, not from it")
    option(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="the listener's, where it is not the one that goes by Host",
    )
    option(
        "--principal",
        default="",
        metavar="ID",
        help="who calls by mutual TLS, as cluster.local/ns/default/sa/web",
    )
    option("--from", dest="source", default="127.0.0.1", metavar="IP", help="the caller's address")
    option("--sni", default="", metavar="NAME", help="the TLS server name, where it arrives as TLS")
    option(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of a valid token that it carries, iss as well; repeatable, a name twice for a list",
    )


def _asked(options: argparse.Namespace) -> Request:
    """Raises INVALID for what is no request."""
    text: str = options.request
    parts = urlsplit(text if "://" in text or text.startswith("/") else f"http://{text}")
    path = parts.path or "/"
    return Request(
        host=parts.netloc,
        path=f"{path}?{parts.query}" if parts.query else path,
        method=options.method.upper(),
        headers=tuple(_header(each) for each in options.header),
        direction=Direction.INBOUND if options.inbound else Direction.OUTBOUND,
        port=options.port,
        scheme=parts.scheme or "http",
        server_name=options.sni,
        principal=options.principal.removeprefix("spiffe://"),
        source_address=options.source,
        claims=_claims(options.claim),
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise AtollError(Code.INVALID, f"{text!r} is no header; write 'NAME: VALUE'")
    return name.strip(), value.strip()


def _claims(texts: Sequence[str]) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, str | tuple[str, ...]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise AtollError(Code.INVALID, f"{text!r} is no claim; write NAME=VALUE")
        before = found.get(name)
        if before is None:
            found[name] = value
        else:
            found[name] = (*((before,) if isinstance(before, str) else before), value)
    return found


# ------------------------------------------------------------------------------------------------ status


async def _status(client: Client, options: argparse.Namespace) -> None:
    shown = await MeshSeeing(client).clients(ClientsAsked(options.client))
    if options.json:
        show.print_json(shown)
        return
    columns = ("client", "class", "form", "state", "clusters", "endpoints", "listeners", "routes", "since")
    show.print_table(columns, map(_status_row, shown.clients))
    for one in shown.clients:
        for line in _remarks(one):
            print(f"{one.node}: {line}")


def _status_row(one: ClientStatus) -> tuple[str, ...]:
    types = (one.types.get(name) for name in ("CLUSTER", "ENDPOINTS", "LISTENER", "ROUTE"))
    cells = ("-" if each is None else f"{each.resources} {each.state}" for each in types)
    return (one.node, one.kind, one.form, str(one.state), *cells, show.moment(one.since_s))


def _remarks(one: ClientStatus) -> Iterable[str]:
    for name, each in one.types.items():
        if each.state is State.NACK:
            yield f"it refused the last {name.lower()}: {each.text}"
    for aside in one.set_aside:
        yield f"{aside.document}@{aside.hash8} is kept from it since {aside.node} refused it: {aside.text}"
    yield from one.problems


# ----------------------------------------------------------------------------------------------- explain


async def _explain(client: Client, options: argparse.Namespace) -> None:
    dump = await _dump(options) if options.proxy or options.admin else None
    order = ExplainOrder(options.client, _asked(options), dump)
    answer = await MeshSeeing(client).explain(order)
    if options.json:
        show.print_json(answer)
        return
    if not answer.node:
        print(
            f"no client of {options.client} is connected to this node: this is what a new sidecar would get"
        )
    _print(answer.explanation)


def _print(found: Explanation) -> None:
    rows = ((str(step.stage), step.name, step.why, ", ".join(step.documents)) for step in found.steps)
    show.print_table(("stage", "chosen", "why", "documents"), rows)
    for target in found.targets:
        shown = [_candidate(each) for each in target.endpoints[:_CANDIDATES_MAX]]
        more = len(target.endpoints) - len(shown)
        print(
            f"{target.cluster}, {target.share:g} %: {'; '.join(shown)}{f'; {more} more' if more > 0 else ''}"
        )
    for chance in found.chances:
        print(f"it may be: {_chance(chance)}")
    print(_end(found))


def _candidate(each: Candidate) -> str:
    where = f" in {each.locality}" if each.locality else ""
    return f"{each.address}{where}{f' (not: {each.excluded})' if each.excluded else ''}"


def _chance(chance: Chance) -> str:
    result = f" -> {chance.status or ''} {chance.flags}".rstrip() if chance.status or chance.flags else ""
    return f"{chance.what}{result}"


def _end(found: Explanation) -> str:
    text = f"{found.outcome}: {found.why}"
    if found.outcome is Outcome.FORWARDED:
        rewritten = f"; as {found.host}{found.path}" if found.host or found.path else ""
        retries = f"; tried again {found.retries}" if found.retries else ""
        return f"{text}{rewritten}{retries}"
    told = " ".join(each for each in (str(found.status) if found.status else "", found.flags) if each)
    return f"{text} ({told})" if told else text


# -------------------------------------------------------------------------------------------------- diff


async def _diff(client: Client, options: argparse.Namespace) -> None:
    found = await MeshSeeing(client).diff(DiffOrder(options.client, await _dump(options)))
    if options.json:
        show.print_json(found)
        return
    if not found.differences:
        print("the proxy has what is intended for it")
        return
    rows = (
        (each.type, each.resource, each.path, each.intended, each.actual, ", ".join(each.documents))
        for each in found.differences
    )
    show.print_table(("type", "resource", "field", "intended", "in the proxy", "documents"), rows)


async def _dump(options: argparse.Namespace) -> dict[str, Any]:
    """What the proxy itself says that it has. Raises NOT_FOUND, UNAVAILABLE."""
    path = Path(options.admin) if options.admin else _admin_socket(options.client)
    request = HttpRequest("GET", DUMP_TARGET, {}, within_s=ASK_WITHIN_S)
    async with http_client.open_answer(f"{UNIX_SCHEME}{path}", request) as answer:
        body = await answer.body()
        if answer.status != 200:
            text = f"the admin interface at {path} answers {answer.status}"
            raise AtollError(Code.UNAVAILABLE, text)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise AtollError(Code.INVALID, f"{path} is no admin interface of Envoy: {error}") from error


def _admin_socket(client: str) -> Path:
    name, _, namespace = client.partition(".")
    for about, folder in folders.every():
        if client == about.node or (name == about.service and namespace in ("", about.namespace)):
            return Path(folder.admin_socket)
    text = f"no sidecar of {client} runs on this machine as this user"
    raise AtollError(
        Code.NOT_FOUND, f"{text}; run this where it runs, or name its admin socket with --admin PATH"
    )
