"""Whether a content is what its type says, and where it is not.

Rule: each check takes text and returns the first fault with its line and column, counted from 1 in characters; it never
expands what the text asks to be expanded (YAML aliases, XML entities), fetches nothing, and bounds its own depth, so
that a hostile content costs what an honest one of its size does. What a type does not forbid is no fault.

Sources: RFC 8259 (JSON; duplicate names are refused, as RFC 7493 asks), YAML 1.1 by libyaml (unique keys, as the
specification asks), TOML 1.0 by the standard library, XML 1.0 by expat (well-formed, not valid), ``java.util.Properties``
(whose one refusal is a malformed ``\\uXXXX``). JSON Schema up to 2020-12 by jsonschema-rs, whose regular expressions are
bounded; a reference to another document is refused.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.parsers import expat

import jsonschema_rs
import yaml

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.policy import content_places
from atoll.resources.config_item import SCHEMA_BYTES_MAX, ConfigKey
from atoll.resources.config_views import Fault

DEPTH_MAX = 200
NODES_MAX = 2_000_000  # of a YAML document with its aliases expanded, before a schema looks at it
SCHEMA_FAULTS_MAX = 20

_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_ESCAPE = re.compile(r"\\(?:u(?P<hex>[0-9a-fA-F]{0,4})|.)", re.DOTALL)


class _Duplicate(ValueError):
    """A name that stands twice in one object."""


def faults(kind: str, text: str, schema: str = "") -> tuple[Fault, ...]:
    """What is wrong with ``text`` as a ``kind``; with ``schema``, and only if it parses, what that does not allow."""
    check = _CHECKS.get(kind)
    fault = check(text) if check is not None else None
    if fault is not None:
        return (fault,)
    return tuple(_schema_faults(kind, text, schema)) if is_schema(schema) else ()


def is_schema(schema: str) -> bool:
    """Nacos clients may write anything there; only what begins as a JSON object is meant as a JSON Schema."""
    return schema.lstrip().startswith("{")


def require(key: ConfigKey, kind: str, text: str, schema: str = "") -> None:
    """Raises INVALID / CONTENT_INVALID with the place of the first fault (facts: ``line``, ``column``)."""
    found = faults(kind, text, schema)
    if found:
        first = found[0]
        place = f" at line {first.line}, column {first.column}" if first.line else ""
        inside = f" ({first.path})" if first.path else ""
        raise AtollError(
            Code.INVALID,
            f"{key} is not valid {kind}{place}{inside}: {first.message}; correct it, or force it",
            reason=Reason.CONTENT_INVALID,
            facts={"line": first.line, "column": first.column, "path": first.path},
        )


def require_schema(schema: str) -> None:
    """Raises INVALID / PARAMETER_INVALID for what is no JSON Schema."""
    problem = ""
    if len(schema.encode()) > SCHEMA_BYTES_MAX:
        problem = f"has {len(schema.encode())} bytes; at most {SCHEMA_BYTES_MAX} are allowed"
    elif not is_schema(schema):
        return
    elif (fault := _json(schema)) is not None:
        problem = f"is no JSON (line {fault.line}, column {fault.column}): {fault.message}"
    else:
        try:
            _validator(schema)
        except ValueError as error:
            problem = f"is no JSON Schema: {str(error).splitlines()[0]}"
    if problem:
        raise AtollError(
            Code.INVALID,
            f"schema {problem}",
            reason=Reason.PARAMETER_INVALID,
            facts={"parameter": "schema"},
        )


def value_of(kind: str, text: str) -> Any:
    """The value of a content that has no fault, of a kind that has one (JSON, YAML, TOML); None for any other."""
    if kind == "json":
        return json.loads(text)
    if kind == "toml":
        return tomllib.loads(text)
    if kind == "yaml":
        documents = list(yaml.load_all(text, Loader=_PlainLoader))
        return documents[0] if len(documents) == 1 else documents
    return None


def is_small(kind: str, text: str) -> bool:
    """Whether a content that has no fault is small with its aliases expanded."""
    return kind != "yaml" or content_places.yaml_size(yaml.parse(text, Loader=_Loader)) <= NODES_MAX


# -------------------------------------------------------------------------------------------------- by type


def _json(text: str) -> Fault | None:
    try:
        json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return Fault(error.msg, error.lineno, error.colno)
    except _Duplicate as error:
        name = str(error)
        return Fault(
            f"the name {name!r} stands twice in one object", *content_places.repeated_name(text, name)
        )
    except ValueError as error:  # NaN and the like, which JSON has not, and numbers beyond any size
        return Fault(str(error), *content_places.constant(text))
    except RecursionError:
        return Fault("it is nested too deeply")
    return None


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Duplicate(name)
            seen.add(name)
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


def _yaml(text: str) -> Fault | None:
    walk = content_places.YamlWalk(DEPTH_MAX)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            fault = walk.see(event)
            if fault is not None:
                return fault
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        return Fault(error.problem or error.context or "it is no YAML", *place)
    except yaml.YAMLError as error:  # a character that YAML has not
        at = getattr(error, "position", 0)
        return Fault(str(getattr(error, "reason", error)), *content_places.place(text, at))
    return None


def _toml(text: str) -> Fault | None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _TOML_PLACE.search(message)
        if found is None:
            return Fault(message, *content_places.place(text, len(text)))
        return Fault(message[: found.start()].strip(), int(found[1]), int(found[2]))
    except RecursionError:
        return Fault("it is nested too deeply")
    return None


def _xml(text: str) -> Fault | None:
    parser = expat.ParserCreate()
    parser.DefaultHandler = lambda data: None  # with one, entities are not expanded
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        return Fault(expat.ErrorString(error.code), error.lineno, error.offset + 1)
    return None


def _properties(text: str) -> Fault | None:
    for escape in _ESCAPE.finditer(text):
        digits = escape["hex"]
        if digits is not None and len(digits) < 4:
            return Fault("\\u needs four hexadecimal digits", *content_places.place(text, escape.start()))
    return None


_CHECKS: Mapping[str, Callable[[str], Fault | None]] = {
    "json": _json,
    "yaml": _yaml,
    "toml": _toml,
    "xml": _xml,
    "properties": _properties,
}

# -------------------------------------------------------------------------------------------------- by schema


def _schema_faults(kind: str, text: str, schema: str) -> Iterable[Fault]:
    if kind not in ("json", "yaml", "toml"):
        return
    if not is_small(kind, text):
        yield Fault("its aliases make it too large to be compared with a schema")
        return
    try:
        value = value_of(kind, text)
        found = [
            (error.message, list(error.instance_path)) for error in _validator(schema).iter_errors(value)
        ]
    except (ValueError, TypeError) as error:  # a value that JSON has not: a date, a key that is no text
        yield Fault(f"it cannot be compared with its schema: {str(error).splitlines()[0]}")
        return
    for message, path in found[:SCHEMA_FAULTS_MAX]:
        line, column = content_places.of_path(kind, text, path, _Loader)
        yield Fault(message.splitlines()[0], line, column, "/" + "/".join(map(str, path)))


def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(json.loads(schema), retriever=_no_retrieval)


def _no_retrieval(address: str) -> Any:
    raise ValueError(f"a schema must not refer to another document: {address}")


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _PlainLoader(_Loader):  # type: ignore[misc]
    """A tag that is not YAML's own stands for a plain value; a time stays the text that it is in JSON."""


def _untagged(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_PlainLoader.add_multi_constructor("!", _untagged)
_PlainLoader.add_constructor(
    "tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node)
)
