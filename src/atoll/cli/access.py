"""``atoll namespace``, ``user``, ``role`` and ``audit``.

Rule: no password is ever an argument: it is asked for, or it is the first line of a file.
"""

from __future__ import annotations

import argparse
from typing import Any

from atoll.cli import command, registry, show
from atoll.client.access import Access, Namespaces
from atoll.client.node import Client
from atoll.errors import AtollError, Code, Reason
from atoll.resources.access_api import AnchorAsked, AuditAsked, Right
from atoll.resources.namespace_api import NamespaceOrder, NamespaceRemoval


def add(commands: Any) -> None:
    _add_namespaces(registry.group(commands, "namespace", "namespaces of services and configurations"))
    _add_users(registry.group(commands, "user", "users of the registry and of the etcd API"))
    _add_roles(registry.group(commands, "role", "roles, and what they may do"))
    _add_audit(registry.group(commands, "audit", "who changed what"))


def _add_namespaces(actions: Any) -> None:
    registry.action(actions, "list", "list namespaces", _namespaces)
    for name, text, act in (
        ("create", "make a namespace", _create_namespace),
        ("update", "describe a namespace anew", _update_namespace),
    ):
        parser = registry.action(actions, name, text, act)
        parser.add_argument("id", nargs="?" if name == "create" else None, default="", metavar="ID")
        parser.add_argument("--name", default="", help="for people")
        parser.add_argument("--description", default="", metavar="TEXT", help="for people")
    remove = registry.action(actions, "remove", "remove a namespace", _remove_namespace)
    remove.add_argument("id", metavar="ID", help="the namespace")
    remove.add_argument("--force", action="store_true", help="although something is in it")


def _add_users(actions: Any) -> None:
    registry.action(actions, "list", "list users with their roles", _users)
    first = registry.action(actions, "first", "make the first administrator, user nacos, once", _first)
    first.add_argument("--draw", action="store_true", help="draw a password and print it")
    first.add_argument("--new-password-file", default="", metavar="FILE", help="its first line")
    for name, text, act in (
        ("create", "make a user", _create_user),
        ("password", "change a user's password", _change_password),
    ):
        parser = registry.action(actions, name, text, act)
        parser.add_argument("name", metavar="USER", help="the user")
        parser.add_argument("--new-password-file", default="", metavar="FILE", help="its first line")
    remove = registry.action(actions, "remove", "remove a user", _delete_user)
    remove.add_argument("name", metavar="USER", help="the user")


def _add_roles(actions: Any) -> None:
    registry.action(actions, "list", "list roles with their users and rights", _roles)
    for name, text, act in (
        ("give", "give a user a role", _give_role),
        ("take", "take a role from a user, or from everybody", _take_role),
    ):
        parser = registry.action(actions, name, text, act)
        parser.add_argument("role", metavar="ROLE", help="the role; it is made when it is given first")
        parser.add_argument("name", nargs="?" if name == "take" else None, default="", metavar="USER")
    for name, text, act in (
        ("allow", "give a role a right", _allow),
        ("forbid", "take a right from a role", _forbid),
    ):
        parser = registry.action(actions, name, text, act)
        parser.add_argument("role", metavar="ROLE", help="the role")
        parser.add_argument("resource", metavar="RESOURCE", help="as in public:*:config/shop.*")
        parser.add_argument("right", choices=("r", "w", "rw"), help="read, write, both")


def _add_audit(actions: Any) -> None:
    every = registry.action(actions, "list", "list changes, newest first", _audit)
    every.add_argument("--by", default="", metavar="USER", help="who made them")
    every.add_argument("--what", default="", metavar="PATTERN", help="as in config.*")
    every.add_argument("--subject", default="", metavar="PATTERN", help="as in *shop.yaml")
    every.add_argument("--count", type=int, default=100, metavar="N", help="default: %(default)s")
    verify = registry.action(actions, "verify", "check that nobody changed the log", _verify)
    verify.add_argument(
        "--entries", type=int, default=0, metavar="N", help="of an end that was noted elsewhere"
    )
    verify.add_argument("--link", default="", metavar="HEX", help="of that end")


async def _namespaces(client: Client, options: argparse.Namespace) -> None:
    found = await Namespaces(client).every()
    if options.json:
        show.print_json(found)
        return
    rows = (
        (each.id, each.name, str(each.configs), str(each.services), each.description or "-") for each in found
    )
    show.print_table(("namespace", "name", "configurations", "services", "about"), rows)


