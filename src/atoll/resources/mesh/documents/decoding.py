"""Plain values to the typed parts of documents, telling everything that is wrong at once and where.

Rule: what a field takes is read from its annotation; a field that is not there is refused, by name where the
specification has it (``Part.REFUSED``), else with the names that are near. A null is as if the field were not there.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from atoll.resources.mesh.documents import parts
from atoll.resources.mesh.documents.parts import Fault, Part, Path

P = TypeVar("P", bound=Part)

SHOWN_CHARS_MAX = 60  # of a value in a message
NAMES_SHOWN_MAX = 12


class _Nothing:
    """A value that could not be made; its faults are told."""


_NOTHING = _Nothing()


def decode(kind: type[P], value: Any) -> tuple[P | None, list[Fault]]:
    """The part, or None with what is wrong; both where a part contradicts itself."""
    faults: list[Fault] = []
    found = _struct(kind, value, (), faults)
    return (None if found is _NOTHING else found), faults


@functools.cache
def fields_of(kind: Any) -> dict[str, inspect.Field]:
    """Of a class of parts, by the name in the document."""
    described = inspect.type_info(kind)
    return (
        {field.encode_name: field for field in described.fields}
        if isinstance(described, inspect.StructType)
        else {}
    )


def _struct(kind: Any, value: Any, path: Path, faults: list[Fault]) -> Any:
    if not isinstance(value, dict):
        faults.append(Fault(path, f"{_shown(value)} where fields are expected", _fields_text(kind)))
        return _NOTHING
    known, given, broken = fields_of(kind), {}, False
    for name, inner in value.items():
        field = known.get(name)
        if field is None:
            faults.append(_unknown(kind, name, path))
            broken = True
        elif inner is not None:
            given[field.name] = _value(field.type, inner, (*path, name), faults)
            broken = broken or given[field.name] is _NOTHING
    for name, field in known.items():
        if field.required and field.name not in given:
            faults.append(Fault(path, f"{name} is missing", f"give {name}"))
            broken = True
    if broken:
        return _NOTHING
    part = kind(**given)
    faults += [msgspec.structs.replace(each, path=(*path, *each.path)) for each in part.faults()]
    return part


def _unknown(kind: Any, name: str, path: Path) -> Fault:
    advice = kind.REFUSED.get(name)
    if advice is not None:
        return Fault((*path, name), f"{name} is not supported", advice, at_name=True)
    return Fault((*path, name), f"there is no field {name!r} here", near(name, fields_of(kind)), at_name=True)


def near(name: str, known: Iterable[str]) -> str:
    """A suggestion: what ``name`` may have been meant to be, or what there is."""
    every = list(known)
    lowered = {each.lower(): each for each in every}
    close = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), lowered, 1, 0.75)
    if close:
        return f"did you mean {lowered[close[0]]}?"
    shown = ", ".join(every[:NAMES_SHOWN_MAX]) + (", ..." if len(every) > NAMES_SHOWN_MAX else "")
    return f"there are {shown}" if every else "leave it out"


def _fields_text(kind: Any) -> str:
    names = list(fields_of(kind))
    return f"write {names[0]}: ... below it" if names else "write {}"


# --------------------------------------------------------------------------------------------- one value


def _value(kind: inspect.Type, value: Any, path: Path, faults: list[Fault]) -> Any:
    form = ""
    if isinstance(kind, inspect.Metadata):
        form = (kind.extra or {}).get("form", "")
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return _value(_given(kind), value, path, faults)
    if isinstance(kind, inspect.StructType):
        return _struct(kind.cls, value, path, faults)
    if isinstance(kind, inspect.VarTupleType):
        return _sequence(kind, value, path, faults)
    if isinstance(kind, inspect.DictType):
        return _mapping(kind, value, path, faults)
    try:
        if form == parts.UPPER and isinstance(value, str):
            value = value.upper()
        return _scalar(kind, value, form)
    except _Refused as refused:
        faults.append(Fault(path, refused.message, refused.suggestion))
        return _NOTHING


def _given(kind: inspect.UnionType) -> inspect.Type:
    """An optional field without its None."""
    return next(each for each in kind.types if not isinstance(each, inspect.NoneType))


def _sequence(kind: inspect.VarTupleType, value: Any, path: Path, faults: list[Fault]) -> Any:
    if not isinstance(value, list):
        faults.append(Fault(path, f"{_shown(value)} where a list is expected", "write a list: - ..."))
        return _NOTHING
    problem = _length_problem(kind, len(value))
    if problem:
        faults.append(Fault(path, *problem))
    items = [_value(kind.item_type, each, (*path, number), faults) for number, each in enumerate(value)]
    return _NOTHING if problem or _NOTHING in items else tuple(items)


def _length_problem(kind: inspect.VarTupleType, length: int) -> tuple[str, str] | None:
    if kind.min_length is not None and length < kind.min_length:
        return ("the list is empty", "give at least one")
    if kind.max_length is not None and length > kind.max_length:
        return (f"has {length} items", f"give at most {kind.max_length}")
    return None


def _mapping(kind: inspect.DictType, value: Any, path: Path, faults: list[Fault]) -> Any:
    if not isinstance(value, dict):
        faults.append(
            Fault(path, f"{_shown(value)} where names with values are expected", "write NAME: VALUE")
        )
        return _NOTHING
    found: dict[Any, Any] = {}
    for name, inner in value.items():
        key = _value(kind.key_type, name, (*path, name), faults)
        found[name] = _value(kind.value_type, inner, (*path, name), faults)
        if key is _NOTHING:
            found[name] = _NOTHING
    return _NOTHING if _NOTHING in found.values() else found


# ------------------------------------------------------------------------------------------------ scalars


class _Refused(ValueError):
    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def _scalar(kind: inspect.Type, value: Any, form: str) -> Any:
    if isinstance(kind, inspect.LiteralType):
        return _literal(kind, value)
    if isinstance(kind, inspect.BoolType):
        if not isinstance(value, bool):
            raise _Refused(f"{_shown(value)} is neither true nor false", "write true or false")
        return value
    if isinstance(kind, inspect.StrType):
        return _text(kind, value, form)
    if isinstance(kind, inspect.FloatType) and form == parts.DURATION:
        return _duration(value)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return _number(kind, value)
    raise _Refused(f"{_shown(value)} is not taken here", "leave it out")


def _literal(kind: inspect.LiteralType, value: Any) -> Any:
    """As YAML reads them, ``SIMPLE`` is text and 301 a number; ``NONE`` stays text, as it is not ``null``."""
    if not isinstance(value, bool) and value in kind.values:
        return value
    names = [str(each) for each in kind.values if each != ""]
    raise _Refused(f"{_shown(value)} is none of its values", near(str(value), names))


def _text(kind: inspect.StrType, value: Any, form: str) -> str:
    if not isinstance(value, str):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        quoted = f'write "{value}" in quotes' if is_number else "put it in quotes"
        raise _Refused(f"{_shown(value)} is no text", quoted)
    if kind.min_length is not None and len(value) < kind.min_length:
        raise _Refused("is empty", "write a value")
    if kind.max_length is not None and len(value) > kind.max_length:
        raise _Refused(f"has {len(value)} characters", f"at most {kind.max_length} are allowed")
    if kind.pattern is not None and not re.search(kind.pattern, value):
        raise _Refused(
            f"{_shown(value)} has characters that are not allowed here", f"must match {kind.pattern}"
        )
    check = _CHECK_OF_FORM.get(form)
    if check is not None:
        check(value)
    return value


def _duration(value: Any) -> float:
    try:
        return parts.seconds(value if isinstance(value, str) else "")
    except ValueError as error:
        written = f"write {value}s" if isinstance(value, int | float) and not isinstance(value, bool) else ""
        raise _Refused(f"{_shown(value)} is no duration", written or "write 5s, 100ms or 1h30m") from error


def _number(kind: inspect.IntType | inspect.FloatType, value: Any) -> int | float:
    whole = isinstance(kind, inspect.IntType)
    wanted = "whole number" if whole else "number"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        plain = isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value)
        raise _Refused(
            f"{_shown(value)} is no {wanted}", f"write {value}, without quotes" if plain else "write digits"
        )
    if not math.isfinite(value):
        raise _Refused(f"{value} is no {wanted}", "write digits")
    low, high = kind.ge, kind.le
    if kind.gt is not None and value <= kind.gt:
        raise _Refused(f"{value} is not above {kind.gt:g}", f"write more than {kind.gt:g}")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"{low or 0} to {high}" if high is not None else f"{low} or more"
        raise _Refused(f"{value} is out of bounds", f"write {bounds}")
    return value if whole else float(value)


def _check_regex(text: str) -> None:
    problem = parts.regex_problem(text)
    if problem:
        raise _Refused(f"{_shown(text)} is no regular expression: {problem}", "write RE2 syntax")


def _check_host(text: str) -> None:
    if not parts.is_host_pattern(text):
        raise _Refused(f"{_shown(text)} is no host", "write a DNS name; only its first label may be *")


def _check_network(text: str) -> None:
    if not parts.is_network(text):
        raise _Refused(f"{_shown(text)} is neither an address nor a network", "write 10.0.0.1 or 10.0.0.0/8")


def _check_header_name(text: str) -> None:
    if text.startswith("@request.auth"):
        raise _Refused(
            "routing by claims of a token is not supported", "write an AuthorizationPolicy with when"
        )
    if not parts.is_header_name(text):
        raise _Refused(f"{_shown(text)} is no name of a header", "letters, digits and -, as in x-user")


def _check_literal(text: str) -> None:
    found = _ENVOY_COMMAND.search(text)
    if found is not None:
        raise _Refused(f"{found.group()} would be sent as it stands, not replaced", "write the value itself")


_ENVOY_COMMAND = re.compile(r"%[A-Z][A-Z0-9_]*(\([^()]*\)(:[0-9]+)?)?%")
_CHECK_OF_FORM: dict[str, Callable[[str], None]] = {
    parts.REGEX: _check_regex,
    parts.HOST: _check_host,
    parts.CIDR: _check_network,
    parts.HEADER_NAME: _check_header_name,
    parts.LITERAL: _check_literal,
}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "..."
