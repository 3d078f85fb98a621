"""Tells the control plane what the proxy served, so that a change of policy can be judged by its traffic.

Rule: a report that cannot be made or delivered is left out; the next one tells everything again, because counts only grow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from atoll.errors import AtollError
from atoll.host.sidecar.admin import Admin
from atoll.host.sidecar.stats import TARGET, read_traffic
from atoll.resources.mesh.traffic import ReportTaken, TrafficReport
from atoll.runtime import loop
from atoll.runtime.logs import Log

FIRST_S = 1.0
AGAIN_S = 5.0  # after one that failed

Send: TypeAlias = Callable[[TrafficReport], Awaitable[ReportTaken]]


class Reporter:
    """``run_id``: what tells counts of this proxy from those of one that started anew."""

    def __init__(self, admin: Admin, node: str, send: Send, log: Log) -> None:
        self._admin = admin
        self._node = node
        self._send = send
        self._log = log
        self._failing = False

    async def run(self, run_id: Callable[[], str]) -> None:
        """Report for ever, as often as the control plane wants it."""
        wait_s = FIRST_S
        while True:
            await loop.sleep(wait_s)
            wait_s = await self._report(run_id())

    async def _report(self, run_id: str) -> float:
        """When to do it again."""
        body = await self._admin.get(TARGET)
        if not body:
            return AGAIN_S
        try:
            taken = await self._send(read_traffic(self._node, run_id, body))
        except AtollError as error:
            if not self._failing:
                self._log.warning("what the proxy served is not reported", error=error.message)
            self._failing = True
            return AGAIN_S
        self._failing = False
        return taken.next_s
