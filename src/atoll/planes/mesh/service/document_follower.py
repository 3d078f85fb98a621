"""The view of policy documents kept up with the store.

Rule: a document of a newer release is left as it was known before, and logged: one must not take the others away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import DocumentView
from atoll.store.api import KeyValue, Store
from atoll.store.following import Following, with_deletions


class DocumentFollower(Following):
    """``on_change`` hears of each view whose policies differ from those of the one before."""

    def __init__(self, store: Store, view: DocumentView) -> None:
        super().__init__(store, document_view.PREFIX, self._take, "mesh documents")
        self.view = view
        self.on_change: list[Callable[[DocumentView], None]] = []

    def _take(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        if whole:
            kvs = with_deletions(map(document_view.place_of, self.view.held), kvs, revision)
        before, self.view = self.view, self.view.after(kvs, revision)
        for name, why in self.view.unreadable.items():
            if name not in before.unreadable:
                self._log.error("a policy document cannot be read", document=name, why=why)
        if self.view.policies is not before.policies:
            for hear in self.on_change:
                hear(self.view)
