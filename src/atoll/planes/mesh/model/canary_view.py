"""Canaries of policy as they lie in the store, and what beginning and ending one writes.

Rule: pure. One canary runs at a time: what a share of the clients serves can be laid to one change only if there is one. The
key ``running`` names it; whoever begins or ends one is guarded by it. Promoting writes the documents in the same
transaction that ends the canary, under the documents' own guard, so that nothing is half-promoted.

Keys: ``mesh/canaries/at/NAME`` and ``mesh/canaries/running`` under the reserved prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import DocumentView
from atoll.planes.mesh.model.policies import Policies
from atoll.resources.mesh.canary import DECISIONS_MAX, Canary, Change, Decision
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.records import decode, encode
from atoll.store.api import (
    RESERVED_PREFIX,
    Compare,
    Delete,
    KeyValue,
    Operation,
    Put,
    Relation,
    Target,
)

PREFIX: Final = RESERVED_PREFIX + b"mesh/canaries/"
AT: Final = PREFIX + b"at/"
RUNNING: Final = PREFIX + b"running"
KEPT_MAX: Final = 50  # canaries that are over


class Write(msgspec.Struct, frozen=True):
    guards: tuple[Compare, ...]
    operations: tuple[Operation, ...]


class CanaryView(msgspec.Struct, frozen=True):
    """``running``: the name of the one that runs, empty: none."""

    canaries: Mapping[str, Canary] = {}
    running: str = ""

    def after(self, kvs: Sequence[KeyValue], whole: bool) -> CanaryView:
        """Raises INVALID for a record that this release cannot read: what others try must not be guessed."""
        canaries = {} if whole else dict(self.canaries)
        running = "" if whole else self.running
        for kv in kvs:
            if kv.key == RUNNING:
                running = kv.value.decode() if kv.version else ""
                continue
            name = kv.key.removeprefix(AT).decode()
            canaries.pop(name, None)
            if kv.version:
                canaries[name] = decode(Canary, kv.value, kv.mod_revision)
        return CanaryView(canaries, running)

    @property
    def current(self) -> Canary | None:
        found = self.canaries.get(self.running)
        return found if found is not None and found.is_running else None

    def get(self, name: str) -> Canary:
        """Raises NOT_FOUND."""
        found = self.canaries.get(name)
        if found is None:
            known = ", ".join(sorted(self.canaries)) or "none"
            raise AtollError(Code.NOT_FOUND, f"there is no canary {name!r}; there are: {known}")
        return found


def place_of(name: str) -> bytes:
    return AT + name.encode()


def begin(view: CanaryView, canary: Canary) -> Write:
    """Raises CONFLICT: another one runs, or there was one of this name."""
    if view.current is not None:
        text = f"canary {view.running!r} runs; promote or cancel it first, or wait for its end"
        raise AtollError(Code.CONFLICT, text)
    if canary.name in view.canaries:
        raise AtollError(Code.CONFLICT, f"there was a canary {canary.name!r} already; give another name")
    over = sorted(view.canaries.values(), key=lambda each: (each.ended_s, each.name))
    forgotten = over[: max(0, len(over) + 1 - KEPT_MAX)]
    absent = (
        Compare(RUNNING, Target.VERSION, Relation.EQUAL, 0),
        Compare(place_of(canary.name), Target.VERSION, Relation.EQUAL, 0),
    )
    operations: list[Operation] = [Put(RUNNING, canary.name.encode())]
    operations += [Put(place_of(canary.name), encode(canary))]
    operations += [Delete(place_of(each.name)) for each in forgotten]
    return Write(absent, tuple(operations))


def end(canary: Canary, state: str, decision: Decision) -> Write:
    """Over, without the documents: rolled back or cancelled. Raises CONFLICT: it is over already."""
    if not canary.is_running:
        raise AtollError(Code.CONFLICT, f"canary {canary.name!r} is over: {canary.state}")
    ended = replace(
        canary, state=state, ended_s=decision.at_s, decisions=(*canary.decisions, decision)[-DECISIONS_MAX:]
    )
    guards = (
        Compare(RUNNING, Target.VALUE, Relation.EQUAL, canary.name.encode()),
        Compare(place_of(canary.name), Target.MOD, Relation.EQUAL, canary.revision),
    )
    return Write(guards, (Delete(RUNNING), Put(place_of(canary.name), encode(ended))))


def promote(
    canary: Canary, documents: DocumentView, state: str, decision: Decision
) -> tuple[Write, tuple[document_view.Change, ...]]:
    """Over, and the documents are everybody's. Raises CONFLICT naming the document that somebody changed meanwhile."""
    over = end(canary, state, decision)
    changes = _document_changes(canary, documents)
    guards = (*over.guards, document_view.guard_of(documents.generation))
    return Write(guards, (*over.operations, *document_view.operations_of(changes))), changes


def policies_with(canary: Canary, policies: Policies) -> Policies:
    """What the share of the clients has while everybody else has ``policies``. A new document is the youngest."""
    changed: dict[DocumentKey, Document[Any] | None] = {}
    for change in canary.changes:
        key = key_of(change)
        before = policies.get(key)
        created = before.created if before is not None else canary.revision
        changed[key] = reading.decode(change.content.encode(), created)
    return policies.with_changes(changed)


def key_of(change: Change) -> DocumentKey:
    kind, namespace, name = change.document.split("/", 2)
    return DocumentKey(Kind(kind), namespace, name)


def overtaken(canary: Canary, documents: DocumentView) -> str:
    """Which document somebody changed since the canary began, so that it is not this change that is tried; empty: none."""
    for change in canary.changes:
        held = documents.held.get(key_of(change))
        if (held.document.revision if held is not None else 0) != change.revision:
            return f"{change.document} was changed by somebody else meanwhile"
    return ""


def _document_changes(canary: Canary, documents: DocumentView) -> tuple[document_view.Change, ...]:
    why = overtaken(canary, documents)
    if why:
        raise AtollError(Code.CONFLICT, f"canary {canary.name!r} cannot be promoted: {why}")
    puts: list[reading.Read] = []
    for change in canary.changes:
        puts += reading.read(change.content, f"canary {canary.name}").documents
    return document_view.changes_of(documents, puts, ())
