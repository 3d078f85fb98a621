"""Policy documents over the node's API.

Rule: it decides nothing. Any account may look at documents and compare; whoever changes them is an administrator.
"""

from __future__ import annotations

import msgspec

from atoll.planes.mesh.frontends.rest.door import Call, Door, changing, looking
from atoll.planes.mesh.service.documents import Documents
from atoll.resources.mesh.document_api import (
    TEXT_BYTES_MAX,
    Applied,
    ApplyOrder,
    DeleteOrder,
    Differences,
    DocumentName,
    DocumentsAsked,
    DocumentShown,
)
from atoll.runtime.http_api import Endpoint

BODY_BYTES_MAX = 2 * TEXT_BYTES_MAX + 65_536  # texts as JSON strings, escapes included, and the rest
PATH = "/v1/mesh/documents"


class DocumentsApi:
    def __init__(self, documents: Documents, door: Door) -> None:
        self._documents = documents
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        shown = list[DocumentShown]
        one = "/v1/mesh/document"
        apply, differ = f"{PATH}/apply", f"{PATH}/diff"
        declared = [
            (looking, Endpoint("GET", PATH, "Policy documents.", self.find, shown, query=DocumentsAsked)),
            (looking, Endpoint("GET", one, "One of them.", self.get, DocumentShown, query=DocumentName)),
            (
                looking,
                Endpoint("POST", differ, "What would change.", self.diff, Differences, body=ApplyOrder),
            ),
            (changing, Endpoint("POST", apply, "Write them.", self.apply, Applied, body=ApplyOrder)),
            (
                changing,
                Endpoint("POST", f"{PATH}/delete", "Delete them.", self.delete, Applied, body=DeleteOrder),
            ),
        ]
        return [
            self._door.guarded(needs, msgspec.structs.replace(endpoint, body_bytes_max=BODY_BYTES_MAX))
            for needs, endpoint in declared
        ]

    async def find(self, call: Call) -> list[DocumentShown]:
        return self._documents.find(call.fields)

    async def get(self, call: Call) -> DocumentShown:
        return self._documents.get(call.fields)

    async def diff(self, call: Call) -> Differences:
        return await self._documents.differences(call.body)

    async def apply(self, call: Call) -> Applied:
        return await self._documents.apply(call.actor, call.body)

    async def delete(self, call: Call) -> Applied:
        return await self._documents.delete(call.actor, call.body)
