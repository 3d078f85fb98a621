"""What commands share: flags made from the settings, the settings they give, a client of the node.

Rule: a flag that sets a setting is never spelled here; it comes from ``host.settings``.
"""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from atoll.client.node import Client
from atoll.client.session import SessionTransport
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.host import settings
from atoll.host.node import TOKEN_FILE
from atoll.runtime.http1 import Application
from atoll.runtime.http_client import Trust

Pages: TypeAlias = Callable[[Callable[[], Client]], Mapping[str, Application]]
CONFIG_VARIABLE = "ATOLL_CONFIG"
TOKEN_VARIABLE = "ATOLL_API_TOKEN"  # noqa: S105 - a variable's name
URL_VARIABLE = "ATOLL_URL"
_CLIENT_FIELDS = ("data", "port_offset", "listen_api")


def add_settings(parser: argparse.ArgumentParser, fields: Iterable[str] = tuple(settings.DECLARED)) -> None:
    """``--config`` and a flag for each of ``fields``."""
    group = parser.add_argument_group("settings (flags beat ATOLL_* variables, which beat the file)")
    group.add_argument("--config", metavar="FILE", help=f"configuration file, TOML ({CONFIG_VARIABLE})")
    for field in fields:
        declared = settings.DECLARED[field]
        names = [declared.flag, "--store"] if field == "store_url" else [declared.flag]
        text = f"{declared.text} Default: {declared.default}." if declared.default != "" else declared.text
        extra: dict[str, Any] = {"metavar": declared.shape}
        if declared.kind is bool:
            extra = {"action": argparse.BooleanOptionalAction}
        group.add_argument(*names, dest=field, default=None, help=text.replace("%", "%%"), **extra)


def resolve(options: argparse.Namespace) -> settings.Resolved:
    """The settings that file, environment and flags give."""
    path = options.config or os.environ.get(CONFIG_VARIABLE)
    given = {field: getattr(options, field, None) for field in settings.DECLARED}
    flags = {field: value for field, value in given.items() if value is not None}
    return settings.resolve(read(path) if path else None, os.environ, flags)


def read(path: str) -> tuple[str, str]:
    """A file's path and text. Raises INVALID."""
    try:
        return path, Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AtollError(Code.INVALID, f"the file {path} cannot be read: {error}") from error


def add_client(parser: argparse.ArgumentParser) -> None:
    """The flags that say which node to ask."""
    group = parser.add_argument_group("which node")
    group.add_argument("--url", help=f"URL of its API ({URL_VARIABLE}); otherwise as the settings say")
    group.add_argument("--ca", default="", metavar="FILE", help="certificates that may sign its certificate")
    group.add_argument(
        "--user", default="", help="ask as this user; the password is asked for, or is in a file"
    )
    group.add_argument("--password-file", default="", metavar="FILE", help="of --user, its first line")
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    add_settings(parser, _CLIENT_FIELDS)


def client(options: argparse.Namespace) -> Client:
    """The client for ``options``. The token is read from its variable or from the data folder, never from a flag:
    flags are visible to every user of the machine.
    """
    resolved = resolve(options)
    url = options.url or os.environ.get(URL_VARIABLE) or api_url(resolved.settings)
    transport = HttpTransport(url, Trust(options.ca))
    if options.user:
        password = secret(options.password_file, f"password of {options.user}: ")
        return Client(SessionTransport(transport, options.user, password))
    return Client(transport, token(resolved.settings.data / TOKEN_FILE))


def secret(file: str, prompt: str) -> str:
    """The first line of ``file``; without one it is asked for, unseen. Never a flag: flags are visible to all."""
    if file:
        return read(file)[1].partition("\n")[0].rstrip("\r")
    try:
        return getpass.getpass(prompt)
    except (EOFError, OSError) as error:
        raise AtollError(
            Code.INVALID, "a password is needed: give a file, or run this in a terminal"
        ) from error


def api_url(chosen: settings.Settings) -> str:
    address = chosen.address("listen_api")
    return f"{'https' if chosen.tls_certificate else 'http'}://{address}"


def token(path: Path) -> str:
    given = os.environ.get(TOKEN_VARIABLE)
    if given is not None:
        return given
    try:
        return path.read_text().strip()
    except OSError:
        return ""
