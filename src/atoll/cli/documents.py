"""``atoll apply``, ``get``, ``delete`` and ``diff``: policy documents of the mesh, as ``kubectl`` has them.

Rule: files travel as they are, with the names that the user gave; the node says what is wrong with them and where. A file
of ``-`` is standard input; a folder stands for the ``.yaml``, ``.yml`` and ``.json`` files in it.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atoll.cli import command, mesh_canaries, registry, show
from atoll.client.mesh_documents import MeshDocuments
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.resources.mesh.document_api import (
    MISSING,
    UNCHANGED,
    Applied,
    ApplyOrder,
    DeleteOrder,
    Differences,
    DocumentName,
    DocumentsAsked,
    DocumentShown,
    FileText,
)
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.reading import Problem, Severity
from atoll.resources.mesh.hosts import DEFAULT_NAMESPACE
from atoll.runtime import loop

EXIT_DIFFERENT = 1  # of `diff`, as diff and kubectl diff have it
_ENDINGS = (".yaml", ".yml", ".json")


def add(commands: Any) -> None:
    parser = registry.action(commands, "apply", "write policy documents of the mesh", apply)
    _files(parser, required=True)
    _namespace(parser)
    _judging(parser, "although a service, subset or gateway that they name is not there")
    mesh_canaries.add_plan(parser)
    parser = registry.action(commands, "get", "show policy documents of the mesh", get)
    parser.add_argument(
        "kind", nargs="?", default="", metavar="KIND", help="as virtualservice or vs; without: all"
    )
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="one of them, as YAML")
    parser.add_argument(
        "-o", "--output", choices=("yaml", "json", "table"), help="how; default: a table of many"
    )
    parser.add_argument("--namespace", "-n", default="", metavar="NAME", help="default: all, of one: default")
    parser = registry.action(commands, "delete", "delete policy documents of the mesh", delete)
    parser.add_argument("kind", nargs="?", metavar="KIND", help="as virtualservice or vs")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of that kind")
    _files(parser, required=False)
    _namespace(parser)
    _judging(parser, "although other documents refer to them")
    parser = commands.add_parser(
        "diff",
        help="compare policy documents in files with those of the mesh",
        description="Compare policy documents in files with those of the mesh.",
    )
    command.add_client(parser)
    _files(parser, required=True)
    _namespace(parser)
    parser.set_defaults(run=_run_diff)


def _files(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        required=required,
        metavar="FILE",
        help="YAML or JSON; a folder, - for standard input; repeatable",
    )


def _namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace",
        "-n",
        default=DEFAULT_NAMESPACE,
        metavar="NAME",
        help="of documents that name none; default: %(default)s",
    )


def _judging(parser: argparse.ArgumentParser, force: str) -> None:
    parser.add_argument("--force", action="store_true", help=force)
    parser.add_argument("--dry-run", action="store_true", help="say what would be, and write nothing")


def files_of(paths: Sequence[str]) -> tuple[FileText, ...]:
    """What the files have, in their order. Raises INVALID for what cannot be read."""
    return tuple(FileText(name, registry.read_text(path)) for path in paths for name, path in _found(path))


def _found(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "(standard input)", path
        return
    if not Path(path).is_dir():
        yield path, path
        return
    inside = sorted(str(each) for each in Path(path).iterdir() if each.suffix in _ENDINGS)
    if not inside:
        raise AtollError(Code.INVALID, f"the folder {path} has no file that ends in {', '.join(_ENDINGS)}")
    yield from ((each, each) for each in inside)


# ----------------------------------------------------------------------------------------------- writing


async def apply(client: Client, options: argparse.Namespace) -> None:
    if options.canary is not None:
        await mesh_canaries.begin(client, files_of(options.file), options)
        return
    order = ApplyOrder(files_of(options.file), options.namespace, options.force, options.dry_run)
    _print_applied(await MeshDocuments(client).apply(order), options)


async def delete(client: Client, options: argparse.Namespace) -> None:
    if bool(options.kind) != bool(options.names):
        raise AtollError(Code.INVALID, "name the documents as KIND NAME [NAME ...], or in files with -f FILE")
    if not options.names and not options.file:
        raise AtollError(Code.INVALID, "what is to be deleted? name it as KIND NAME, or give -f FILE")
    names = tuple(DocumentName(options.kind, name, options.namespace) for name in options.names)
    order = DeleteOrder(files_of(options.file), names, options.namespace, options.force, options.dry_run)
    applied = await MeshDocuments(client).delete(order)
    _print_applied(applied, options)
    missing = [each for each in applied.documents if each.outcome == MISSING]
    if missing and len(missing) == len(applied.documents) and not options.file:
        raise registry.not_there(f"{missing[0].kind} {missing[0].namespace}/{missing[0].name}")


def _print_applied(applied: Applied, options: argparse.Namespace) -> None:
    _warn(applied.warnings)
    if options.json:
        show.print_json(applied)
        return
    note = " (dry run)" if applied.dry_run else ""
    for each in applied.documents:
        sys.stdout.write(f"{each.kind}/{each.namespace}/{each.name} {each.outcome}{note}\n")


def _warn(problems: Iterable[Problem]) -> None:
    for each in problems:
        sys.stderr.write(f"{each}\n")


# ----------------------------------------------------------------------------------------------- looking


async def get(client: Client, options: argparse.Namespace) -> None:
    documents = MeshDocuments(client)
    if options.name:
        found = [
            await documents.one(
                DocumentName(options.kind, options.name, options.namespace or DEFAULT_NAMESPACE)
            )
        ]
    else:
        found = await documents.find(DocumentsAsked(options.kind, options.namespace))
    output = options.output or ("json" if options.json else "yaml" if options.name else "table")
    if output == "json":
        show.print_json(found[0] if options.name else found)
    elif output == "yaml":
        contents = (msgspec.json.encode(each.content) for each in found)
        sys.stdout.write(reading.to_yaml(contents))
    else:
        _print_table(found)
    _warn(problem for each in found for problem in each.problems if output == "yaml")


def _print_table(found: Sequence[DocumentShown]) -> None:
    rows = (
        (each.kind, each.namespace, each.name, each.hash8, str(each.revision), _state(each.problems))
        for each in found
    )
    show.print_table(("kind", "namespace", "name", "content", "revision", "state"), rows)


def _state(problems: Sequence[Problem]) -> str:
    errors = [each for each in problems if each.severity is Severity.ERROR]
    if not problems:
        return "in order"
    first = (errors or list(problems))[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{first.path}: {first.message}{more}"


# --------------------------------------------------------------------------------------------- comparing


def _run_diff(options: argparse.Namespace) -> int:
    return int(loop.run(diff(command.client(options), options)))


async def diff(client: Client, options: argparse.Namespace) -> int:
    order = ApplyOrder(files_of(options.file), options.namespace)
    found = await MeshDocuments(client).diff(order)
    if options.json:
        show.print_json(found)
    else:
        sys.stdout.writelines(_unified(found))
    _warn(found.problems)
    if any(each.severity is Severity.ERROR for each in found.problems):
        raise AtollError(Code.INVALID, "the documents would not be applied as they are")
    return EXIT_DIFFERENT if any(each.outcome != UNCHANGED for each in found.documents) else 0


def _unified(found: Differences) -> Iterator[str]:
    for each in found.documents:
        name = f"{each.kind}/{each.namespace}/{each.name}"
        before, after = (text.splitlines(keepends=True) for text in (each.before, each.after))
        yield from difflib.unified_diff(before, after, f"mesh/{name}", f"files/{name}")