async def _create_namespace(client: Client, options: argparse.Namespace) -> None:
    made = await Namespaces(client).create(_namespace(options))
    registry.tell(options, made, f"namespace {made.id} is made")


async def _update_namespace(client: Client, options: argparse.Namespace) -> None:
    made = await Namespaces(client).update(_namespace(options))
    registry.tell(options, made, f"namespace {made.id} is described anew")


def _namespace(options: argparse.Namespace) -> NamespaceOrder:
    return NamespaceOrder(options.id or "", options.name, options.description)


async def _remove_namespace(client: Client, options: argparse.Namespace) -> None:
    done = await Namespaces(client).remove(NamespaceRemoval(options.id, options.force))
    state = "is removed" if done.removed else "was not there"
    registry.tell(options, done, f"namespace {options.id} {state}")


async def _users(client: Client, options: argparse.Namespace) -> None:
    found = await Access(client).users()
    if options.json:
        show.print_json(found)
        return
    show.print_table(("user", "roles"), ((each.name, ", ".join(each.roles) or "-") for each in found))


async def _first(client: Client, options: argparse.Namespace) -> None:
    given = (
        "" if options.draw else command.secret(options.new_password_file, "password of the administrator: ")
    )
    if not given and not options.draw:
        raise AtollError(Code.INVALID, "the password is empty; --draw draws one")
    made = await Access(client).first_administrator(given)
    text = f"user {made.user} is the administrator"
    registry.tell(options, made, f"{text}; its password is {made.password}" if made.password else text)


async def _create_user(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).create_user(options.name, _new_password(options))
    registry.tell(options, done, f"user {options.name} is made")


async def _change_password(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).change_password(options.name, _new_password(options))
    registry.tell(options, done, f"user {options.name} has a new password; its tokens have ended")


def _new_password(options: argparse.Namespace) -> str:
    return command.secret(options.new_password_file, f"new password of {options.name}: ")


async def _delete_user(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).delete_user(options.name)
    registry.tell(options, done, f"user {options.name} is removed")


async def _roles(client: Client, options: argparse.Namespace) -> None:
    found = await Access(client).roles()
    if options.json:
        show.print_json(found)
        return
    rows = (
        (
            each.name,
            ", ".join(each.users) or "-",
            ", ".join(f"{one.action} {one.resource}" for one in each.rights) or "-",
        )
        for each in found
    )
    show.print_table(("role", "users", "rights"), rows)


async def _give_role(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).give_role(options.role, options.name)
    registry.tell(options, done, f"user {options.name} has role {options.role}")


async def _take_role(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).take_role(options.role, options.name or "")
    text = (
        f"user {options.name} has role {options.role} no more"
        if options.name
        else f"nobody has role {options.role}"
    )
    registry.tell(options, done, text)


async def _allow(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).give_right(_right(options))
    registry.tell(options, done, f"role {options.role} may {options.right} {options.resource}")


async def _forbid(client: Client, options: argparse.Namespace) -> None:
    done = await Access(client).take_right(_right(options))
    registry.tell(options, done, f"role {options.role} has this right no more")


def _right(options: argparse.Namespace) -> Right:
    return Right(options.role, options.resource, options.right)


async def _audit(client: Client, options: argparse.Namespace) -> None:
    asked = AuditAsked(options.by, options.what, options.subject, count=options.count)
    page = await Access(client).audit(asked)
    if options.json:
        show.print_json(page)
        return
    rows = (
        (
            str(each.number or "-"),
            show.moment(each.entry.at_s),
            each.entry.user or "-",
            f"{each.entry.address or '-'} ({each.entry.via})",
            each.entry.action,
            each.entry.subject,
        )
        for each in page.entries
    )
    show.print_table(("number", "when", "who", "from", "what", "subject"), rows)


async def _verify(client: Client, options: argparse.Namespace) -> None:
    verdict = await Access(client).verify(AnchorAsked(options.entries, options.link))
    text = f"{verdict.entries} entries hold, {verdict.unsealed} are not sealed yet; the newest link is {verdict.link}"
    if not verdict.problem:
        registry.tell(options, verdict, text)
        return
    if options.json:
        show.print_json(verdict)
    raise AtollError(
        Code.CONFLICT, f"entry {verdict.broken_entry} is broken: {verdict.problem}", reason=Reason.CORRUPT
    )
