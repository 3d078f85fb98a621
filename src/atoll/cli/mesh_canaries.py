"""``atoll mesh canary`` and what ``atoll apply --canary`` begins: a change of policy tried on a share of the clients."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from atoll.cli import registry, show
from atoll.client.mesh_canaries import MeshCanaries
from atoll.client.node import Client
from atoll.resources.mesh.canary import CanaryOrder, CanaryPlan, CanaryShown
from atoll.resources.mesh.document_api import FileText
from atoll.runtime.clock import BootClock

_PLAN = CanaryPlan()
_NUMBERS = (
    (
        "--requests-min",
        "requests_min",
        int,
        "N",
        "requests that the share must have served before it goes on",
    ),
    ("--hold", "hold_s", float, "S", "seconds that it lasts at least"),
    ("--error-points", "error_points_max", float, "P", "percentage points of errors more that are borne"),
    (
        "--latency-factor",
        "latency_factor_max",
        float,
        "F",
        "how many times the latency of the others is borne",
    ),
)


def add(actions: Any) -> None:
    canary = registry.group(actions, "canary", "changes of policy that are tried on a share of the clients")
    registry.action(canary, "list", "list them, the newest first", _list)
    shown = registry.action(canary, "show", "show one, and what was seen of it", _show)
    promote = registry.action(canary, "promote", "give it to everybody now", _promote)
    cancel = registry.action(canary, "cancel", "take it back from the share", _cancel)
    for parser in (shown, promote, cancel):
        parser.add_argument("name", metavar="NAME")
    for parser in (promote, cancel):
        parser.add_argument("--why", default="", metavar="TEXT", help="for its record")


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The options of ``atoll apply`` that make it a canary."""
    group = parser.add_argument_group("canary")
    group.add_argument(
        "--canary",
        type=float,
        metavar="PERCENT",
        help="try it on this share of the clients first; traffic decides whether it goes on or back",
    )
    group.add_argument("--name", default="", metavar="NAME", help="of the canary; default: from the time")
    for flag, field, kind, shape, text in _NUMBERS:
        usual = f"{getattr(_PLAN, field):g}"
        group.add_argument(
            flag,
            dest=field,
            type=kind,
            default=getattr(_PLAN, field),
            metavar=shape,
            help=f"{text}; default: {usual}",
        )


async def begin(client: Client, files: tuple[FileText, ...], options: argparse.Namespace) -> None:
    plan = CanaryPlan(options.canary, **{field: getattr(options, field) for _, field, *_ in _NUMBERS})
    name = options.name or f"canary-{BootClock().wall_s():.0f}"
    order = CanaryOrder(name, files, plan, options.namespace, options.force)
    _print(await MeshCanaries(client).begin(order), options)


async def _list(client: Client, options: argparse.Namespace) -> None:
    found = await MeshCanaries(client).find()
    if options.json:
        show.print_json(found)
        return
    rows = [
        [
            each.name,
            each.state,
            f"{each.plan.share_percent:g} %",
            show.moment(each.started_s),
            each.decisions[-1].why,
        ]
        for each in found
    ]
    show.print_table(("canary", "state", "share", "began", "last word"), rows)


async def _show(client: Client, options: argparse.Namespace) -> None:
    _print(await MeshCanaries(client).one(options.name), options)


async def _promote(client: Client, options: argparse.Namespace) -> None:
    _print(await MeshCanaries(client).promote(options.name, options.why), options)


async def _cancel(client: Client, options: argparse.Namespace) -> None:
    _print(await MeshCanaries(client).cancel(options.name, options.why), options)


def _print(shown: CanaryShown, options: argparse.Namespace) -> None:
    if options.json:
        show.print_json(shown)
        return
    canary, seen = shown.canary, shown.seen
    write = sys.stdout.write
    write(f"{canary.name}: {canary.state}, {canary.plan.share_percent:g} % of the clients\n")
    for change in canary.changes:
        write(f"  changes {change.document}\n")
    if canary.is_running:
        write(
            f"  on {len(seen.clients)} of {seen.concerned} clients that it concerns: {', '.join(seen.clients)}\n"
        )
        write(f"  {seen.canary.errors} errors in {seen.canary.requests} requests; ")
        write(f"the others {seen.others.errors} in {seen.others.requests}\n  {shown.verdict}\n")
    for decision in canary.decisions:
        write(f"  {show.moment(decision.at_s)} {decision.action}: {decision.why}\n")
