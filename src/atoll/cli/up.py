"""Start a node, say where it answers, stop it in good order.

Rule: the first SIGINT or SIGTERM stops the node within its bound, a second one at once; that loses nothing that was
acknowledged.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from atoll.cli import command
from atoll.client.local import LocalTransport
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.host.node import ROOT_PASSWORD_FILE, TOKEN_FILE, Node
from atoll.host.settings import Resolved
from atoll.runtime import logs, loop, process
from atoll.runtime.signals import Signals, ignore
from atoll.runtime.tasks import Tasks

EXIT_FAILED = 1
EXIT_HURRIED = 130


def add(commands: Any, pages: command.Pages) -> None:
    parser = commands.add_parser("up", help="start a node", description="Start a node; Ctrl-C stops it.")
    command.add_settings(parser)
    parser.set_defaults(run=lambda options: run(options, pages))


def run(options: argparse.Namespace, pages: command.Pages) -> int:
    resolved = command.resolve(options)
    logs.set_up(resolved.settings.log_level, resolved.settings.log_format)
    return loop.run(_serve(resolved, pages))


async def _serve(resolved: Resolved, pages: command.Pages) -> int:
    node = Node(resolved, process.started_s())

    def own_client() -> Client:
        if node.application is None:
            raise AtollError(Code.UNAVAILABLE, "the node is starting", retry_after_s=1.0)
        host = str(node.settings.address("listen_api"))
        return Client(LocalTransport(node.application, host), node.token)

    node.pages = pages(own_client)
    outer = Tasks(logs.Log("up"), lambda name, error: node.ended.set())
    with Signals() as signals:
        outer.start("signals", _obey(signals, node))
        await node.start()
        sys.stdout.write(announcement(node))
        sys.stdout.flush()
        await node.ended.wait()
        await node.stop()
        await outer.stop(within_s=1.0)
    ignore()  # all is stopped: one more signal, sent a moment late, is no reason to end as if killed
    if node.failure:
        sys.stderr.write(f"atoll up: {node.failure}\n")
    return EXIT_FAILED if node.failure else 0


async def _obey(signals: Signals, node: Node) -> None:
    await signals.next()
    node.ended.set()
    await signals.next()
    process.end_now(EXIT_HURRIED)


def announcement(node: Node) -> str:
    """What a person wants to know first: where it answers, where the data is, who may use it."""
    state, chosen = node.state, node.settings
    scheme = "https" if chosen.tls_certificate else "http"
    lines = [f"atoll is ready after {state.ready_after_s:.2f} s"]
    for face in [face for plane in state.planes for face in plane.faces]:
        addresses = [str(state.listeners[each.removeprefix("listen_")].address) for each in face.listens]
        lines.append(f"  {face.title:13} {', '.join(addresses)}")
    for title, address in [each for plane in state.planes for each in plane.also.items()]:
        lines.append(f"  {title:13} {address}")
    lines.append(f"  console, API  {scheme}://{state.listeners['api'].address}/")
    lines.append(f"  store         {state.opened.url}")
    lines += [f"  note          {remark}" for remark in state.remarks]
    if chosen.auth:
        secrets = (
            f"the API's token is in {TOKEN_FILE}, the password of etcd user root in {ROOT_PASSWORD_FILE}"
        )
        lines.append(f"  access        by credentials; in {chosen.data}: {secrets}")
    else:
        lines.append("  access        open to every local user of this machine; --auth asks for credentials")
    return "\n".join([*lines, ""])
