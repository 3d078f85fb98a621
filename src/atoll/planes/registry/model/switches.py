"""What an operator sets for all of naming at once: the switches of Nacos, and labels of addresses.

Rule: one record each in the ordered store; every node obeys the newest one it has seen. Only switches that change
something here are obeyed; the others of Nacos are kept and shown, because its tools read and write them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from atoll.errors import AtollError
from atoll.resources import service
from atoll.resources.records import NOTHING, Record

PUSH_CACHE_MS_MIN = 10_000
CACHE_MS_MIN = 1_000


class CheckTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Between two probes of an instance: at least ``min_ms``, at most ``max_ms``; ``factor`` weighs the past."""

    max_ms: int
    min_ms: int
    factor: float


class Switches(Record, frozen=True, kw_only=True):
    """Times in milliseconds. ``other``: switches of Nacos that have no meaning here, by name."""

    push_cache_ms: int = 10_000
    client_beat_interval_ms: int = 5_000
    default_cache_ms: int = 3_000
    health_check_enabled: bool = True
    push_enabled: bool = True
    check_times: int = 3
    tcp: CheckTimes = CheckTimes(max_ms=5_000, min_ms=1_000, factor=0.75)
    http: CheckTimes = CheckTimes(max_ms=5_000, min_ms=500, factor=0.85)
    mysql: CheckTimes = CheckTimes(max_ms=3_000, min_ms=2_000, factor=0.65)
    disable_add_ip: bool = False
    send_beat_only: bool = False
    light_beat_enabled: bool = True
    default_instance_ephemeral: bool = True
    auto_change_health_check_enabled: bool = True
    overridden_server_status: str = ""
    distro_threshold: float = 0.7
    distro_enabled: bool = True
    push_versions: Mapping[str, str] = (
        NOTHING  # by language: the least client version that is pushed to by UDP
    )
    limited_urls: Mapping[str, int] = NOTHING  # path: the status that answers it
    other: Mapping[str, str] = NOTHING


_FLAGS = {
    "pushEnabled": "push_enabled",
    "lightBeatEnabled": "light_beat_enabled",
    "defaultInstanceEphemeral": "default_instance_ephemeral",
    "disableAddIP": "disable_add_ip",
    "sendBeatOnly": "send_beat_only",
    "autoChangeHealthCheckEnabled": "auto_change_health_check_enabled",
    "check": "health_check_enabled",
    "healthCheckEnabled": "health_check_enabled",
    "distro": "distro_enabled",
}
_LEAST_MS = {
    "clientBeatInterval": ("client_beat_interval_ms", 1_000),
    "pushCacheMillis": ("push_cache_ms", PUSH_CACHE_MS_MIN),
    "defaultCacheMillis": ("default_cache_ms", CACHE_MS_MIN),
}
_TIMES = {"tcpHealthParams": "tcp", "httpHealthParams": "http", "mysqlHealthParams": "mysql"}
_OTHER = frozenset(
    {
        "masters",
        "enableStandalone",
        "serviceStatusSynchronizationPeriodMillis",
        "serverStatusSynchronizationPeriodMillis",
        "distroServerExpiredMillis",
    }
)
_LANGUAGES = ("java", "python", "c", "go", "csharp")
_TRUE, _FALSE = ("true", "1", "on"), ("false", "0", "off")


def changed(switches: Switches, entry: str, value: str) -> Switches:
    """``switches`` with Nacos' ``entry`` set to ``value``. Raises INVALID for an entry or a value that is none."""
    if entry in _FLAGS:
        return replace(switches, **{_FLAGS[entry]: _flag(entry, value)})
    if entry in _LEAST_MS:
        field, least = _LEAST_MS[entry]
        return replace(switches, **{field: _number(entry, value, least)})
    if entry in _TIMES:
        return replace(switches, **{_TIMES[entry]: _times(entry, value)})
    if entry in _OTHER:
        return replace(switches, other={**switches.other, entry: value})
    return _changed_single(switches, entry, value)


def _changed_single(switches: Switches, entry: str, value: str) -> Switches:
    match entry:
        case "healthCheckTimes" | "checkTimes":
            return replace(switches, check_times=_number(entry, value, 1))
        case "overriddenServerStatus":
            return replace(switches, overridden_server_status="" if value == "null" else value)
        case "distroThreshold":
            share = _share(entry, value)
            return replace(switches, distro_threshold=share)
        case "pushVersion":
            language, _, version = value.partition(":")
            if language not in _LANGUAGES or not re.fullmatch(r"\d+(\.\d+)+", version):
                raise _wrong(entry, value, f"LANGUAGE:VERSION with one of {', '.join(_LANGUAGES)}")
            return replace(switches, push_versions={**switches.push_versions, language: version})
        case "limitedUrlMap":
            return replace(switches, limited_urls=_urls(entry, value))
    known = sorted([*_FLAGS, *_LEAST_MS, *_TIMES, *_OTHER, *_SINGLE])
    raise service.invalid("entry", f"{entry!r} is no switch; known are {', '.join(known)}")


_SINGLE = ("healthCheckTimes", "overriddenServerStatus", "distroThreshold", "pushVersion", "limitedUrlMap")


def _flag(entry: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise _wrong(entry, value, "true or false")


def _number(entry: str, value: str, least: int) -> int:
    if value.isascii() and value.isdecimal() and len(value) < 10 and int(value) >= least:
        return int(value)
    raise _wrong(entry, value, f"a whole number from {least} on")


def _share(entry: str, value: str) -> float:
    if re.fullmatch(r"[01](\.\d{1,6})?", value) and float(value) <= 1:
        return float(value)
    raise _wrong(entry, value, "a number from 0 to 1")


def _times(entry: str, value: str) -> CheckTimes:
    """``{"max": 5000, "min": 1000, "factor": 0.75}``, as JSON."""
    found = _object(entry, value)
    try:
        times = CheckTimes(max_ms=int(found["max"]), min_ms=int(found["min"]), factor=float(found["factor"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(entry, value, _TIMES_EXPECTED) from error
    if not (500 <= times.min_ms <= times.max_ms <= 600_000 and 0 <= times.factor <= 1):
        raise _wrong(entry, value, _TIMES_EXPECTED)
    return times


_TIMES_EXPECTED = '{"max": MS, "min": MS, "factor": F} with 500 <= min <= max <= 600000 and 0 <= F <= 1'


def _object(entry: str, value: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value.encode(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise _wrong(entry, value, "a JSON object") from error


def _urls(entry: str, value: str) -> Mapping[str, int]:
    """``/url:404,/other:503``."""
    found: dict[str, int] = {}
    for part in filter(None, value.split(",")):
        path, _, status = part.rpartition(":")
        if not path.startswith("/") or not re.fullmatch(r"[45]\d\d", status):
            raise _wrong(entry, value, "/PATH:STATUS,... with a status from 400 to 599")
        found[path] = int(status)
    return found


def _wrong(entry: str, value: str, expected: str) -> AtollError:
    return service.invalid("value", f"{value!r} is not right for the switch {entry}; expected {expected}")
