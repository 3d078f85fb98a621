"""``atoll status``: a running node at a glance.

Rule: it asks the node and shows what it says; a node that does not answer is exit code 7.
"""

from __future__ import annotations

import argparse
from typing import Any

from atoll.cli import command, show
from atoll.client.node import Client
from atoll.resources.node import Node, StoreStatus
from atoll.runtime import loop


def add(commands: Any) -> None:
    parser = commands.add_parser("status", help="show a running node", description="Show a running node.")
    command.add_client(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    node, store = loop.run(_ask(command.client(options)))
    if options.json:
        show.print_json({"node": node, "store": store})
        return 0
    show.print_pairs(
        [
            ("version", f"{node.version}, process {node.pid}, {show.size(node.resident_bytes)}"),
            ("started", f"{show.moment(node.started_at_s)}, ready after {node.ready_after_s:.2f} s"),
            ("health", ", ".join(f"{part}: {state}" for part, state in node.health.items())),
            *(
                (f"listens: {each.name}", each.address + (" (TLS)" if each.tls else ""))
                for each in node.listeners
            ),
            ("planes", ", ".join(node.planes) or "none"),
            ("leader-only jobs", ", ".join(node.jobs) or "none"),
            ("store", store.url),
            (
                "revision",
                f"{store.revision}, history from {store.compact_revision}, generation {store.generation}",
            ),
            ("size", f"{show.size(store.size_bytes)}, {show.size(store.size_in_use_bytes)} in use"),
            ("alarms", ", ".join(store.alarms) or "none"),
            ("leases", str(store.leases)),
            ("data", node.data),
            ("access", "credentials asked" if node.auth else "open to every local user"),
            *(("note", remark) for remark in node.remarks),
        ]
    )
    return 0


async def _ask(client: Client) -> tuple[Node, StoreStatus]:
    return await client.node(), await client.store()
