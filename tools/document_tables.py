"""The reference of policy documents: each field that is taken, what it takes, and what is refused with what to do instead.

Rule: everything is read from the documents' own types, so that the page cannot be wrong about what is accepted. A part that
stands in several places of a kind is described once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from atoll.resources.mesh.documents import decoding, parts
from atoll.resources.mesh.documents.kinds import FORMS, Form
from atoll.resources.mesh.documents.reading import REFUSED_KINDS

_FORMS_OF_TEXT = {
    parts.REGEX: "RE2 expression",
    parts.HOST: "host or `*.` host",
    parts.CIDR: "address or network",
    parts.DURATION: "duration",
}


def tables() -> str:
    lines: list[str] = []
    for form in FORMS.values():
        lines += _kind(form)
    lines += ["### Kinds that are refused", "", "| kind | instead |", "|---|---|"]
    lines += [f"| {kind} | {advice} |" for kind, advice in REFUSED_KINDS.items()]
    return "\n".join(lines)


def _kind(form: Form) -> Iterator[str]:
    short = f", `{form.short}`" if form.short else ""
    yield f"### {form.name} ({form.group})"
    yield ""
    yield f"`apiVersion`: {', '.join(f'`{each}`' for each in form.api_versions)}. Also called `{form.plural}`{short}."
    yield ""
    yield from ("| field | takes | default |", "|---|---|---|")
    seen: dict[Any, str] = {}
    refused: list[str] = []
    yield from _fields(form.spec, "spec", seen, refused)
    yield ""
    if refused:
        yield from ("Refused by name:", "", "| field | instead |", "|---|---|")
        yield from refused
        yield ""


def _fields(kind: Any, path: str, seen: dict[Any, str], refused: list[str]) -> Iterator[str]:
    seen[kind] = path
    refused += [f"| `{path}.{name}` | {_cell(advice)} |" for name, advice in kind.REFUSED.items()]
    for name, field in decoding.fields_of(kind).items():
        place = f"{path}.{name}"
        inner = _part(field.type)
        place += _suffix(field.type)
        default = "required" if field.required else _default(field)
        if inner is None:
            yield f"| `{place}` | {_takes(field.type)} | {default} |"
        elif inner in seen:
            yield f"| `{place}` | as `{seen[inner]}` | {default} |"
        else:
            yield f"| `{place}` | fields below | {default} |"
            yield from _fields(inner, place, seen, refused)


def _bare(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """Without what may be left out and what is noted about it."""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            extra |= kind.extra or {}
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
        else:
            return kind, extra


def _part(kind: inspect.Type) -> Any:
    """The part that a field, or what is in it, consists of; None for anything else."""
    bare, _ = _bare(kind)
    if isinstance(bare, inspect.VarTupleType):
        return _part(bare.item_type)
    if isinstance(bare, inspect.DictType):
        return _part(bare.value_type)
    return bare.cls if isinstance(bare, inspect.StructType) else None


def _suffix(kind: inspect.Type) -> str:
    bare, _ = _bare(kind)
    if isinstance(bare, inspect.VarTupleType):
        return "[]"
    return ".NAME" if isinstance(bare, inspect.DictType) else ""


def _takes(kind: inspect.Type) -> str:
    bare, extra = _bare(kind)
    if isinstance(bare, inspect.VarTupleType):
        return _takes(bare.item_type)
    if isinstance(bare, inspect.DictType):
        return _takes(bare.value_type)
    if isinstance(bare, inspect.LiteralType):
        return "one of " + ", ".join(f"`{each}`" for each in bare.values if each != "")
    form = _FORMS_OF_TEXT.get(extra.get("form", ""))
    if form is not None:
        return form
    if isinstance(bare, inspect.BoolType):
        return "`true` or `false`"
    if isinstance(bare, inspect.IntType | inspect.FloatType):
        return _number(bare)
    return "text"


def _number(kind: inspect.IntType | inspect.FloatType) -> str:
    what = "whole number" if isinstance(kind, inspect.IntType) else "number"
    if kind.ge is not None and kind.le is not None and kind.le < parts.COUNT_MAX:
        return f"{what}, {kind.ge:g} to {kind.le}"
    if kind.gt is not None:
        return f"{what} above {kind.gt:g}"
    return f"{what}, {kind.ge:g} or more" if kind.ge is not None else what


def _default(field: inspect.Field) -> str:
    value = field.default
    if value is msgspec.NODEFAULT or value in (None, "", ()) or isinstance(value, parts.Part | dict | tuple):
        return ""
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}s"
        if _is_duration(field)
        else str(value)
    )
    return f"`{text}`"


def _is_duration(field: inspect.Field) -> bool:
    return _bare(field.type)[1].get("form") == parts.DURATION


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
