"""The documents in the store at one revision, and what a change of them writes.

Rule: pure; the store's watch is the only way into the view. What follows from documents depends on all of them (their
references are checked together), so that every writer bumps one generation key and is guarded by it: of two changes that
are decided on the same view one is decided again.

Keys: ``mesh/documents/at/KIND/NAMESPACE/NAME`` and ``mesh/documents/generation`` under the reserved prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.policy_index import DEFAULT_SETTINGS, Settings
from atoll.resources.mesh.document_api import CHANGED, CREATED, DELETED, MISSING, UNCHANGED, Outcome
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.mesh.documents.reading import Read
from atoll.resources.records import Record
from atoll.resources.records import decode as decode_record
from atoll.resources.records import encode as encode_record
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

PREFIX = RESERVED_PREFIX + b"mesh/documents/"
AT = PREFIX + b"at/"
GENERATION = PREFIX + b"generation"

DOCUMENTS_MAX = 5_000  # in the store
CHANGES_OF_ORDER_MAX = 1_000
CHANGES_OF_TXN_MAX = (
    60  # each is a write and an entry of the audit log, of 128 operations that a transaction may have
)

_ORDER = (  # what others refer to before what refers to it
    Kind.SERVICE_ENTRY,
    Kind.DESTINATION_RULE,
    Kind.GATEWAY,
    Kind.KUBERNETES_GATEWAY,
    Kind.SIDECAR,
    Kind.TELEMETRY,
    Kind.LOCAL_RATE_LIMIT,
    Kind.REQUEST_AUTHENTICATION,
    Kind.AUTHORIZATION_POLICY,
    Kind.PEER_AUTHENTICATION,
    Kind.VIRTUAL_SERVICE,
    Kind.HTTP_ROUTE,
    Kind.GRPC_ROUTE,
)


class Stored(Record, frozen=True, kw_only=True):
    """``document``: its canonical content."""

    document: Mapping[str, Any]


class Held(msgspec.Struct, frozen=True):
    document: Document[Any]
    content: bytes


class DocumentView(msgspec.Struct, frozen=True):
    """``unreadable``: keys that this release cannot read, with why; what was known of them before stays in force."""

    policies: Policies
    held: Mapping[DocumentKey, Held] = {}
    revision: int = 0
    generation: int = 0  # the revision of the generation key
    unreadable: Mapping[str, str] = {}

    def after(self, kvs: Sequence[KeyValue], revision: int) -> DocumentView:
        """With these, as the store tells of them (``version`` 0: deleted), at ``revision``."""
        held, unreadable = dict(self.held), dict(self.unreadable)
        generation = self.generation
        changed: dict[DocumentKey, Document[Any] | None] = {}
        for kv in kvs:
            if kv.key == GENERATION:
                generation = kv.mod_revision
                continue
            name = kv.key.removeprefix(AT).decode(errors="replace")
            unreadable.pop(name, None)
            try:
                key, found = read(kv)
            except AtollError as error:
                unreadable[name] = error.message
                continue
            changed[key] = None if found is None else found.document
            if found is None:
                held.pop(key, None)
            else:
                held[key] = found
        policies = self.policies.with_changes(changed) if changed else self.policies
        return DocumentView(policies, held, max(self.revision, revision), generation, unreadable)


def empty_view(settings: Settings = DEFAULT_SETTINGS) -> DocumentView:
    return DocumentView(Policies((), settings))


def place_of(key: DocumentKey) -> bytes:
    return AT + f"{key.kind.value}/{key.namespace}/{key.name}".encode()


def read(kv: KeyValue) -> tuple[DocumentKey, Held | None]:
    """What lies under a key; None: deleted. Raises INVALID for what this release cannot read."""
    name = kv.key.removeprefix(AT).decode(errors="replace")
    kind, _, rest = name.partition("/")
    namespace, _, of_name = rest.partition("/")
    if kind not in set(Kind):
        text = f"{name} is of a kind that this release does not know"
        raise AtollError(Code.INVALID, text, reason=Reason.NEWER_FORMAT)
    key = DocumentKey(Kind(kind), namespace, of_name)
    if kv.version == 0:
        return key, None
    stored = decode_record(Stored, kv.value)
    content = msgspec.json.encode(stored.document, order="sorted")
    return key, Held(reading.decode(content, kv.create_revision, kv.mod_revision), content)


# ------------------------------------------------------------------------------------------------ changes


class Change(msgspec.Struct, frozen=True):
    """``read`` None: delete. ``before``: what is there."""

    key: DocumentKey
    before: Held | None
    read: Read | None
    outcome: str

    @property
    def is_write(self) -> bool:
        return self.outcome in (CREATED, CHANGED, DELETED)

    def shown(self) -> Outcome:
        hash8 = self.read.document.hash8 if self.read is not None else ""
        before = self.before.document.hash8 if self.before is not None else ""
        return Outcome(self.key.kind.value, self.key.namespace, self.key.name, self.outcome, hash8, before)


def changes_of(
    view: DocumentView, puts: Iterable[Read], deletes: Iterable[DocumentKey]
) -> tuple[Change, ...]:
    """What an order changes, in the order in which it is to be written. Raises EXHAUSTED past a limit."""
    rank = {kind: number for number, kind in enumerate(_ORDER)}
    found = [_put(view, each) for each in sorted(puts, key=lambda each: rank[each.key.kind])]
    gone = sorted(deletes, key=lambda key: -rank[key.kind])
    found += [Change(key, view.held.get(key), None, DELETED if key in view.held else MISSING) for key in gone]
    writes = [each for each in found if each.is_write]
    if len(writes) > CHANGES_OF_ORDER_MAX:
        text = f"{len(writes)} documents at once; at most {CHANGES_OF_ORDER_MAX}: apply them in parts"
        raise AtollError(Code.EXHAUSTED, text)
    total = len(view.held) + sum(each.outcome == CREATED for each in found)
    if total > DOCUMENTS_MAX:
        text = f"{total} documents; at most {DOCUMENTS_MAX} can be there: delete some first"
        raise AtollError(Code.EXHAUSTED, text)
    return tuple(found)


def _put(view: DocumentView, read: Read) -> Change:
    before = view.held.get(read.key)
    if before is None:
        return Change(read.key, None, read, CREATED)
    return Change(read.key, before, read, UNCHANGED if before.content == read.content else CHANGED)


def policies_after(view: DocumentView, changes: Iterable[Change]) -> Policies:
    """What would be in force: for checks, for a canary. New documents are the youngest."""
    changed: dict[DocumentKey, Document[Any] | None] = {}
    for each in changes:
        if each.outcome == DELETED:
            changed[each.key] = None
        elif each.is_write and each.read is not None:
            created = each.before.document.created if each.before is not None else view.revision + 1
            changed[each.key] = msgspec.structs.replace(each.read.document, created=created)
    return view.policies.with_changes(changed)


def pieces_of(changes: Sequence[Change]) -> list[Sequence[Change]]:
    """What is written in one transaction each."""
    writes = [each for each in changes if each.is_write]
    return [writes[start : start + CHANGES_OF_TXN_MAX] for start in range(0, len(writes), CHANGES_OF_TXN_MAX)]


def operations_of(changes: Sequence[Change]) -> tuple[Operation, ...]:
    """The writes of one transaction, the generation's among them."""
    found: list[Operation] = [Put(GENERATION, b"")]
    for each in changes:
        if each.read is None:
            found.append(Delete(place_of(each.key)))
        else:
            document = msgspec.json.decode(each.read.content, type=dict[str, Any])
            found.append(Put(place_of(each.key), encode_record(Stored(document=document))))
    return tuple(found)


def guard_of(generation: int) -> Compare:
    return Compare(GENERATION, Target.MOD, Relation.EQUAL, generation)
