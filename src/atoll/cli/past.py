"""``atoll explain`` and ``atoll topology``: what clients held and why, and who was there at a past time.

Rule: a time is given as people say it (``12:30``, ``2026-01-31 12:30:05``, in the local zone) or as so long ago
(``5m``, ``2h``), and shown in the local zone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from typing import Any

import msgspec

from atoll.cli import registry, show
from atoll.client.node import Client
from atoll.client.past import Past
from atoll.errors import AtollError, Code
from atoll.resources.events import Explanation
from atoll.resources.past_api import DifferencesAsked, ExplainAsked, TopologyAsked
from atoll.runtime.clock import BootClock

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_FORMS = ("%H:%M", "%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
TIME = "as 12:30, 2026-01-31 12:30:05, or 5m ago as 5m"


def add(commands: Any) -> None:
    explain = registry.group(commands, "explain", "why a client held what it held")
    for name, metavar, text in (
        ("config-item", "DATA_ID", "a configuration"),
        ("service", "SERVICE", "the instances of a service"),
    ):
        parser = registry.action(explain, name, f"explain what clients held of {text}", _explain)
        parser.add_argument("subject", metavar=metavar, help="what they held")
        parser.add_argument("--client", default="", metavar="TEXT", help="contained in the client's id")
        parser.add_argument("--at", default="", metavar="TIME", help=f"{TIME}; default: now")
        registry.add_scope(parser)
    topology = registry.group(commands, "topology", "which instances there were")
    at = registry.action(topology, "at", "show the instances of a past time", _at)
    at.add_argument("at", nargs="?", default="", metavar="TIME", help=f"{TIME}; default: now")
    diff = registry.action(topology, "diff", "show what is different between two times", _diff)
    diff.add_argument("begin", metavar="FROM", help=TIME)
    diff.add_argument("end", nargs="?", default="", metavar="TO", help="default: now")
    for parser in (at, diff):
        parser.add_argument("--service", default="*", metavar="PATTERN", help="* stands for any text")
        parser.add_argument("--group", default="*", metavar="PATTERN", help="* stands for any text")
        registry.add_scope(parser, with_group=False)


def moment(text: str, now_s: float) -> float:
    """Unix time of ``text``; 0 for none. Raises INVALID."""
    if not text:
        return 0.0
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_s - float(ago[1]) * _UNITS_S[ago[2]]
    now = datetime.datetime.fromtimestamp(now_s).astimezone()
    for form in _FORMS:
        try:
            read = datetime.datetime.strptime(text, form).astimezone(now.tzinfo)
        except ValueError:
            continue
        if "%d" not in form:
            read = read.replace(year=now.year, month=now.month, day=now.day)
        return read.timestamp()
    raise AtollError(Code.INVALID, f"{text!r} is no time; give it {TIME}")


async def _explain(client: Client, options: argparse.Namespace) -> None:
    at_s = moment(options.at, BootClock().wall_s())
    of = {"data_id": options.subject} if options.action == "config-item" else {"name": options.subject}
    asked = ExplainAsked(
        **of, group=options.group, namespace=options.namespace, client=options.client, at_s=at_s
    )
    found = await Past(client).explain(asked)
    if options.json:
        show.print_json(found)
        return
    for number, each in enumerate(found):
        if number:
            sys.stdout.write("\n")
        _print(each)


def _print(one: Explanation) -> None:
    show.print_pairs(
        [
            ("client", f"{one.client} (node {one.node})"),
            ("subject", one.subject),
            ("at", show.moment(one.at_s)),
            ("held", f"{one.held or 'nothing'}, since {show.moment(one.held_since_s)}"),
            ("acknowledged", show.moment(one.acknowledged_s)),
            ("newest", one.newest or "-"),
            ("why", one.verdict),
        ]
    )
    rows = ((show.moment(each.at_s), each.what, each.text) for each in one.causes)
    show.print_table(("when", "what", ""), rows)
    for gap in one.gaps:
        sys.stdout.write(f"not known: {gap}\n")


async def _at(client: Client, options: argparse.Namespace) -> None:
    at_s = moment(options.at, BootClock().wall_s())
    asked = TopologyAsked(at_s, options.service, options.group, options.namespace)
    found = await Past(client).topology(asked)
    if options.json:
        show.print_json(found)
        return
    rows = ((each.subject, each.instance, _value(each.value)) for each in found.instances)
    show.print_table(("service", "instance", ""), rows, title=f"at {show.moment(found.at_s)}")
    _remarks(found.remarks)


async def _diff(client: Client, options: argparse.Namespace) -> None:
    now_s = BootClock().wall_s()
    asked = DifferencesAsked(
        moment(options.begin, now_s),
        moment(options.end, now_s),
        options.service,
        options.group,
        options.namespace,
    )
    found = await Past(client).differences(asked)
    if options.json:
        show.print_json(found)
        return
    title = f"from {show.moment(found.from_s)} to {show.moment(found.to_s)}"
    rows = (
        (each.subject, each.instance, _value(each.before), _value(each.after)) for each in found.instances
    )
    show.print_table(("service", "instance", "before", "after"), rows, title=title)
    _remarks(found.remarks)


def _value(value: msgspec.Raw | None) -> str:
    if value is None:
        return "-"
    found = json.loads(bytes(value))
    if not isinstance(found, dict):
        return str(found)
    return ", ".join(f"{name} {each}" for name, each in found.items() if each not in ("", {}, None))


def _remarks(remarks: tuple[str, ...]) -> None:
    for remark in remarks:
        sys.stderr.write(f"note: {remark}\n")
