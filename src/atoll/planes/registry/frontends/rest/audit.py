"""The audit log over the registry's own API: look, and check that nobody changed it. For administrators."""

from __future__ import annotations

from atoll.planes.registry.frontends.rest.door import Call, Door, administering, get
from atoll.planes.registry.service.audit import Asked, Audit
from atoll.resources.access_api import AnchorAsked, AuditAsked, AuditPage
from atoll.resources.audit import Head, Verdict
from atoll.runtime.http_api import Endpoint


class AuditApi:
    def __init__(self, audit: Audit, door: Door) -> None:
        self._audit = audit
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        declared = [
            get("/v1/audit", "Changes, newest first.", self.search, AuditPage, AuditAsked),
            get("/v1/audit/verify", "Check the chain.", self.verify, Verdict, AnchorAsked),
        ]
        return [self._door.guarded(administering, endpoint) for endpoint in declared]

    async def search(self, call: Call) -> AuditPage:
        asked: AuditAsked = call.fields
        wanted = Asked(asked.user, asked.action, asked.subject, asked.since_s, asked.until_s)
        page = await self._audit.search(wanted, asked.count, asked.before)
        return AuditPage(page.entries, page.before)

    async def verify(self, call: Call) -> Verdict:
        asked: AnchorAsked = call.fields
        return await self._audit.verify(Head(entries=asked.entries, link=asked.link) if asked.link else None)
