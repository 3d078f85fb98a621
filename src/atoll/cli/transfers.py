"""``atoll config-item export``, ``import``, ``clone`` and ``import-mysql``: many configurations at a time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from atoll.cli import command, registry, show
from atoll.client.configs import Configs
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.resources.config_api import CloneOrder, ExportAsked, ImportAsked, MysqlOrder
from atoll.resources.config_views import Imported
from atoll.runtime import disk

POLICIES = ("abort", "skip", "overwrite")


def add(actions: Any) -> None:
    export = registry.action(
        actions, "export", "write configurations into a zip archive, as Nacos does", _export
    )
    export.add_argument("file", metavar="FILE", help="the archive")
    export.add_argument("--group", default="", metavar="PATTERN", help="default: every group")
    export.add_argument("--data-id", default="", metavar="PATTERN", help="default: every one")
    registry.add_scope(export, with_group=False)
    take = registry.action(actions, "import", "take in a zip archive, also one of Nacos", _import)
    take.add_argument("file", metavar="FILE", help="the archive")
    registry.add_scope(take, with_group=False)
    _add_policy(take)
    clone = registry.action(actions, "clone", "copy configurations to another namespace", _clone)
    clone.add_argument("source", metavar="FROM", help="a namespace")
    clone.add_argument("target", metavar="TO", help="a namespace")
    clone.add_argument("--group", default="", metavar="NAME", help="only this group")
    clone.add_argument("--data-id", action="append", default=[], metavar="DATA_ID", help="only these")
    _add_policy(clone)
    mysql = registry.action(actions, "import-mysql", "take over the database of a Nacos cluster", _mysql)
    mysql.add_argument("host", metavar="HOST[:PORT]", help="where the database is, seen from the node")
    mysql.add_argument("--database", default="nacos", metavar="NAME", help="default: %(default)s")
    mysql.add_argument("--database-user", required=True, metavar="NAME", help="who may read it")
    mysql.add_argument(
        "--database-password-file", default="", metavar="FILE", help="its password; else asked for"
    )
    mysql.add_argument("--accounts", action="store_true", help="users, roles and permissions too")
    _add_policy(mysql)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--there-already", dest="policy", choices=POLICIES, default=POLICIES[0], help="default: abort"
    )


async def _export(client: Client, options: argparse.Namespace) -> None:
    asked = ExportAsked(options.namespace, options.group, options.data_id)
    archive = await Configs(client).export(asked)
    disk.write_private_file(Path(options.file).absolute(), archive)
    sys.stdout.write(f"{options.file}: {show.size(len(archive))}\n")


async def _import(client: Client, options: argparse.Namespace) -> None:
    try:
        archive = Path(options.file).read_bytes()
    except OSError as error:
        raise AtollError(Code.INVALID, f"{options.file} cannot be read: {error}") from error
    done = await Configs(client).take_archive(archive, ImportAsked(options.namespace, options.policy))
    _tell(options, done)


async def _clone(client: Client, options: argparse.Namespace) -> None:
    data_ids = tuple(options.data_id)
    order = CloneOrder(options.source, options.target, options.group, data_ids, options.policy)
    _tell(options, await Configs(client).clone(order))


async def _mysql(client: Client, options: argparse.Namespace) -> None:
    host, _, port = options.host.partition(":")
    prompt = f"password of {options.database_user} of the database: "
    order = MysqlOrder(
        host=host,
        user=options.database_user,
        password=command.secret(options.database_password_file, prompt),
        port=registry.place(options.host).port if port else 3306,
        database=options.database,
        policy=options.policy,
        accounts=options.accounts,
    )
    taken = await Configs(client).take_mysql(order)
    if options.json:
        show.print_json(taken)
        return
    _tell(options, taken.configs)
    counts = f"{taken.users} users, {taken.roles} roles, {taken.rights} rights"
    sys.stdout.write(f"{len(taken.namespaces)} namespaces, {counts}\n")
    for each in taken.left_out:
        sys.stdout.write(f"left out: {each}\n")


def _tell(options: argparse.Namespace, done: Imported) -> None:
    if options.json:
        show.print_json(done)
        return
    counts = f"{len(done.published)} published, {len(done.skipped)} skipped, {len(done.failed)} failed"
    sys.stdout.write(counts + "\n")
    for text in (*done.problems, *(f"not a configuration: {name}" for name in done.unrecognized)):
        sys.stdout.write(f"{text}\n")
