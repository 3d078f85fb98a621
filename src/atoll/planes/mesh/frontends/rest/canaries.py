"""Canaries of policy over the node's API, and what proxies report for them at the port of xDS.

Rule: it decides nothing. Any account may look; whoever begins, promotes or cancels one is an administrator. A report is taken
from a proxy about itself alone, by its certificate.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from atoll.planes.mesh.frontends.rest.door import Call, Door, changing, looking
from atoll.planes.mesh.service.canaries import Canaries
from atoll.planes.mesh.service.plaintext import Plaintext
from atoll.resources.mesh.canary import Canary, CanaryAsked, CanaryMove, CanaryOrder, CanaryShown
from atoll.resources.mesh.document_api import TEXT_BYTES_MAX
from atoll.resources.mesh.traffic import REPORTS_PATH, ReportTaken, TrafficReport
from atoll.runtime.http_api import Asked, Endpoint
from atoll.runtime.peer import Peer

PATH = "/v1/mesh/canaries"
ONE = "/v1/mesh/canary"
BODY_BYTES_MAX = 2 * TEXT_BYTES_MAX + 65_536
REPORT_BYTES_MAX = 512 * 1024


class CanariesApi:
    def __init__(self, canaries: Canaries, door: Door) -> None:
        self._canaries = canaries
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        begin = Endpoint("POST", PATH, "Try documents on a share.", self.begin, CanaryShown, body=CanaryOrder)
        declared = [
            (looking, Endpoint("GET", PATH, "Canaries, the newest first.", self.find, list[Canary])),
            (looking, Endpoint("GET", ONE, "One of them.", self.get, CanaryShown, query=CanaryAsked)),
            (changing, msgspec.structs.replace(begin, body_bytes_max=BODY_BYTES_MAX)),
            (
                changing,
                Endpoint(
                    "POST", f"{ONE}/move", "Promote or cancel it.", self.move, CanaryShown, body=CanaryMove
                ),
            ),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    async def find(self, call: Call) -> list[Canary]:
        return self._canaries.every()

    async def get(self, call: Call) -> CanaryShown:
        return await self._canaries.shown(call.fields.name)

    async def begin(self, call: Call) -> CanaryShown:
        return await self._canaries.begin(call.actor, call.body)

    async def move(self, call: Call) -> CanaryShown:
        return await self._canaries.move(call.actor, call.body)


class ReportsApi:
    """``prove``: raises DENIED unless a peer is the node of this id."""

    def __init__(
        self, canaries: Canaries, plaintext: Plaintext, prove: Callable[[Peer, str], object]
    ) -> None:
        self._canaries = canaries
        self._plaintext = plaintext
        self._prove = prove

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                REPORTS_PATH,
                "What a proxy served.",
                self.report,
                ReportTaken,
                body=TrafficReport,
                open_to_all=True,
                body_bytes_max=REPORT_BYTES_MAX,
            )
        ]

    async def report(self, asked: Asked) -> ReportTaken:
        self._prove(asked.caller.peer or Peer(asked.caller.address), asked.body.node)
        self._plaintext.hear(asked.body)
        return self._canaries.hear(asked.body)
