"""Policy documents: applied, deleted, compared and shown; the one place that writes them.

Rule: decide on the view (``policy.document_orders``), commit under the generation's guard with an audit entry a document,
and if the guard failed wait for the view to show why and decide again. Up to ``CHANGES_OF_TXN_MAX`` documents are one
transaction; more are written in pieces, what others refer to first. A staged change prepares as applying does and commits
the same way later (``prepare``, ``commit``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import Change, DocumentView, Held
from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.policy_index import DEFAULT_SETTINGS, Settings
from atoll.planes.mesh.policy import document_orders, references
from atoll.planes.mesh.policy.document_orders import Prepared, ReadFiles
from atoll.planes.mesh.policy.references import Known
from atoll.planes.mesh.service.document_follower import DocumentFollower
from atoll.resources.actor import Actor
from atoll.resources.mesh import hosts
from atoll.resources.mesh.document_api import (
    Applied,
    ApplyOrder,
    DeleteOrder,
    Difference,
    Differences,
    DocumentName,
    DocumentsAsked,
    DocumentShown,
    FileText,
)
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import DocumentKey
from atoll.resources.mesh.services import MeshService
from atoll.runtime import loop
from atoll.store.api import Operation, Put, Store
from atoll.store.audit import hash_of

ATTEMPTS_MAX = 20
MOVED_WITHIN_S = 0.2
SUGGESTED_FOR_MAX = 20  # documents in one answer whose faults come with the names that are near

Audit: TypeAlias = Callable[[Actor, str, str, str, str], Put]
"""actor, action, subject, hash before, hash after: the entry to write in the same transaction."""
Services: TypeAlias = Callable[[], Mapping[str, MeshService]]


class Documents:
    """``services``: what documents may refer to, as the mesh knows it now."""

    def __init__(
        self, store: Store, audit: Audit, services: Services, settings: Settings = DEFAULT_SETTINGS
    ) -> None:
        self.follower = DocumentFollower(store, document_view.empty_view(settings))
        self._store = store
        self._audit = audit
        self._services = services

    @property
    def view(self) -> DocumentView:
        return self.follower.view

    @property
    def policies(self) -> Policies:
        return self.follower.view.policies

    # -------------------------------------------------------------------------------------------- writing

    async def read(self, files: Sequence[FileText], namespace: str) -> ReadFiles:
        """In a thread: large files take their time. Raises INVALID past the limit of their size."""
        return await loop.in_thread(document_orders.read_files, files, namespace)

    def prepare(self, files: ReadFiles, force: bool) -> Prepared:
        """What applying ``files`` would change now, and what speaks against it. Raises EXHAUSTED past limits."""
        return document_orders.prepare(self.view, files, self._services(), force)

    async def apply(self, actor: Actor, order: ApplyOrder) -> Applied:
        """Raises INVALID / CONTENT_INVALID for an order with errors: nothing was written then."""
        files = await self.read(order.files, order.namespace)
        return await self._carried_out(actor, lambda: self.prepare(files, order.force), order.dry_run)

    async def delete(self, actor: Actor, order: DeleteOrder) -> Applied:
        files = await self.read(order.files, order.namespace)

        def prepared() -> Prepared:
            services = self._services()
            return document_orders.prepare_deletion(self.view, files, order.names, services, order.force)

        return await self._carried_out(actor, prepared, order.dry_run)

    async def commit(self, actor: Actor, prepared: Prepared) -> int:
        """Write what was prepared. Returns the revision, 0 where nothing had to be. Raises CONFLICT when documents were
        changed since it was prepared; UNKNOWN with how much of it is written where a later piece failed.
        """
        revision, generation = 0, prepared.generation
        pieces = document_view.pieces_of(prepared.changes)
        for number, piece in enumerate(pieces):
            operations: list[Operation] = [*document_view.operations_of(piece)]
            operations += [self._entry(actor, change) for change in piece]
            try:
                result = await self._store.commit([document_view.guard_of(generation)], operations)
            except AtollError as error:
                raise _part_way(error, number) from error
            revision = generation = result.revision
        await self.follower.at(revision)
        return revision

    async def _carried_out(self, actor: Actor, prepare: Callable[[], Prepared], dry_run: bool) -> Applied:
        for _ in range(ATTEMPTS_MAX):
            seen = self.view.revision
            prepared = prepare()
            prepared.require_valid()
            shown = tuple(each.shown() for each in prepared.changes)
            if dry_run or document_orders.is_idle(prepared.changes):
                return Applied(shown, prepared.warnings, dry_run=dry_run)
            try:
                revision = await self.commit(actor, prepared)
            except AtollError as error:
                if error.code is not Code.CONFLICT:
                    raise
                await self.follower.at(seen + 1, MOVED_WITHIN_S)
                continue
            return Applied(shown, prepared.warnings, revision)
        text = "policy documents are changed by others all the time; repeat"
        raise AtollError(Code.CONFLICT, text, retry_after_s=0.5)

    def _entry(self, actor: Actor, change: Change) -> Put:
        before = change.before.content if change.before is not None else None
        after = change.read.content if change.read is not None else None
        return self._audit(
            actor, f"mesh-document.{change.outcome}", str(change.key), hash_of(before), hash_of(after)
        )

    # -------------------------------------------------------------------------------------------- reading

    async def differences(self, order: ApplyOrder) -> Differences:
        """Between what is in force and ``order``, errors or not."""
        prepared = self.prepare(await self.read(order.files, order.namespace), order.force)
        return Differences(tuple(_difference(each) for each in prepared.changes), prepared.problems)

    def get(self, name: DocumentName) -> DocumentShown:
        """Raises NOT_FOUND."""
        key = document_orders.key_of(name)
        if key not in self.view.held:
            raise AtollError(Code.NOT_FOUND, f"there is no {key}; `atoll get` lists what there is")
        return self._shown([key])[0]

    def find(self, asked: DocumentsAsked) -> list[DocumentShown]:
        """By kind, namespace and name. Raises INVALID for a kind that there is not."""
        kind = document_orders.key_of(DocumentName(asked.kind, "any")).kind if asked.kind else None
        namespace = hosts.namespace_of(asked.namespace) if asked.namespace else ""
        wanted = [
            key
            for key in sorted(self.view.held)
            if kind in (None, key.kind) and namespace in ("", key.namespace) and asked.name in ("", key.name)
        ]
        return self._shown(wanted)

    def _shown(self, keys: Sequence[DocumentKey]) -> list[DocumentShown]:
        there = references.known(self.policies, self._services())
        there = msgspec.structs.replace(there, suggests=len(keys) <= SUGGESTED_FOR_MAX)
        return [_shown(key, self.view.held[key], there) for key in keys]


def _shown(key: DocumentKey, held: Held, there: Known) -> DocumentShown:
    document = held.document
    return DocumentShown(
        key.kind.value,
        key.namespace,
        key.name,
        document.hash8,
        document.created,
        document.revision,
        msgspec.json.decode(held.content),
        document_orders.standing_problems(document, there),
    )


def _difference(change: Change) -> Difference:
    before = reading.to_yaml([change.before.content]) if change.before is not None else ""
    after = reading.to_yaml([change.read.content]) if change.read is not None else ""
    key = change.key
    return Difference(key.kind.value, key.namespace, key.name, change.outcome, before, after)


def _part_way(error: AtollError, done: int) -> AtollError:
    """The first piece failed as a whole; a later one says how far it came."""
    if not done:
        return error
    written = done * document_view.CHANGES_OF_TXN_MAX
    text = f"{error.message}; the first {written} of the documents are written: apply them all again"
    return AtollError(
        Code.UNKNOWN,
        text,
        reason=error.reason,
        retry_after_s=error.retry_after_s,
        facts=error.facts,
    )
