"""``atoll config-item``: publish, look at, go back, release in stages. (``atoll config`` is about the node's settings.)

Rule: a content that is refused is shown at the line of its fault, so that nobody has to count lines.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from atoll.cli import registry, show
from atoll.client.configs import Configs
from atoll.client.node import Client
from atoll.errors import AtollError, Reason
from atoll.resources.config_api import (
    ConfigAsked,
    ConfigRemoval,
    ConfigsAsked,
    ConfigShown,
    EntryAsked,
    HistoryAsked,
    PublishOrder,
    RollbackOrder,
    ServedAsked,
)
from atoll.resources.config_item import TYPES, GrayRule
from atoll.resources.config_views import Details, Fault, Preview

TAB_COLUMNS = 4
LINE_CHARS_SHOWN_MAX = 120
_TYPES_BY_ENDING = {"yml": "yaml", **{name: name for name in TYPES}}


def add(actions: Any) -> None:
    every = registry.action(actions, "list", "list configurations; * stands for any text", _list)
    every.add_argument("data_id", nargs="?", default="", metavar="PATTERN", help="of the data id")
    every.add_argument("--group", default="", metavar="PATTERN", help="of the group")
    every.add_argument("--content", default="", metavar="TEXT", help="contained in the content")
    every.add_argument("--page", type=int, default=1, metavar="N", help="of 100 each")
    registry.add_scope(every, with_group=False)
    get = named(registry.action(actions, "get", "print a content", _get))
    get.add_argument("--for", dest="consumer", metavar="ADDRESS", help="as a consumer there is given it")
    get.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="of that consumer")
    get.add_argument("--tag", default="", help="of that consumer")
    named(registry.action(actions, "show", "show all but the content", _show))
    publish = named(registry.action(actions, "publish", "publish a content", _publish))
    add_content(publish)
    publish.add_argument("--dry-run", action="store_true", help="only say what it would do")
    publish.add_argument("--cas-md5", default="", metavar="MD5", help="only if this is the md5 of now")
    publish.add_argument("--create", action="store_true", help="only if there is none")
    publish.add_argument("--beta", default="", metavar="IP,IP", help="only for consumers at these addresses")
    publish.add_argument("--for-tag", default="", metavar="TAG", help="only for consumers with this tag")
    publish.add_argument("--for-labels", default="", metavar="RULE", help="as in a=1|2&b!=3")
    remove = named(registry.action(actions, "remove", "remove a configuration", _remove))
    remove.add_argument("--gray", default="", metavar="NAME", help="only this gray release")
    history = named(registry.action(actions, "history", "show what a configuration was", _history))
    history.add_argument("--entry", type=int, default=0, metavar="ID", help="print this one's content")
    rollback = named(registry.action(actions, "rollback", "publish again what it was", _rollback))
    rollback.add_argument("id", type=int, metavar="ID", help="the entry, as history shows it")
    named(registry.action(actions, "listeners", "show who listens to a configuration", _listeners))


def named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("data_id", metavar="DATA_ID", help="the configuration")
    registry.add_scope(parser)
    return parser


def add_content(parser: argparse.ArgumentParser) -> None:
    """A file and what is said about it."""
    option = parser.add_argument
    option("file", metavar="FILE", help="the content; - is standard input")
    option("--type", choices=TYPES, default="", help="default: what it was, or as the data id ends")
    option("--schema", default=None, metavar="FILE", help="a JSON Schema that it must satisfy from now on")
    option("--force", action="store_true", help="though it is malformed")
    option("--desc", default="", metavar="TEXT", help="what it is")
    option("--tag", dest="tags", action="append", metavar="TAG", help="repeatable")
    option("--app", default="", metavar="NAME", help="the application that it belongs to")


def content_order(options: argparse.Namespace) -> PublishOrder:
    details = Details(
        type=options.type or _TYPES_BY_ENDING.get(options.data_id.rpartition(".")[2], ""),
        tags=None if options.tags is None else tuple(options.tags),
        app_name=options.app,
        desc=options.desc,
        schema=None if options.schema is None else registry.read_text(options.schema),
        force=options.force,
    )
    content = registry.read_text(options.file)
    return PublishOrder(options.data_id, content, options.group, options.namespace, details)


@contextlib.contextmanager
def fault_shown(content: str) -> Iterator[None]:
    """A refusal of ``content`` shows the line that is wrong."""
    try:
        yield
    except AtollError as error:
        line, column = error.facts.get("line", 0), error.facts.get("column", 0)
        if error.reason is not Reason.CONTENT_INVALID or not isinstance(line, int) or not line:
            raise
        place = pointed_at(content, line, column if isinstance(column, int) else 0)
        text = f"{error.message}\n{place}"
        raise AtollError(error.code, text, reason=error.reason, facts=error.facts) from error


def pointed_at(content: str, line: int, column: int) -> str:
    """The line of ``content`` with its number, and a mark under ``column``; both count from 1."""
    lines = content.splitlines()
    text = lines[line - 1] if line <= len(lines) else ""
    start = max(0, column - LINE_CHARS_SHOWN_MAX)
    before = text[start : max(column - 1, 0)].expandtabs(TAB_COLUMNS)
    shown = text[start : start + LINE_CHARS_SHOWN_MAX + 40].expandtabs(TAB_COLUMNS)
    head = f"{line:>5} | "
    mark = "\n" + " " * (len(head) + len(before)) + "^" if column else ""
    return f"{head}{shown}{mark}"


async def _list(client: Client, options: argparse.Namespace) -> None:
    asked = ConfigsAsked(
        options.namespace, options.group, options.data_id, content=options.content, page=options.page
    )
    page = await Configs(client).every(asked)
    if options.json:
        show.print_json(page)
        return
    rows = (
        (
            each.key.data_id,
            each.key.group,
            each.type,
            show.size(each.size_bytes),
            show.moment(each.modified_s),
            each.user or "-",
        )
        for each in page.configs
    )
    show.print_table(("configuration", "group", "type", "size", "changed", "by"), rows)


async def _get(client: Client, options: argparse.Namespace) -> None:
    configs = Configs(client)
    if options.consumer is None and not options.label and not options.tag:
        shown = await configs.one(_asked(options))
        answer: msgspec.Struct = shown
        content = shown.content if shown.there else None
    else:
        told = await configs.served(
            ServedAsked(
                options.data_id,
                options.group,
                options.namespace,
                options.consumer or "",
                options.tag,
                labels=",".join(options.label),
            )
        )
        answer, content = told, told.content
    if options.json:
        show.print_json(answer)
    elif content is None:
        raise registry.not_there(f"configuration {options.group}/{options.data_id}")
    else:
        sys.stdout.write(content if content.endswith("\n") else content + "\n")


async def _show(client: Client, options: argparse.Namespace) -> None:
    shown = await Configs(client).one(_asked(options))
    if options.json:
        show.print_json(shown)
        return
    if not shown.there and not shown.grays:
        raise registry.not_there(f"configuration {options.group}/{options.data_id}")
    show.print_pairs(_about(shown))
    rows = (
        (each.name, each.rule.kind, each.rule.expr, each.md5, show.moment(each.modified_s))
        for each in shown.grays
    )
    if shown.grays:
        show.print_table(("name", "kind", "for", "md5", "changed"), rows, title="\ngray releases")


def _about(shown: ConfigShown) -> list[tuple[str, str]]:
    return [
        ("configuration", f"{shown.key.namespace}/{shown.key.group}/{shown.key.data_id}"),
        ("type", shown.type),
        ("md5", shown.md5 or "-"),
        ("size", show.size(len(shown.content.encode()))),
        ("made", f"{show.moment(shown.created_s)} by {shown.created_by or '-'}"),
        ("changed", f"{show.moment(shown.modified_s)} by {shown.user or '-'} from {shown.address or '-'}"),
        *((name, text) for name, text in (("application", shown.app), ("about", shown.desc)) if text),
        *([("tags", ", ".join(shown.tags))] if shown.tags else []),
        *([("schema", "its content must satisfy a JSON Schema")] if shown.schema else []),
    ]


async def _publish(client: Client, options: argparse.Namespace) -> None:
    order = content_order(options)
    details = registry.replaced(
        order.details,
        {"cas_md5": options.cas_md5, "create_only": options.create, "gray": _gray(options)},
    )
    order = registry.replaced(order, {"details": details})
    if options.dry_run:
        preview = await Configs(client).preview(order)
        if options.json:
            show.print_json(preview)
        else:
            print_preview(preview, order.content)
        return
    with fault_shown(order.content):
        published = await Configs(client).publish(order)
    state = "is published" if published.changed else "was the same already"
    registry.tell(options, published, f"{options.data_id} {state}, md5 {published.md5}")


def _gray(options: argparse.Namespace) -> GrayRule | None:
    for kind, expression in (("beta", options.beta), ("tag", options.for_tag), ("label", options.for_labels)):
        if expression:
            return GrayRule(kind, expression)
    return None


def print_preview(preview: Preview, content: str) -> None:
    """What a publish would do, for people."""
    if preview.refusal:
        sys.stdout.write(f"it would be refused: {preview.refusal}\n")
    for fault in preview.faults:
        sys.stdout.write(f"{_fault(fault, content)}\n")
    rows = [(each.path, _shown(each.before), _shown(each.after)) for each in preview.changes]
    if rows:
        show.print_table(("key", "before", "after"), rows, title="changes")
    if preview.changes_more:
        sys.stdout.write(f"... and {preview.changes_more} more\n")
    reached = sum(each.changes for each in preview.reaches)
    sys.stdout.write(f"{reached} of {len(preview.reaches)} listeners would be told\n")
    for each in preview.reaches:
        if each.changes:
            sys.stdout.write(f"  {each.listener.client}  {each.listener.address}  {each.listener.app}\n")
    registry.warn_unasked(preview.unasked)


def _fault(fault: Fault, content: str) -> str:
    place = f"{fault.path}: " if fault.path else ""
    text = f"fault: {place}{fault.message}"
    return f"{text}\n{pointed_at(content, fault.line, fault.column)}" if fault.line else text


def _shown(value: str | None) -> str:
    return "-" if value is None else value


async def _remove(client: Client, options: argparse.Namespace) -> None:
    asked = ConfigRemoval(options.data_id, options.group, options.namespace, options.gray)
    done = await Configs(client).remove(asked)
    what = f"gray release {options.gray} of {options.data_id}" if options.gray else options.data_id
    registry.tell(options, done, f"{what} {'is removed' if done.removed else 'was not there'}")


async def _history(client: Client, options: argparse.Namespace) -> None:
    configs = Configs(client)
    if options.entry:
        asked = EntryAsked(options.data_id, options.entry, options.group, options.namespace)
        entry = await configs.entry(asked)
        registry.tell(options, entry, (entry.content or "").removesuffix("\n"))
        return
    page = await configs.history(HistoryAsked(options.data_id, options.group, options.namespace))
    if options.json:
        show.print_json(page)
        return
    acts = {"I": "made", "U": "replaced", "D": "removed"}
    rows = (
        (
            str(each.id),
            show.moment(each.at_s),
            acts.get(each.op, each.op),
            each.gray_name or "-",
            each.md5,
            each.user or "-",
        )
        for each in page.entries
    )
    show.print_table(("id", "when", "what", "gray", "md5", "by"), rows)


async def _rollback(client: Client, options: argparse.Namespace) -> None:
    order = RollbackOrder(options.data_id, options.id, options.group, options.namespace)
    published = await Configs(client).rollback(order)
    registry.tell(options, published, f"{options.data_id} is as in entry {options.id}, md5 {published.md5}")


async def _listeners(client: Client, options: argparse.Namespace) -> None:
    found = await Configs(client).listeners(_asked(options))
    if options.json:
        show.print_json(found)
        return
    rows = (
        (each.client, each.address, each.app or "-", each.md5 or "-", each.gray_name or "-", each.node)
        for each in found.listeners
    )
    show.print_table(("client", "address", "application", "md5", "gray release", "node"), rows)
    registry.warn_unasked(found.unasked)


def _asked(options: argparse.Namespace) -> ConfigAsked:
    return ConfigAsked(options.data_id, options.group, options.namespace)
