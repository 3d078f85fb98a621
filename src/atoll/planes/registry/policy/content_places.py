"""Where something stands in a content: lines and columns, counted from 1 in characters.

Rule: one walk over the text or its events, no recursion; what cannot be found is ``(0, 0)``, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from atoll.resources.config_views import Fault

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN|-?\d{4000,})')

Place = tuple[int, int]
NOWHERE: Place = (0, 0)


def place(text: str, position: int) -> Place:
    return text.count("\n", 0, position) + 1, position - (text.rfind("\n", 0, position) + 1) + 1


def constant(text: str) -> Place:
    """Of the first word that looks like a number and is no JSON."""
    found = next((each for each in _CONSTANT.finditer(text) if each[1]), None)
    return place(text, found.start()) if found else NOWHERE


def repeated_name(text: str, name: str) -> Place:
    """Of the second ``name`` in the first JSON object that has it twice."""
    scopes: list[set[str] | None] = []
    previous, at = "", 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word == ":" and scopes and scopes[-1] is not None:
            if previous.strip('"') == name or _unquoted(previous) == name:
                if name in scopes[-1]:
                    return place(text, at)
                scopes[-1].add(name)
        elif word in "{[":
            scopes.append(set() if word == "{" else None)
        elif word in "}]" and scopes:
            scopes.pop()
        previous, at = word, token.start()
    return NOWHERE


def _unquoted(word: str) -> str:
    return word[1:-1].encode().decode("unicode_escape", "replace") if "\\" in word else word[1:-1]


class YamlWalk:
    """Sees the events of a YAML text in order and says what the parser itself does not: a key that stands twice in one
    mapping, an alias of nothing, a depth beyond the limit.
    """

    def __init__(self, depth_max: int) -> None:
        self._depth_max = depth_max
        self._anchors: set[str] = set()
        self._open: list[list[Any]] = []  # [keys seen or None for a sequence, a key comes next]

    def see(self, event: yaml.Event) -> Fault | None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors = set()
        if isinstance(event, yaml.AliasEvent) and event.anchor not in self._anchors:
            return _fault(event, f"there is no anchor &{event.anchor} before this alias")
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
            return None
        if not isinstance(event, yaml.NodeEvent):
            return None
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._anchors.add(event.anchor)
        fault = self._key(event)
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open.append([set() if isinstance(event, yaml.MappingStartEvent) else None, True])
            if len(self._open) > self._depth_max:
                return _fault(event, f"it is nested more than {self._depth_max} deep")
        return fault

    def _key(self, event: yaml.NodeEvent) -> Fault | None:
        if not self._open or self._open[-1][0] is None:
            return None
        top = self._open[-1]
        is_key, top[1] = top[1], not top[1]
        if not is_key or not isinstance(event, yaml.ScalarEvent) or event.value == "<<":
            return None
        if event.value in top[0]:
            return _fault(event, f"the key {event.value!r} stands twice in one mapping")
        top[0].add(event.value)
        return None


def yaml_size(events: Iterable[yaml.Event]) -> int:
    """How many nodes a YAML text has with each alias counted as what it stands for."""
    sizes: dict[str, int] = {}
    open_nodes: list[list[Any]] = [["", 0]]
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            open_nodes[-1][1] += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            open_nodes[-1][1] += 1
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            open_nodes.append([event.anchor or "", 1])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            anchor, size = open_nodes.pop()
            sizes[anchor] = size
            open_nodes[-1][1] += size
    return int(open_nodes[0][1])


def of_path(kind: str, text: str, path: Sequence[str | int], loader: Any) -> Place:
    """Of the value at ``path`` in a JSON or YAML content; JSON is read as the YAML that it is, where it is."""
    if kind == "toml":
        return NOWHERE
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.YAMLError:
        return NOWHERE
    for step in path:
        node = _child(node, step)
    return (node.start_mark.line + 1, node.start_mark.column + 1) if node is not None else NOWHERE


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(step)), None)
    return None


def _fault(event: yaml.Event, message: str) -> Fault:
    mark = event.start_mark
    return Fault(message, *((mark.line + 1, mark.column + 1) if mark is not None else NOWHERE))
