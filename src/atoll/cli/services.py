"""``atoll service``: services, what is fixed about them, who is subscribed; ``atoll members`` and ``clients``."""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from atoll.cli import registry, show
from atoll.client.node import Client
from atoll.client.services import Services
from atoll.errors import AtollError, Code
from atoll.resources.naming_api import ServiceAsked, ServiceChangeOrder, ServiceOrder, ServicesAsked
from atoll.resources.service import Selector

Wanted = TypeVar("Wanted", ServiceOrder, ServiceChangeOrder)

_KINDS = {"ephemeral": True, "persistent": False}


def add(commands: Any) -> None:
    registry.action(commands, "members", "list the nodes of the cluster", _members)
    registry.action(commands, "clients", "list the clients of all nodes", _clients)
    actions = registry.group(commands, "service", "list and look after services")
    every = registry.action(actions, "list", "list services", _list)
    every.add_argument("--name", default="", metavar="TEXT", help="contained in the name")
    every.add_argument("--group", default="", metavar="TEXT", help="contained in the group's name")
    every.add_argument("--page", type=int, default=1, metavar="N", help="of 100 services each")
    registry.add_scope(every, with_group=False)
    for name, text, act in (
        ("get", "show a service with its instances", _get),
        ("publishers", "show who registered the instances of a service", _publishers),
        ("subscribers", "show who is subscribed to a service", _subscribers),
        ("remove", "remove a service that has no instances", _remove),
    ):
        _named(registry.action(actions, name, text, act))
    for name, text, act in (
        ("create", "make a service before its first instance", _create),
        ("update", "change what is fixed about a service", _update),
    ):
        _fixed(_named(registry.action(actions, name, text, act)))


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", metavar="SERVICE", help="its name")
    registry.add_scope(parser)
    return parser


def _fixed(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--kind", choices=_KINDS, help="of its instances; default: the first one decides")
    option("--protect-threshold", type=float, metavar="SHARE", help="0 to 1; default 0")
    option("--selector", metavar="KIND:EXPRESSION", help="as in label:... or nearby:zone,region")
    option("--metadata", action="append", metavar="NAME=VALUE", help="repeatable")


async def _members(client: Client, options: argparse.Namespace) -> None:
    found = await Services(client).members()
    if options.json:
        show.print_json(found)
        return
    rows = (
        (
            each.node + (" (asked)" if each.me else ""),
            each.nacos or "-",
            each.nodes or "-",
            each.release or "-",
        )
        for each in found
    )
    show.print_table(("node", "Nacos API", "for nodes", "release"), rows)


async def _clients(client: Client, options: argparse.Namespace) -> None:
    found = await Services(client).clients()
    if options.json:
        show.print_json(found)
        return
    rows = (
        (
            each.id,
            each.node,
            each.kind,
            each.app or "-",
            each.version or "-",
            str(each.published),
            str(each.subscribed),
            show.moment(each.opened_s),
        )
        for each in found
    )
    columns = ("client", "node", "kind", "application", "version", "registered", "subscribed", "since")
    show.print_table(columns, rows)


async def _list(client: Client, options: argparse.Namespace) -> None:
    asked = ServicesAsked(options.namespace, options.group, options.name, page=options.page)
    page = await Services(client).every(asked)
    if options.json:
        show.print_json(page)
        return
    rows = (
        (
            each.key.name,
            each.key.group,
            f"{each.healthy} of {each.instances}",
            str(each.clusters),
            _kind(each.ephemeral),
        )
        for each in page.services
    )
    show.print_table(("service", "group", "healthy", "clusters", "kind"), rows)


async def _get(client: Client, options: argparse.Namespace) -> None:
    shown = await Services(client).one(_asked(options))
    if options.json:
        show.print_json(shown)
        return
    service = shown.service
    show.print_pairs(
        [
            ("service", str(service.key)),
            ("kind", _kind(service.ephemeral)),
            ("protect threshold", f"{service.protect_threshold:g}"),
            ("selector", f"{service.selector.kind} {service.selector.expression}".strip()),
            *((f"metadata {name}", value) for name, value in sorted(service.metadata.items())),
            *([("note", "the store is away: this is the last that was known")] if shown.stale else []),
        ]
    )
    rows = map(registry.instance_row, shown.instances)
    show.print_table(registry.INSTANCE_COLUMNS, rows, title="\ninstances")


async def _publishers(client: Client, options: argparse.Namespace) -> None:
    found = await Services(client).publishers(_asked(options))
    if options.json:
        show.print_json(found)
        return
    rows = (
        (f"{each.instance.ip}:{each.instance.port}", each.instance.cluster, each.client, each.node or "-")
        for each in found
    )
    show.print_table(("instance", "cluster", "client", "node"), rows)


async def _subscribers(client: Client, options: argparse.Namespace) -> None:
    found = await Services(client).subscribers(_asked(options))
    if options.json:
        show.print_json(found)
        return
    rows = (
        (
            each.client,
            each.address,
            each.app or "-",
            each.version or "-",
            each.node,
            show.moment(each.pushed_s),
            show.moment(each.acknowledged_s),
        )
        for each in found
    )
    columns = ("client", "address", "application", "version", "node", "told", "acknowledged")
    show.print_table(columns, rows)


async def _create(client: Client, options: argparse.Namespace) -> None:
    order = ServiceOrder(options.name, options.group, options.namespace)
    done = await Services(client).create(_changed(order, options))
    registry.tell(options, done, f"service {options.name} is made")


async def _update(client: Client, options: argparse.Namespace) -> None:
    """What no flag names stays as it is."""
    order = ServiceChangeOrder(options.name, options.group, options.namespace)
    done = await Services(client).update(_changed(order, options))
    registry.tell(options, done, f"service {options.name} is changed")


async def _remove(client: Client, options: argparse.Namespace) -> None:
    done = await Services(client).remove(_asked(options))
    registry.tell(
        options, done, f"service {options.name} {'is removed' if done.removed else 'was not there'}"
    )


def _asked(options: argparse.Namespace) -> ServiceAsked:
    return ServiceAsked(options.name, options.group, options.namespace)


def _changed(order: Wanted, options: argparse.Namespace) -> Wanted:
    """``order`` with what the flags say."""
    given: dict[str, Any] = {}
    if options.kind is not None:
        given["ephemeral"] = _KINDS[options.kind]
    if options.protect_threshold is not None:
        given["protect_threshold"] = options.protect_threshold
    if options.selector is not None:
        given["selector"] = _selector(options.selector)
    if options.metadata is not None:
        given["metadata"] = registry.pairs(options.metadata)
    return registry.replaced(order, given)


def _selector(text: str) -> Selector:
    kind, colon, expression = text.partition(":")
    if not colon and kind != "none":
        raise AtollError(Code.INVALID, f"{text!r} is no selector; expected KIND:EXPRESSION, or none")
    return Selector(kind, expression)


def _kind(ephemeral: bool | None) -> str:
    return "-" if ephemeral is None else "ephemeral" if ephemeral else "persistent"
