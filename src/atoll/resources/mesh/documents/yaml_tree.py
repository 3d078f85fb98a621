"""YAML as values with their places: several documents, comments, anchors, aliases and merge keys.

Rule: reads libyaml's events and builds plain values beside a table of where each came from; nothing is constructed from
tags, aliases may not expand beyond ``NODES_MAX``, nesting not beyond ``DEPTH_MAX``, and a name that stands twice in one
mapping is a fault. Scalars mean what they mean to ``kubectl`` (YAML 1.1's booleans; numbers without sexagesimals or dates).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from atoll.resources.mesh.documents.parts import Path

DEPTH_MAX = 64
NODES_MAX = 200_000  # of a text, with its aliases expanded

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE|yes|Yes|YES|on|On|ON")
_FALSE = re.compile(r"false|False|FALSE|no|No|NO|off|Off|OFF")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o?[0-7]+|0b[01]+")
_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*)?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+|[-+]?[0-9]+\."
)
_TAG = "tag:yaml.org,2002:"
_TAGS = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_DIGITS_MAX = 40

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(msgspec.Struct, frozen=True):
    """Counted from 1, columns in characters."""

    line: int
    column: int


class YamlFault(ValueError):
    """What makes a text no YAML, or more of it than is taken."""

    def __init__(self, place: Place, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.suggestion = suggestion


class Tree(msgspec.Struct, frozen=True):
    """One document: its value, and where each value, and each name in a mapping, stands."""

    value: Any
    root: Place
    values: dict[Path, Place]
    names: dict[Path, Place]

    def place(self, path: Path) -> Place:
        """Of a scalar where it begins, of anything larger where its name stands; of what is missing that of the nearest
        that is there.
        """
        for length in range(len(path), 0, -1):
            part = path[:length]
            found = self.names.get(part) or self.values.get(part)
            if length == len(path) and part in self.values and not _is_large(self.value, part):
                found = self.values[part]
            if found is not None:
                return found
        return self.root

    def name_place(self, path: Path) -> Place:
        return self.names.get(path) or self.place(path)


def _is_large(value: Any, path: Path) -> bool:
    for step in path:
        value = value[step]
    return isinstance(value, dict | list)


class _Node(msgspec.Struct):
    """``items``: of a mapping its names and values in turn, of a sequence its values."""

    kind: str
    place: Place
    text: Any = None
    items: list[_Node] = []
    size: int = 1


def read(text: str) -> Iterator[Tree]:
    """The documents of ``text`` that are not empty. Raises ``YamlFault``."""
    budget = _Budget()
    for root in _roots(text):
        if root.kind == "scalar" and root.text is None:
            continue
        tree = Tree(None, root.place, {}, {})
        value = _Expansion(tree, budget).value(root, ())
        yield msgspec.structs.replace(tree, value=value)


# ---------------------------------------------------------------------------------------------- composing


def _roots(text: str) -> Iterator[_Node]:
    """One node a document, aliases not expanded."""
    try:
        yield from _compose(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
        raise YamlFault(place, f"no YAML: {error.problem or error.context}", _advice(text, place)) from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:  # a character that YAML does not allow
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        before = text[: found.start()] if found else ""
        place = Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        raise YamlFault(place, "a character that YAML does not allow", "take it out") from error


def _advice(text: str, place: Place) -> str:
    lines = text.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces, not with tabs"
    return "look at the indentation and the quotes around here"


def _compose(events: Any) -> Iterator[_Node]:
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            anchors = {}
        node = _node(event, anchors)
        if node is not None:
            if stack:
                stack[-1].items.append(node)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(stack) == DEPTH_MAX:
                    raise YamlFault(
                        node.place, f"is nested deeper than {DEPTH_MAX} levels", "make it flatter"
                    )
                stack.append(node)
            elif not stack:
                yield node
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            done.size = 1 + sum(each.size for each in done.items)
            if not stack:
                yield done


def _node(event: Any, anchors: dict[str, _Node]) -> _Node | None:
    if not isinstance(event, yaml.NodeEvent):
        return None
    mark: Any = event.start_mark
    place = Place(mark.line + 1, mark.column + 1)
    if isinstance(event, yaml.AliasEvent):
        target = anchors.get(str(event.anchor))
        if target is None:
            raise YamlFault(
                place, f"there is no anchor &{event.anchor} before this", "write the anchor first"
            )
        return target
    tag = event.tag  # type: ignore[attr-defined]
    if tag not in (None, "!") and tag not in _TAGS:
        raise YamlFault(place, f"the tag {tag} is not taken", "leave it out")
    if isinstance(event, yaml.ScalarEvent):
        node = _Node("scalar", place, _scalar(event, place), [])
    else:
        kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
        node = _Node(kind, place, None, [])
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _scalar(event: Any, place: Place) -> Any:
    text: str = event.value
    plain = event.implicit[0] and event.style in (None, "")
    tag = (event.tag or "").removeprefix(_TAG)
    if tag in ("str", "!") or (not plain and not tag):
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return bool(_TRUE.fullmatch(text))
    if len(text) <= _DIGITS_MAX:
        if _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        if _BASED.fullmatch(text):
            return int(text, 0) if text[1] in "xob" else int(text, 8)
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    if tag in ("int", "float", "bool", "null"):
        raise YamlFault(place, f"{text[:40]!r} is no {tag}", "leave the tag out")
    return text


# ---------------------------------------------------------------------------------------------- expanding


class _Budget:
    def __init__(self) -> None:
        self.left = NODES_MAX

    def spend(self, place: Place) -> None:
        self.left -= 1
        if self.left < 0:
            raise YamlFault(place, f"has more than {NODES_MAX} values, aliases expanded", "apply it in parts")


class _Expansion:
    """Nodes to values; notes their places in ``tree``."""

    def __init__(self, tree: Tree, budget: _Budget) -> None:
        self._tree = tree
        self._budget = budget
        self._open: list[_Node] = []  # a node that holds itself would never end

    def value(self, node: _Node, path: Path) -> Any:
        self._budget.spend(node.place)
        self._tree.values[path] = node.place
        if node.kind == "scalar":
            return node.text
        if any(each is node for each in self._open) or len(path) > DEPTH_MAX:
            raise YamlFault(node.place, "an alias within what it stands for", "write it out")
        self._open.append(node)
        if node.kind == "sequence":
            found: Any = [self.value(each, (*path, number)) for number, each in enumerate(node.items)]
        else:
            found = self._mapping(node, path)
        self._open.pop()
        return found

    def _mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[_Node] = []
        for name_node, value_node in zip(node.items[::2], node.items[1::2], strict=True):
            name = _name(name_node)
            if name == "<<":
                merged.append(value_node)
                continue
            if name in found:
                first = self._tree.names[(*path, name)]
                raise YamlFault(
                    name_node.place,
                    f"{name!r} stands twice, first in line {first.line}",
                    "take one of them out",
                )
            self._tree.names[(*path, name)] = name_node.place
            found[name] = self.value(value_node, (*path, name))
        for each in merged:
            self._merge(each, path, found)
        return found

    def _merge(self, node: _Node, path: Path, found: dict[str, Any]) -> None:
        """What ``<<`` brings in; what is there already stays."""
        if node.kind == "sequence":
            for each in node.items:
                self._merge(each, path, found)
            return
        if node.kind != "mapping" or any(each is node for each in self._open):
            raise YamlFault(node.place, "<< takes a mapping, or a list of them", "write <<: *ANCHOR")
        self._open.append(node)
        for name_node, value_node in zip(node.items[::2], node.items[1::2], strict=True):
            name = _name(name_node)
            if name == "<<":
                self._merge(value_node, path, found)
            elif name not in found:
                self._tree.names[(*path, name)] = name_node.place
                found[name] = self.value(value_node, (*path, name))
        self._open.pop()


def _name(node: _Node) -> str:
    if node.kind != "scalar" or isinstance(node.text, bool | float) or node.text is None:
        raise YamlFault(node.place, "the name of a field must be text", "put it in quotes")
    return str(node.text)
