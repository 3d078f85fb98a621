"""The console: one page that shows a node, its store, elections with their history, and leases.

Rule: everything on it comes from the client of the API, so that it can show nothing that the API does not. It is
rendered on the node and has no script; the browser asks again every few seconds. Every value is escaped.
"""

from __future__ import annotations

import datetime
import html
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from atoll.client.elections import Elections
from atoll.client.node import Client
from atoll.errors import AtollError
from atoll.resources.election_views import ElectionView
from atoll.resources.node import Leases, Node, StoreStatus
from atoll.runtime.http1 import Application

ELECTIONS_MAX = 50  # with their terms; each costs two questions
TERMS_MAX = 10  # newest, of each election
REFRESH_S = 5
# Nothing from elsewhere, no script, no frame: Content Security Policy level 3, and X-Content-Type-Options.
_HEADERS = [
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


class Seen(NamedTuple):
    """What one page shows."""

    node: Node
    store: StoreStatus
    elections: list[ElectionView]
    leases: Leases


def pages(client: Callable[[], Client]) -> Mapping[str, Application]:
    """The console's paths and what answers them; ``client`` gives a client of the node's own API."""

    async def home() -> tuple[int, bytes]:
        try:
            return 200, page(await look(client())).encode()
        except AtollError as error:
            return 503, _whole(f"<h1>atoll</h1><p class=bad>{_escape(error.message)}</p>").encode()

    async def style() -> tuple[int, bytes]:
        return 200, resources.files("atoll.console").joinpath("static/console.css").read_bytes()

    return {"/": _serve(home, b"text/html; charset=utf-8"), "/console.css": _serve(style, b"text/css")}


async def look(client: Client) -> Seen:
    """Ask the node for everything on the page."""
    elections = Elections(client)
    every = (await elections.every())[:ELECTIONS_MAX]
    shown = [await elections.one(each.name) for each in every]
    return Seen(await client.node(), await client.store(), shown, await client.leases())


def page(seen: Seen) -> str:
    """The page as HTML."""
    node, store = seen.node, seen.store
    parts = [
        f"<h1>atoll <small>{_escape(node.version)}</small></h1>",
        _remarks(node),
        "<h2>Node</h2>",
        _pairs(
            [
                ("health", ", ".join(f"{part}: {state}" for part, state in node.health.items())),
                ("started", f"{_moment(node.started_at_s)}, ready after {node.ready_after_s:.2f} s"),
                ("memory", f"{node.resident_bytes / 1_048_576:.1f} MiB"),
                *((f"listens: {each.name}", each.address) for each in node.listeners),
                ("access", "by credentials" if node.auth else "open to every local user"),
            ]
        ),
        "<h2>Store</h2>",
        _pairs(
            [
                ("address", store.url),
                ("revision", f"{store.revision}, history from {store.compact_revision}"),
                ("size", f"{store.size_bytes:,} bytes, {store.size_in_use_bytes:,} in use"),
                ("generation", str(store.generation)),
                ("alarms", ", ".join(store.alarms) or "none"),
            ]
        ),
        "<h2>Elections</h2>",
        *(_election(each) for each in seen.elections),
        "" if seen.elections else "<p>None. <code>atoll lead NAME -- PROGRAM</code> makes one.</p>",
        f"<h2>Leases <small>{seen.leases.count}</small></h2>",
        _leases(seen.leases),
        '<p><a href="/metrics">metrics</a> <a href="/openapi.json">API</a></p>',
    ]
    return _whole("\n".join(parts))


def _remarks(node: Node) -> str:
    return "".join(f"<p class=bad>{_escape(remark)}</p>" for remark in node.remarks)


def _election(election: ElectionView) -> str:
    leader = election.leader
    state = "nobody stands" if leader is None else "serving" if leader.serving else "about to serve"
    state += ", paused" if election.paused else ""
    first = election.candidates[0] if election.candidates else None
    candidates = (
        (each.id or "(foreign)", "leader" if each == first else "standby", str(each.priority), each.lease)
        for each in election.candidates
    )
    terms = (
        (each.token, each.holder, _moment(each.start_s), _moment(each.end_s), each.cause or "goes on")
        for each in reversed(election.terms[-TERMS_MAX:])
    )
    return (
        f"<h3>{_escape(election.name)} <small>{_escape(state)}</small></h3>"
        + _table(("candidate", "role", "priority", "lease"), candidates)
        + _table(("token", "holder", "from", "to", "ended because"), terms)
    )


def _leases(leases: Leases) -> str:
    rows = (
        (each.id, f"{each.ttl_s} of {each.granted_ttl_s} s", ", ".join(each.keys)) for each in leases.leases
    )
    return _table(("lease", "left", "keys"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return ""
    head = "".join(f"<th>{_escape(column)}</th>" for column in columns)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{_escape(name)}</th><td>{_escape(value)}</td></tr>" for name, value in pairs)
    return f"<table>{rows}</table>"


def _whole(body: str) -> str:
    head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH_S}"><title>atoll</title>'
    style = '<link rel="stylesheet" href="/console.css">'
    return f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{body}</body></html>'


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _moment(wall_s: float) -> str:
    if not wall_s:
        return "-"
    return datetime.datetime.fromtimestamp(wall_s, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _serve(answer: Callable[[], Awaitable[tuple[int, bytes]]], content_type: bytes) -> Application:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        status, body = (405, b"") if scope["method"] not in ("GET", "HEAD") else await answer()
        headers = [*_HEADERS, (b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return serve
