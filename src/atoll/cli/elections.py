"""``atoll elections``, ``observe``, ``handover``, ``pause`` and ``resume``.

Rule: these speak to a node; the node's store is where the elections are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from atoll.cli import command, show
from atoll.client.elections import Elections
from atoll.resources.election_views import ElectionView, LeaderView, Observed
from atoll.runtime import loop


def add(commands: Any) -> None:
    every = _command(commands, "elections", "list elections, or show one with its terms", run_elections)
    every.add_argument("name", nargs="?", metavar="NAME", help="show this one with its history")
    observe = _command(commands, "observe", "print each leader of an election, from now on", run_observe)
    observe.add_argument("name", metavar="NAME", help="the election")
    observe.add_argument(
        "--count", type=int, default=0, metavar="N", help="end after N lines (default: never)"
    )
    handover = _command(commands, "handover", "let a named candidate lead", run_handover)
    handover.add_argument("name", metavar="NAME", help="the election")
    handover.add_argument(
        "--to", required=True, metavar="ID", help="the candidate's id, as elections shows it"
    )
    for name, text, run in (
        ("pause", "let no new term begin", run_pause),
        ("resume", "let terms begin again", run_resume),
    ):
        _command(commands, name, text, run).add_argument("name", metavar="NAME", help="the election")


def _command(
    commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text.capitalize() + "."
    )
    command.add_client(parser)
    parser.set_defaults(run=run)
    return parser


def run_elections(options: argparse.Namespace) -> int:
    client = Elections(command.client(options))
    if options.name:
        _print_one(options, loop.run(client.one(options.name)))
        return 0
    found = loop.run(client.every())
    if options.json:
        show.print_json(found)
        return 0
    rows = (
        (each.name, _name(each.leader), _token(each.leader), str(len(each.candidates)), _state(each))
        for each in found
    )
    show.print_table(("election", "leader", "token", "candidates", "state"), rows)
    return 0


def _print_one(options: argparse.Namespace, election: ElectionView) -> None:
    if options.json:
        show.print_json(election)
        return
    show.print_pairs(
        [
            ("election", election.name),
            ("leader", _name(election.leader)),
            ("token", _token(election.leader)),
            ("value", election.leader.value if election.leader else "-"),
            ("state", _state(election)),
        ]
    )
    candidates = ((each.id or "(foreign)", str(each.priority), each.lease) for each in election.candidates)
    show.print_table(("candidate", "priority", "lease"), candidates, title="\nin order of succession")
    terms = (
        (each.token, each.holder, show.moment(each.start_s), show.moment(each.end_s), each.cause or "goes on")
        for each in election.terms
    )
    show.print_table(("token", "holder", "start", "end", "cause"), terms, title="\nterms")


def run_observe(options: argparse.Namespace) -> int:
    loop.run(_observe(Elections(command.client(options)), options))
    return 0


async def _observe(client: Elections, options: argparse.Namespace) -> None:
    seen = 0
    async for observed in client.observe(options.name):
        sys.stdout.write(_line(observed, options.json) + "\n")
        sys.stdout.flush()
        seen += 1
        if seen == options.count:
            return


def _line(observed: Observed, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(observed).decode()
    leader = observed.leader
    if leader is None:
        return f"{show.moment(observed.at_s)}  nobody"
    state = "serves" if leader.serving else "about to serve"
    return f"{show.moment(observed.at_s)}  {_name(leader)}  token {leader.token}  {state}  {leader.value}".rstrip()


def run_handover(options: argparse.Namespace) -> int:
    loop.run(Elections(command.client(options)).handover(options.name, options.to))
    sys.stdout.write(f"election {options.name}: {options.to} will lead as soon as those before it gave way\n")
    return 0


def run_pause(options: argparse.Namespace) -> int:
    return _order(options, Elections(command.client(options)).pause, "paused: no new term begins")


def run_resume(options: argparse.Namespace) -> int:
    return _order(options, Elections(command.client(options)).resume, "resumed")


def _order(options: argparse.Namespace, order: Callable[[str], Awaitable[object]], text: str) -> int:
    async def carry_out() -> None:
        await order(options.name)

    loop.run(carry_out())
    sys.stdout.write(f"election {options.name} {text}\n")
    return 0


def _name(leader: LeaderView | None) -> str:
    return "-" if leader is None else leader.id or f"(foreign) {leader.key}"


def _token(leader: LeaderView | None) -> str:
    return "-" if leader is None else leader.token


def _state(election: ElectionView) -> str:
    leader = election.leader
    words = ["nobody stands" if leader is None else "serving" if leader.serving else "about to serve"]
    words += ["paused"] if election.paused else []
    words += [f"hand over to {election.handover_to}"] if election.handover_to else []
    return ", ".join(words)
