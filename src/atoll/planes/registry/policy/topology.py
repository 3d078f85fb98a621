"""Which instances there were at a time, and what differs between two times: replayed from a snapshot and what came after.

Rule: pure. What nodes say is put together by name: an instance is listed once, with the value that most nodes saw and the
names of all that saw it so; the order of events across nodes is only as good as their clocks, and the answer says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from atoll.access.grants import Glob
from atoll.resources.events import Difference, Moved, Placed

State = dict[str, dict[str, str]]
"""subject -> instance -> value, in JSON."""

APPROXIMATE = "times are each node's own; their order across nodes is approximate"


def replay(snapshot: Mapping[str, Mapping[str, str]], moves: Iterable[Moved]) -> State:
    state = {subject: dict(instances) for subject, instances in snapshot.items()}
    for move in moves:
        if move.value:
            state.setdefault(move.subject, {})[move.instance] = move.value
        elif move.subject in state:
            state[move.subject].pop(move.instance, None)
    return state


def chosen(state: State, subject: str) -> State:
    """The part whose subjects fit ``subject``, in which ``*`` stands for any text; empty: all of it."""
    if not subject:
        return state
    glob = Glob(subject)
    return {name: instances for name, instances in state.items() if glob.matches(name)}


def together(states: Mapping[str, State]) -> tuple[list[Placed], list[str]]:
    """All nodes' states as one list in order, and remarks on instances that not every node saw, or saw differently."""
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for node in sorted(states):
        for subject, instances in states[node].items():
            for instance, value in instances.items():
                seen.setdefault((subject, instance), {})[node] = value
    placed, apart = [], 0
    for (subject, instance), values in sorted(seen.items()):
        value = Counter(values.values()).most_common(1)[0][0]
        nodes = tuple(node for node, its in values.items() if its == value)
        apart += len(nodes) < len(states)
        placed.append(Placed(subject, instance, msgspec.Raw(value.encode()), nodes))
    remarks = [f"{apart} instances were not seen by all nodes alike"] if apart else []
    return placed, remarks + ([APPROXIMATE] if len(states) > 1 else [])


def differences(before: Iterable[Placed], after: Iterable[Placed]) -> list[Difference]:
    """What came, went or changed, in order."""
    old = {(one.subject, one.instance): one.value for one in before}
    new = {(one.subject, one.instance): one.value for one in after}
    return [
        Difference(*key, old.get(key), new.get(key))
        for key in sorted({**old, **new})
        if key not in old or key not in new or bytes(old[key]) != bytes(new[key])
    ]
