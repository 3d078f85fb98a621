"""What the commands of the registry share: their place in the parser, names of things, files, tables.

Rule: a command is a function of a client and the options; asking, printing and the exit code are the same for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from atoll.cli import command, show
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.resources.instance import Instance
from atoll.resources.service import DEFAULT_CLUSTER, DEFAULT_GROUP
from atoll.runtime import loop

S = TypeVar("S", bound=msgspec.Struct)
Act: TypeAlias = Callable[[Client, argparse.Namespace], Coroutine[Any, Any, None]]


def group(commands: Any, name: str, text: str) -> Any:
    """The place of the commands ``atoll NAME ...``."""
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    return parser.add_subparsers(dest="action", metavar="ACTION", required=True)


def action(actions: Any, name: str, text: str, act: Act) -> argparse.ArgumentParser:
    """One command that asks a node."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text.capitalize() + ".")
    command.add_client(parser)
    parser.set_defaults(run=lambda options: _run(act, options))
    return parser


def _run(act: Act, options: argparse.Namespace) -> int:
    loop.run(act(command.client(options), options))
    return 0


def add_scope(parser: argparse.ArgumentParser, with_group: bool = True) -> None:
    """``--namespace`` and ``--group``."""
    parser.add_argument("--namespace", default="", metavar="ID", help="default: public")
    if with_group:
        parser.add_argument("--group", default=DEFAULT_GROUP, metavar="NAME", help="default: %(default)s")


def add_address(parser: argparse.ArgumentParser) -> None:
    """A service and an address in it."""
    parser.add_argument("name", metavar="SERVICE", help="the service")
    parser.add_argument("address", metavar="IP:PORT", help="the instance")
    parser.add_argument("--cluster", default=DEFAULT_CLUSTER, metavar="NAME", help="default: %(default)s")
    add_scope(parser)


class Place(NamedTuple):
    ip: str
    port: int


def place(text: str) -> Place:
    """``IP:PORT`` or ``[IPv6]:PORT``. Raises INVALID."""
    ip, colon, port = text.rpartition(":")
    if not colon or not ip or not port.isdecimal():
        raise AtollError(Code.INVALID, f"{text!r} is no instance's address; expected IP:PORT")
    return Place(ip.removeprefix("[").removesuffix("]"), int(port))


def pairs(texts: Iterable[str]) -> Mapping[str, str]:
    """``NAME=VALUE`` each. Raises INVALID."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise AtollError(Code.INVALID, f"{text!r} is no NAME=VALUE")
        found[name] = value
    return found


def read_text(path: str) -> str:
    """The whole of a file, ``-`` for standard input. Raises INVALID for what cannot be read or is no UTF-8."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise AtollError(Code.INVALID, f"{path} cannot be read: {error}") from error


def tell(options: argparse.Namespace, answer: Any, text: str) -> None:
    """The answer as JSON, or ``text`` about it."""
    if options.json:
        show.print_json(answer)
    else:
        sys.stdout.write(text + "\n")


def not_there(what: str) -> AtollError:
    return AtollError(Code.NOT_FOUND, f"there is no {what}")


def warn_unasked(nodes: Iterable[str]) -> None:
    """Say whose part of an answer is missing."""
    for node in nodes:
        sys.stderr.write(f"note: node {node} did not answer; what it knows is missing here\n")


def replaced(value: S, fields: Mapping[str, Any]) -> S:
    return msgspec.structs.replace(value, **fields)


def instance_row(instance: Instance) -> tuple[str, ...]:
    state = "healthy" if instance.healthy else "unhealthy"
    metadata = ", ".join(f"{name}={value}" for name, value in sorted(instance.metadata.items()))
    return (
        f"{instance.ip}:{instance.port}",
        instance.cluster,
        state if instance.enabled else f"{state}, out of service",
        f"{instance.weight:g}",
        "ephemeral" if instance.ephemeral else "persistent",
        metadata or "-",
    )


INSTANCE_COLUMNS = ("instance", "cluster", "state", "weight", "kind", "metadata")
