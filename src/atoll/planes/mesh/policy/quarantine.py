"""Documents that a class of clients refused, and what the class gets instead. Pure.

Rule: blamed are, of the documents that shaped the refused resources, those that changed since the class accepted these
resources; of these, if there are any, those that it never accepted in any resource. A blamed document goes back to the last
version that the class took, or goes if there is none, until somebody changes it again. A class is all clients with the same
``Client`` value, so the replicas of one service: who refuses a policy keeps it from nobody but itself and its like.

Where some client of the class accepts what another refuses, now or later, it is the other's own matter (a port in use on
its machine), and nothing is set aside. Then, and where no document is to blame (a service's change, or ours), the stream
itself keeps the refused resource at what its client accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from atoll.planes.mesh.model.policies import Policies
from atoll.resources.mesh.client_status import SetAside
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.wire.xds.snapshot import Resource, Type

VERSIONS_KEPT = 2
"""Of a document, of what was accepted: it may have shaped a cluster that was taken and a route that was not."""


class Refusal(msgspec.Struct, frozen=True):
    """``resources``: the blamed ones, as they were served."""

    resources: tuple[Resource, ...]
    text: str
    node: str
    at_s: float


class Quarantine:
    """Of one class. ``aside``: what is kept from it now."""

    def __init__(self) -> None:
        self.aside: tuple[SetAside, ...] = ()
        self._refused: dict[
            tuple[Type, str, str], tuple[SetAside, ...]
        ] = {}  # by resource: for what it was set aside
        self._hashes: dict[
            tuple[Type, str], Mapping[str, str]
        ] = {}  # by resource: of the documents it was taken with
        self._taken: dict[
            str, list[Document[Any]]
        ] = {}  # by document: versions that were taken, the newest first

    def took(self, resources: Iterable[Resource], served: Policies) -> None:
        """The class accepted ``resources``, made of ``served``."""
        for resource in resources:
            documents = _documents(resource, served)
            self._hashes[resource.type, resource.name] = {
                name: each.hash8 for name, each in documents.items()
            }
            for name, document in documents.items():
                versions = self._taken.setdefault(name, [])
                if not versions or versions[0].hash8 != document.hash8:
                    versions.insert(0, document)
                    del versions[VERSIONS_KEPT:]

    def accepted(self, resources: Iterable[Resource]) -> bool:
        """Some client of the class accepted these, offered still or not. Whether something is no longer set aside for it."""
        before = self.aside
        for resource in resources:
            wrongly = self._refused.pop((resource.type, resource.name, resource.version), ())
            self.aside = tuple(each for each in self.aside if each not in wrongly)
        return self.aside != before

    def refused(self, refusal: Refusal, served: Policies) -> bool:
        """The class refused what was made of ``served``. Whether something more is set aside for it."""
        suspects: dict[str, str] = {}
        for resource in refusal.resources:
            before = self._hashes.get((resource.type, resource.name), {})
            for name, document in _documents(resource, served).items():
                if before.get(name) != document.hash8:
                    suspects[name] = document.hash8
        fresh = {name: hash8 for name, hash8 in suspects.items() if not self._took(name, hash8)}
        known = {each.document for each in self.aside}
        new = [
            SetAside(name, hash8, refusal.text, refusal.at_s, refusal.node)
            for name, hash8 in sorted((fresh or suspects).items())
            if name not in known
        ]
        self.aside += tuple(new)
        for resource in refusal.resources if new else ():
            self._refused[resource.type, resource.name, resource.version] = tuple(new)
        return bool(new)

    def policies(self, policies: Policies) -> Policies:
        """``policies`` as the class gets them. What was changed since it was set aside is no longer."""
        self.aside = tuple(each for each in self.aside if _hash_of(each.document, policies) == each.hash8)
        if not self.aside:
            self._refused.clear()
        changes = {
            key: self._last_taken(each) for each in self.aside if (key := key_of(each.document)) is not None
        }
        return policies.with_changes(changes) if changes else policies

    def _took(self, name: str, hash8: str) -> bool:
        return any(each.hash8 == hash8 for each in self._taken.get(name, ()))

    def _last_taken(self, aside: SetAside) -> Document[Any] | None:
        versions = self._taken.get(aside.document, ())
        return next((each for each in versions if each.hash8 != aside.hash8), None)


def key_of(document: str) -> DocumentKey | None:
    """Of ``Kind/namespace/name``; None: that is no document."""
    kind, _, rest = document.partition("/")
    namespace, _, name = rest.partition("/")
    return DocumentKey(_KINDS[kind], namespace, name) if kind in _KINDS and name else None


_KINDS: Mapping[str, Kind] = {str(kind): kind for kind in Kind}


def _documents(resource: Resource, served: Policies) -> dict[str, Document[Any]]:
    keys = ((name, key_of(name)) for name in resource.documents)
    found = ((name, served.get(key)) for name, key in keys if key is not None)
    return {name: document for name, document in found if document is not None}


def _hash_of(document: str, policies: Policies) -> str:
    key = key_of(document)
    found = policies.get(key) if key is not None else None
    return found.hash8 if found is not None else ""
