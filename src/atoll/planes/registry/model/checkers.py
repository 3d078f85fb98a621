"""What a health checker of a cluster may say, and what it says to those who probe.

Rule: what would not make a proper request is refused when it is set, by name, not when it is first used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from atoll.resources import service
from atoll.resources.service import HealthChecker

TEXT_CHARS_MAX = 1024
READ_ONLY_COMMAND = "show global variables where variable_name='read_only'"

_PATH = re.compile(r"/[!-~]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[ -~]*")
_OWN = ("connection", "content-length", "transfer-encoding")  # headers that belong to the connection


def check(checker: HealthChecker) -> None:
    """Raises INVALID with what is wrong."""
    for text in (checker.path, checker.headers, checker.user, checker.password, checker.command):
        if len(text) > TEXT_CHARS_MAX:
            problem = f"has a text of {len(text)} characters, at most {TEXT_CHARS_MAX} are allowed"
            raise service.invalid("healthChecker", problem)
    if checker.kind == "HTTP":
        headers_of(checker)
        if not _PATH.fullmatch(path_of(checker)):
            raise service.invalid("healthChecker", f"has the path {checker.path!r}, expected /PATH?QUERY")
        if not 100 <= checker.expected_response_code <= 599:
            problem = f"expects the status {checker.expected_response_code}, it must be from 100 to 599"
            raise service.invalid("healthChecker", problem)
    if checker.kind == "MYSQL" and not (checker.user and checker.command):
        raise service.invalid("healthChecker", "of type MYSQL needs a user and a cmd")


def path_of(checker: HealthChecker) -> str:
    """The target of an HTTP probe; a path without its leading slash gets it."""
    return checker.path if checker.path.startswith("/") else f"/{checker.path}"


def headers_of(checker: HealthChecker) -> Mapping[str, str]:
    """``K:V|K2:V2`` with names in lower case. Raises INVALID."""
    found: dict[str, str] = {}
    for part in filter(None, checker.headers.split("|")):
        name, colon, value = part.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name in _OWN:
            raise service.invalid("healthChecker", f"has the header {part!r}, expected NAME:VALUE|NAME:VALUE")
        found[name] = value
    return found
