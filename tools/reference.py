"""``python -m tools.reference``: the parts of the reference that the code itself knows, written into their pages.

Rule: settings, commands and metrics are declared once, in the code; their tables are made from there, and a test
fails while a page differs. What a person wrote around a table is kept. Runs inside Atoll's environment.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from atoll.cli import main as command_line
from atoll.host import catalog, settings
from atoll.host.api import Api
from atoll.host.state import State
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.http_api import Endpoint
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.rng import system_rng
from atoll.runtime.tasks import Tasks
from atoll.store.audit import AuditWriter
from atoll.store.ephemeral import EphemeralTable, Identity
from atoll.store.peers import Member, Peers
from atoll.wire.nacos import catalog as catalog_of_nacos
from atoll.wire.nacos.catalog import grpc_types
from atoll.wire.nacos.catalog.entry import Status
from tools import document_tables
from tools.environment import ROOT
from tools.soak import with_section

REFERENCE = ROOT / "docs" / "reference"
DATA_FOLDER = "the user's data folder"

_Parser = argparse.ArgumentParser


def settings_table() -> str:
    """Every setting of a node, by its name in the file."""
    lines = ["| in the file | variable | flag | default | what |", "|---|---|---|---|---|"]
    for each in settings.DECLARED.values():
        default = DATA_FOLDER if isinstance(each.default, Path) else str(each.default).lower() or "none"
        choices = f" One of {', '.join(each.choices)}." if each.choices else ""
        names = f"| `{each.name}` | `{each.variable}` | `{each.flag} {each.shape}".rstrip() + "`"
        lines.append(f"{names} | {default} | {each.text}{choices} |")
    return "\n".join(lines)


def commands_list() -> str:
    """Every command with its arguments; flags that set a setting are on the page of settings."""
    sections = []
    for parser, text in _commands(command_line.parser(lambda client: {}), ""):
        arguments = "\n".join(f"- {line}" for line in _arguments(parser))
        sections.append(f"### `{parser.prog}`\n\n{parser.description or text}\n\n{arguments}".strip())
    return "\n\n".join(sections)


def metrics_table() -> str:
    """Every metric that some module declares, with the help text that a scrape shows."""
    lines = ["| name | kind | what |", "|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {text} |" for name, kind, text in sorted(_metrics())]
    return "\n".join(lines)


def endpoints_table() -> str:
    """Every endpoint of the HTTP API, those of the planes included, as a node with a store in memory has them."""
    lines = ["| | path | for | query | body | answer | what |", "|---|---|---|---|---|---|---|"]
    for each in sorted(loop.run(_endpoints()), key=lambda each: (each.path, each.method)):
        query = ", ".join(f"`{name}`" for name in each.query_names)
        body = f"`{each.body.__name__}`" if each.body else ""
        answer = f"lines of `{each.answer.__name__}`" if each.streams else f"`{_type_name(each.answer)}`"
        what = f"{each.audience.value} | {query} | {body} | {answer} | {each.summary}"
        lines.append(f"| {each.method} | `{each.path}` | {what} |")
    return "\n".join(lines)


def called_by_clients(protocol: str) -> set[str]:
    """What the nodes saw the vendor's clients call; ``tests/conformance/nacos`` fails where that is out of date."""
    record: dict[str, list[str]] = json.loads((REFERENCE / "called-by-clients.json").read_text())
    return set(record[protocol])


