"""What Nacos takes for a namespace, a group, a name, an address, and what a parameter's text means.

Rule: one check for HTTP and gRPC, with Nacos's own texts; every failure is INVALID, with the reason
PARAMETER_MISSING or PARAMETER_INVALID and the parameter's name in its facts. The canonical name of the default
namespace is ``public``; a frontend keeps the client's spelling for its answer.

Source: Nacos 2.4, section "parameter check" (``nacos.core.param.check.enabled``) and its own defaults.
Doubt: the reference counts characters in UTF-16 units; here they are code points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from atoll.errors import AtollError, Code, Reason

DEFAULT_NAMESPACE = "public"
DEFAULT_GROUP = "DEFAULT_GROUP"
DEFAULT_CLUSTER = "DEFAULT"
GROUP_SEPARATOR = "@@"
METADATA_CHARS_MAX = 1024
WEIGHT_MAX = 10_000.0
PORT_MAX = 65_535

_TRUE = frozenset(("y", "yes", "on", "true", "t"))
_DEFAULT_NAMESPACES = frozenset(("", "null", DEFAULT_NAMESPACE))


class Rule(NamedTuple):
    """``name`` is how the reference calls the parameter in its texts."""

    name: str
    chars_max: int
    pattern: re.Pattern[str]


NAMESPACE_NAME = Rule("namespaceShowName", 256, re.compile(r"[^@#$%^&*]*"))
NAMESPACE = Rule("namespaceId/tenant", 64, re.compile(r"[\w-]+", re.ASCII))
DATA_ID = Rule("dataId", 256, re.compile(r"[a-zA-Z0-9\-_:.]*"))
SERVICE = Rule("serviceName", 512, re.compile(r"(?!@)(?:(?!@@)[^\u4E00-\u9FA5\s\x00])+"))
GROUP = Rule("group", 128, re.compile(r"[a-zA-Z0-9\-_:.]*"))
CLUSTER = Rule("cluster", 64, re.compile(r"[0-9a-zA-Z\-_]+"))
IP = Rule("ip", 128, re.compile(r"[^\u4E00-\u9FA5\s\x00]*"))
APP = Rule("appName", 128, re.compile(r"[a-zA-Z0-9_.:\-]*"))


def check(rule: Rule, value: str) -> str:
    """``value``, when it keeps ``rule`` (the empty text does: whether it is needed is another question)."""
    if len(value) > rule.chars_max:
        raise illegal(rule.name, f"the param length should not exceed {rule.chars_max}.")
    if value and rule.pattern.fullmatch(value) is None:
        raise illegal(rule.name, "illegal characters should not appear in the param.")
    return value


def illegal(name: str, why: str) -> AtollError:
    return invalid(name, f"Param '{name}' is illegal, {why}")


def invalid(name: str, message: str) -> AtollError:
    return AtollError(Code.INVALID, message, reason=Reason.PARAMETER_INVALID, facts={"parameter": name})


def missing(name: str) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"Param '{name}' is required.",
        reason=Reason.PARAMETER_MISSING,
        facts={"parameter": name},
    )


# ------------------------------------------------------------------------------------------- identifiers


def namespace(value: str | None) -> str:
    """The canonical namespace; empty, absent, ``null`` and ``public`` are the same one."""
    if value is None or value in _DEFAULT_NAMESPACES:
        return DEFAULT_NAMESPACE
    return check(NAMESPACE, value)


def group(value: str | None) -> str:
    return check(GROUP, value) if value else DEFAULT_GROUP


def data_id(value: str) -> str:
    if not value:
        raise missing("dataId")
    return check(DATA_ID, value)


def service(name: str, group_name: str | None = None) -> tuple[str, str]:
    """``(group, service)``; a name of the form ``group@@service`` brings its own group."""
    if not name:
        raise missing("serviceName")
    if GROUP_SEPARATOR in name:
        own, _, name = name.partition(GROUP_SEPARATOR)
        group_name = own or group_name
        if not name:
            raise illegal(SERVICE.name, "illegal characters should not appear in the param.")
    return group(group_name), check(SERVICE, name)


def grouped(group_name: str, name: str) -> str:
    return f"{group_name}{GROUP_SEPARATOR}{name}"


def cluster(value: str | None) -> str:
    return check(CLUSTER, value) if value else DEFAULT_CLUSTER


def clusters(value: str | None) -> tuple[str, ...]:
    """A comma list, as queries have it; empty means all of them."""
    if not value:
        return ()
    return tuple(sorted({check(CLUSTER, name.strip()) for name in value.split(",") if name.strip()}))


def ip(value: str) -> str:
    if not value:
        raise missing("ip")
    return check(IP, value)


def port(value: int) -> int:
    if not 0 <= value <= PORT_MAX:
        raise illegal("port", f"the value should be between 0 and {PORT_MAX}.")
    return value


def weight(value: float) -> float:
    """A NaN is no weight."""
    if not 0.0 <= value <= WEIGHT_MAX:
        message = f"instance format invalid: The weights range from 0.0 to {WEIGHT_MAX}"
        raise invalid("weight", message)
    return value


def metadata(value: Mapping[str, str]) -> Mapping[str, str]:
    if sum(len(key) + len(text) for key, text in value.items()) > METADATA_CHARS_MAX:
        raise illegal("Metadata", f"the param length should not exceed {METADATA_CHARS_MAX}.")
    return value


# -------------------------------------------------------------------------------------------------- text


def boolean(value: str) -> bool:
    return value.strip().lower() in _TRUE


def integer(name: str, value: str) -> int:
    """Java's ``int`` and ``long`` are wider than any value that means something here."""
    text = value.strip()
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise invalid(name, f"Param '{name}' is not a number: {value[:40]!r}")
    return int(text)


def number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise invalid(name, f"Param '{name}' is not a number: {value[:40]!r}") from error


def metadata_text(value: str) -> dict[str, str]:
    """A JSON object of texts, or ``k=v,k2=v2``; empty is none. Values that are no text are written as JSON."""
    if not value.strip():
        return {}
    if value.lstrip().startswith("{"):
        return _metadata_json(value)
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise invalid("metadata", f"metadata format incorrect:{value[:80]}")
    return {key.strip(): text.strip() for key, _, text in pairs}


def _metadata_json(value: str) -> dict[str, str]:
    try:
        found = json.loads(value)
    except ValueError as error:
        raise invalid("metadata", f"metadata format incorrect:{value[:80]}") from error
    if not isinstance(found, dict):
        raise invalid("metadata", f"metadata format incorrect:{value[:80]}")
    return {key: text if isinstance(text, str) else json.dumps(text) for key, text in found.items()}


def page(number_text: str, size_text: str, size_default: int, size_max: int) -> tuple[int, int]:
    """``(page, size)``; pages count from 1, and page 0 is the first as well, as old clients ask for it."""
    number_asked = integer("pageNo", number_text) if number_text else 1
    size_asked = integer("pageSize", size_text) if size_text else size_default
    if number_asked < 0:
        raise invalid("pageNo", f"Param 'pageNo' should be at least 1, not {number_asked}")
    if size_asked < 1:
        raise invalid("pageSize", f"Param 'pageSize' should be at least 1, not {size_asked}")
    return max(number_asked, 1), min(size_asked, size_max)


def ids(value: str) -> Sequence[int]:
    """A comma list of numbers."""
    return [integer("ids", each) for each in value.split(",") if each.strip()]
