"""``atoll config-item stage`` and what moves a staged release on."""

from __future__ import annotations

import argparse
import re
from typing import Any

from atoll.cli import config_items, registry, show
from atoll.client.configs import Configs
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.resources.config_api import ConfigAsked, RolloutMove, RolloutOrder, RolloutShown
from atoll.resources.rollout import Gate, HealthyGate, HttpGate, Plan, PrometheusGate

_QUERY = re.compile(
    r"(?P<url>https?://[^ ]+) (?P<query>.+?) ?(?P<relation><=|>=|==|<|>) ?(?P<limit>-?[0-9.]+)"
)
_MOVES = (
    ("advance", "take the next step now"),
    ("promote", "give a staged release to everybody now"),
    ("pause", "let a staged release stand where it is"),
    ("resume", "let a paused one go on"),
    ("abort", "take a staged release back"),
)


def add(actions: Any) -> None:
    stage = registry.action(actions, "stage", "publish to a growing share of the consumers", _stage)
    config_items.named(stage)
    config_items.add_content(stage)
    option = stage.add_argument
    option("--steps", default="10,50,100", metavar="PERCENT,...", help="default: %(default)s")
    option("--every", type=float, default=300.0, metavar="S", help="that each step lasts; default 300")
    option("--check-every", type=float, default=10.0, metavar="S", help="a look at the gates; default 10")
    option("--failures", type=int, default=0, metavar="N", help="failed looks in a row that are borne")
    option("--share", type=float, default=0.9, help="for --healthy, 0 to 1; default 0.9")
    option("--healthy", action="append", default=[], metavar="SERVICE", help="gate: so many are healthy")
    option("--http", action="append", default=[], metavar="URL", help="gate: GET is answered with 200")
    option("--prometheus", action="append", default=[], metavar="'URL QUERY<=LIMIT'", help="gate: it holds")
    status = registry.action(actions, "rollout", "show staged releases, or one with its decisions", _status)
    status.add_argument("data_id", nargs="?", metavar="DATA_ID", help="the configuration")
    registry.add_scope(status)
    for name, text in _MOVES:
        move = config_items.named(registry.action(actions, name, text, _move(name)))
        move.add_argument("--why", default="", metavar="TEXT", help="for those who look later")


async def _stage(client: Client, options: argparse.Namespace) -> None:
    wanted = config_items.content_order(options)
    plan = Plan(
        steps=_steps(options.steps),
        interval_s=options.every,
        check_every_s=options.check_every,
        gates=_gates(options),
        failures_max=options.failures,
    )
    order = RolloutOrder(wanted.data_id, wanted.content, plan, wanted.group, wanted.namespace, wanted.details)
    with config_items.fault_shown(wanted.content):
        shown = await Configs(client).start_rollout(order)
    registry.tell(options, shown, f"{options.data_id} goes to {shown.percent:g} % of its consumers")


def _steps(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise AtollError(Code.INVALID, f"--steps {text!r}: expected percentages, as in 10,50,100") from error


def _gates(options: argparse.Namespace) -> tuple[Gate, ...]:
    gates: list[Gate] = [HttpGate(url) for url in options.http]
    if options.healthy:
        gates.append(HealthyGate(tuple(options.healthy), share_min=options.share))
    for text in options.prometheus:
        found = _QUERY.fullmatch(text)
        if found is None:
            raise AtollError(Code.INVALID, f"--prometheus {text!r}: expected 'URL QUERY<=LIMIT'")
        url, query, relation, limit = found.group("url", "query", "relation", "limit")
        gates.append(PrometheusGate(url, query, relation, float(limit)))
    return tuple(gates)


async def _status(client: Client, options: argparse.Namespace) -> None:
    configs = Configs(client)
    if options.data_id is not None:
        asked = ConfigAsked(options.data_id, options.group, options.namespace)
        shown = await configs.rollout(asked)
        if options.json:
            show.print_json(shown)
        else:
            _print(shown)
        return
    found = await configs.rollouts()
    if options.json:
        show.print_json(found)
        return
    rows = (
        (each.key.data_id, each.key.group, each.state, f"{each.percent:g} %", show.moment(each.started_s))
        for each in found
    )
    show.print_table(("configuration", "group", "state", "reach", "since"), rows)


def _print(shown: RolloutShown) -> None:
    show.print_pairs(
        [
            ("configuration", f"{shown.key.namespace}/{shown.key.group}/{shown.key.data_id}"),
            ("state", shown.state),
            ("reach", f"{shown.percent:g} % (step {shown.step + 1} of {len(shown.plan.steps)})"),
            ("started", f"{show.moment(shown.started_s)} by {shown.user or '-'}"),
            ("ended", show.moment(shown.ended_s)),
        ]
    )
    rows = []
    for each in shown.decisions:
        seen = "; ".join(f"{one.gate}: {one.verdict} {one.detail}".strip() for one in each.observations)
        times = f"{each.action} x{each.times}" if each.times > 1 else each.action
        rows.append((show.moment(each.at_s), times, f"{each.percent:g} %", each.why, seen or "-"))
    show.print_table(("when", "decision", "reach", "why", "seen"), rows, title="\ndecisions")


def _move(name: str) -> registry.Act:
    async def act(client: Client, options: argparse.Namespace) -> None:
        move = RolloutMove(options.data_id, name, options.group, options.namespace, options.why)
        shown = await Configs(client).move_rollout(move)
        registry.tell(options, shown, f"{options.data_id}: {shown.state}, {shown.percent:g} %")

    return act
