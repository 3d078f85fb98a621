"""``atoll instance``: who serves a service, and an operator's word about it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from atoll.cli import registry, show
from atoll.client.node import Client
from atoll.client.services import Services
from atoll.resources.naming_api import (
    AddressLabels,
    HealthOrder,
    InstanceAsked,
    InstanceOrder,
    InstancesAsked,
    OverrideOrder,
    OverrideRemoval,
    ServiceAsked,
)


def add(commands: Any) -> None:
    actions = registry.group(commands, "instance", "list and look after the instances of services")
    every = registry.action(actions, "list", "list the instances of a service", _list)
    every.add_argument("name", metavar="SERVICE", help="the service")
    every.add_argument(
        "--for", dest="consumer", metavar="ADDRESS", help="those that a consumer at this address is given"
    )
    registry.add_scope(every)
    register = registry.action(actions, "register", "register a persistent instance", _register)
    registry.add_address(register)
    register.add_argument("--weight", type=float, default=1.0, help="default: %(default)s")
    register.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    deregister = registry.action(actions, "deregister", "remove an instance", _deregister)
    registry.add_address(deregister)
    deregister.add_argument("--ephemeral", action="store_true", help="one that beats or has a connection")
    for name, text, act in (
        ("enable", "put an instance in service", _enable),
        ("disable", "take an instance out of service, until it is enabled again", _disable),
        ("reset", "let the instance's own word hold again", _reset),
    ):
        registry.add_address(registry.action(actions, name, text, act))
    weight = registry.action(actions, "weight", "set the weight of an instance", _weight)
    registry.add_address(weight)
    weight.add_argument("weight", type=float, metavar="WEIGHT", help="0 to 10000; 0: clients send nothing")
    metadata = registry.action(actions, "metadata", "set the metadata of an instance", _metadata)
    registry.add_address(metadata)
    metadata.add_argument("pairs", nargs="*", metavar="NAME=VALUE", help="all of it; nothing: none")
    health = registry.action(actions, "health", "set the health of an instance that nothing probes", _health)
    registry.add_address(health)
    health.add_argument("state", choices=("healthy", "unhealthy"), help="what it is from now on")
    labels = registry.action(actions, "labels", "show where addresses are: zone, region", _labels)
    labels.add_argument("address", nargs="?", metavar="IP", help="say it of this address")
    labels.add_argument("pairs", nargs="*", metavar="NAME=VALUE", help="all that is said; nothing: forget it")


async def _list(client: Client, options: argparse.Namespace) -> None:
    services = Services(client)
    if options.consumer is None:
        shown = await services.one(ServiceAsked(options.name, options.group, options.namespace))
        instances, note = shown.instances, ""
    else:
        asked = InstancesAsked(options.name, options.group, options.namespace, address=options.consumer)
        hosts = await services.instances(asked)
        instances = hosts.instances
        note = "so few are healthy that all are given out" if hosts.protected else ""
    if options.json:
        show.print_json(instances)
        return
    show.print_table(registry.INSTANCE_COLUMNS, map(registry.instance_row, instances))
    if note:
        sys.stderr.write(f"note: {note}\n")


async def _register(client: Client, options: argparse.Namespace) -> None:
    ip, port = registry.place(options.address)
    order = InstanceOrder(
        options.name,
        ip,
        port,
        options.cluster,
        options.group,
        options.namespace,
        options.weight,
        ephemeral=False,
        metadata=registry.pairs(options.metadata),
    )
    done = await Services(client).register(order)
    registry.tell(options, done, f"instance {options.address} of {options.name} is registered")


async def _deregister(client: Client, options: argparse.Namespace) -> None:
    ip, port = registry.place(options.address)
    asked = InstanceAsked(
        options.name, ip, port, options.cluster, options.group, options.namespace, options.ephemeral
    )
    done = await Services(client).deregister(asked)
    state = "is removed" if done.removed else "was not there"
    registry.tell(options, done, f"instance {options.address} of {options.name} {state}")


async def _enable(client: Client, options: argparse.Namespace) -> None:
    await _override(client, options, {"enabled": True}, "is in service")


async def _disable(client: Client, options: argparse.Namespace) -> None:
    await _override(client, options, {"enabled": False}, "is out of service")


async def _reset(client: Client, options: argparse.Namespace) -> None:
    ip, port = registry.place(options.address)
    asked = OverrideRemoval(options.name, ip, port, options.cluster, options.group, options.namespace)
    done = await Services(client).remove_override(asked)
    registry.tell(options, done, f"instance {options.address} of {options.name} is what it says of itself")


async def _weight(client: Client, options: argparse.Namespace) -> None:
    await _override(client, options, {"weight": options.weight}, f"has weight {options.weight:g}")


async def _metadata(client: Client, options: argparse.Namespace) -> None:
    await _override(client, options, {"metadata": registry.pairs(options.pairs)}, "has new metadata")


async def _override(client: Client, options: argparse.Namespace, word: Mapping[str, Any], text: str) -> None:
    ip, port = registry.place(options.address)
    order = OverrideOrder(options.name, ip, port, options.cluster, options.group, options.namespace)
    done = await Services(client).override(registry.replaced(order, word))
    registry.tell(options, done, f"instance {options.address} of {options.name} {text}")


async def _labels(client: Client, options: argparse.Namespace) -> None:
    services = Services(client)
    if options.address:
        done = await services.set_labels(AddressLabels(options.address, registry.pairs(options.pairs)))
        registry.tell(options, done, f"{options.address} has {len(options.pairs)} labels")
        return
    said = await services.labels()
    if options.json:
        show.print_json(said)
        return
    rows = [
        (each.address, " ".join(f"{name}={value}" for name, value in each.labels.items())) for each in said
    ]
    show.print_table(("address", "labels"), rows)


async def _health(client: Client, options: argparse.Namespace) -> None:
    ip, port = registry.place(options.address)
    healthy = options.state == "healthy"
    order = HealthOrder(options.name, ip, port, healthy, options.cluster, options.group, options.namespace)
    done = await Services(client).set_health(order)
    registry.tell(options, done, f"instance {options.address} of {options.name} is {options.state}")