def nacos_types_table() -> str:
    """Every type of message of Nacos's gRPC, and what becomes of it here."""
    called = called_by_clients("grpc")
    lines = [
        "| type | module | sent by | answered by | permission | rate limit | status | called |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in grpc_types.TYPES.values():
        permit = {"open": "none", "each": "an account"}.get(
            each.permit.on, f"{each.permit.on} {each.permit.action}"
        )
        needs = permit if each.way is grpc_types.Way.UNARY else ""
        answer = f"`{each.response}`" if each.response else ""
        status = each.status.value + (f": {each.note}" if each.note else "")
        point = f"`{each.point}`" if each.point else ""
        seen = "yes" if each.name in called else ""
        what = (
            f"| `{each.name}` | {each.module} | {each.way.value} | {answer} | {needs} | {point} | {status} |"
        )
        lines.append(f"{what} {seen} |")
    return "\n".join(lines)


async def _endpoints() -> list[Endpoint]:
    with tempfile.TemporaryDirectory(prefix="atoll-reference-") as data:
        return await _endpoints_of(settings.resolve(None, {}, {"store_url": "memory:", "data": data}))


async def _endpoints_of(resolved: settings.Resolved) -> list[Endpoint]:
    opened = catalog.open_store(resolved.settings)
    tasks = Tasks(Log("docs"), lambda name, error: None)
    audit = AuditWriter(BootClock(), system_rng())
    accounts = await catalog.open_accounts(opened, audit)
    peers = Peers(Member("reference", 1))
    ephemeral = EphemeralTable(Identity("reference", 1), BootClock())
    context = catalog.Context(
        resolved.settings, opened, BootClock(), Metrics(), tasks, peers, ephemeral, accounts, audit
    )
    planes = await catalog.start_planes(context)
    for plane in reversed(planes):
        await plane.stop(1.0)
    await tasks.stop(1.0)
    opened.close()
    return [*Api(State(resolved, 0.0)).endpoints(), *(each for plane in planes for each in plane.endpoints)]


def nacos_table() -> str:
    """Every HTTP path of Nacos, then every type of its gRPC, with what becomes of it here."""
    paths = catalog_of_nacos.ENTRIES
    count = {status: sum(each.status is status for each in paths) for status in Status}
    said = ", ".join(f"{number} {status.value}" for status, number in count.items())
    lines = [f"Of {len(paths)} HTTP paths: {said}.", ""]
    called = called_by_clients("http")
    lines += ["| | path | envelope | permission | here | called |", "|---|---|---|---|---|---|"]
    for each in sorted(paths, key=lambda each: (each.path, each.verb, each.when)):
        when = f"?{each.when}" if each.when else ""
        permission = f"{each.permit.on} {each.permit.action}".strip()
        here = each.status.value + (f": {each.note}" if each.note else "")
        seen = "yes" if f"{each.verb} {each.path}" in called else ""
        what = f"| {each.verb} | `{each.path}{when}` | {each.envelope.value} | {permission} | {here} |"
        lines.append(f"{what} {seen} |")
    return "\n".join([*lines, "", "### gRPC types", "", nacos_types_table()])


def mesh_matrix() -> str:
    """What clients of the mesh were seen to do; ``tests/conformance/mesh`` fails where that is out of date."""
    record = json.loads((REFERENCE / "mesh-matrix.json").read_text())
    columns = list(dict.fromkeys(name for each in _features(record["matrix"]) for name in each))
    lines = []
    for group, features in record["matrix"].items():
        lines += [f"### {group}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for feature, outcomes in features.items():
            found = [outcomes.get(name, "") for name in columns]
            cells = " | ".join(each if each == "pass" else f"differs: {each}" for each in found)
            lines.append(f"| {feature} | {cells} |")
        lines.append("")
    lines += ["### What gRPC does otherwise", "", "| a document asks for | gRPC |", "|---|---|"]
    lines += [f"| {feature} | {here} |" for feature, here in record["differences"].items()]
    return "\n".join(lines)


def _features(matrix: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Iterator[Mapping[str, str]]:
    return (outcomes for features in matrix.values() for outcomes in features.values())


def _type_name(kind: Any) -> str:
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__name__
    return re.sub(r"[a-z_.]+\.(?=[A-Z])", "", str(kind))


GENERATED: Mapping[str, tuple[str, Callable[[], str]]] = {
    "settings.md": ("settings", settings_table),
    "cli.md": ("commands", commands_list),
    "metrics.md": ("metrics", metrics_table),
    "http-api.md": ("endpoints", endpoints_table),
    "nacos-grpc.md": ("nacos-grpc", nacos_types_table),
    "nacos.md": ("nacos", nacos_table),
    "mesh-documents.md": ("documents", document_tables.tables),
    "mesh.md": ("mesh matrix", mesh_matrix),
}


def current(page: str) -> str:
    """The text that a page would have if it were written now."""
    name, generate = GENERATED[page]
    return with_section((REFERENCE / page).read_text(), name, generate())


def main() -> int:
    for page in GENERATED:
        (REFERENCE / page).write_text(current(page))
    return 0


def _commands(parser: _Parser, text: str) -> Iterator[tuple[_Parser, str]]:
    """Every command that does something, with the line that its parent's help has for it."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser, text
    for action in below:
        texts = {each.dest: each.help or "" for each in action._choices_actions}
        for name, child in action.choices.items():
            yield from _commands(child, texts.get(name, ""))


def _arguments(parser: _Parser) -> Iterator[str]:
    flags_of_settings = {each.flag for each in settings.DECLARED.values()}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or flags_of_settings & set(action.option_strings):
            continue
        shape = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        names = ", ".join(action.option_strings)
        value = "" if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction) else shape
        text = (action.help or "").replace("%%", "%").replace("%(default)s", str(action.default))
        yield f"`{' '.join(part for part in (names, value) if part)}`: {text}".rstrip(": ")


def _metrics() -> Iterator[tuple[str, str, str]]:
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            texts = [str(each.value) for each in node.args[:2] if isinstance(each, ast.Constant)]
            if len(texts) == 2 and texts[0].startswith("atoll_"):
                yield texts[0], _kind(node), texts[1]


def _kind(call: ast.Call) -> str:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = str(ast.literal_eval(call.args[0]))
    known = {"counter", "gauge", "histogram"}
    return called if called in known else "counter" if name.endswith("_total") else "gauge"


if __name__ == "__main__":
    sys.exit(main())
