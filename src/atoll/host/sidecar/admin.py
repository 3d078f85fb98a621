"""What is asked of an Envoy over its admin socket: whether it is ready, what is under way, that it drain.

Rule: an answer is a value, and no answer is one too (``None``, "not ready"): a proxy that cannot be asked is treated by its
process's end, not by an error here.

Ready is Envoy's own word, ``LIVE``: its first clusters and listeners are warm (endpoints, routes, secrets fetched). It is
never given without a word of the control plane, because the bootstrap waits for that without a bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from atoll.errors import AtollError
from atoll.runtime import http_client
from atoll.runtime.http_client import HttpRequest
from atoll.runtime.net import UNIX_SCHEME

ASK_WITHIN_S = 2.0
_LIVE = "LIVE"
_FETCHED = {
    "clusters": "cluster_manager.cds.update_success",
    "listeners": "listener_manager.lds.update_success",
}
_WARMING = {
    "clusters": "cluster_manager.warming_clusters",
    "listeners": "listener_manager.total_listeners_warming",
}
_STATS = "|".join(f"^{re.escape(name)}$" for name in (*_FETCHED.values(), *_WARMING.values()))
INBOUND_ACTIVE = r"^cluster\.inbound\|.*\.upstream_rq_active$"
OUTBOUND_ACTIVE = r"^cluster\.outbound\|.*\.upstream_rq_active$"


class Waiting(msgspec.Struct, frozen=True):
    """What a proxy that is not ready waits for, in words; empty: it is ready."""

    reason: str = ""

    @property
    def is_ready(self) -> bool:
        return not self.reason


class Admin:
    """The admin interface at the Unix socket ``path``."""

    def __init__(self, path: Path) -> None:
        self._base = f"{UNIX_SCHEME}{path}"

    async def readiness(self, epoch: int) -> Waiting:
        """Of the proxy of that epoch: the one before it may still answer here."""
        info = await self._json("/server_info")
        if info is None:
            return Waiting("its admin interface")
        if info.get("command_line_options", {}).get("restart_epoch", 0) != epoch:
            return Waiting("the proxy before it to hand over")
        return Waiting("" if info.get("state") == _LIVE else _missing(await self.numbers(_STATS)))

    async def version(self) -> str:
        """Of the Envoy that answers, e.g. ``1.40.0``; empty: none does."""
        info = await self._json("/server_info")
        parts = str(info.get("version", "")).split("/") if info else []
        return parts[1] if len(parts) > 1 else ""

    async def numbers(self, pattern: str) -> dict[str, float]:
        """Counters and gauges whose name matches; empty where nobody answers."""
        found = await self._json(f"/stats?format=json&filter={_quoted(pattern)}")
        stats = found.get("stats", []) if found else []
        return {each["name"]: float(each["value"]) for each in stats if "name" in each and "value" in each}

    async def drain(self, *, inbound_only: bool) -> None:
        """Ask clients to go elsewhere, response by response; connections are taken on meanwhile."""
        scope = "inboundonly&" if inbound_only else ""
        await self._ask("POST", f"/drain_listeners?{scope}graceful&skip_exit")

    async def get(self, target: str) -> bytes:
        """What it answers; empty: it does not."""
        return await self._ask("GET", target)

    async def _json(self, target: str) -> dict[str, Any] | None:
        body = await self._ask("GET", target)
        try:
            return dict(msgspec.json.decode(body)) if body else None
        except msgspec.MsgspecError:
            return None

    async def _ask(self, method: str, target: str) -> bytes:
        """Empty: no answer, or a refusal."""
        request = HttpRequest(method, target, {}, within_s=ASK_WITHIN_S)
        try:
            async with http_client.open_answer(self._base, request) as answer:
                return await answer.body() if answer.status == 200 else b""
        except AtollError:
            return b""


def _missing(stats: Mapping[str, float]) -> str:
    """What an Envoy that is not live waits for, by its statistics."""
    unanswered = [what for what, name in _FETCHED.items() if not stats.get(name)]
    if unanswered:
        return f"{' and '.join(unanswered)} from the control plane"
    warming = [f"{stats[name]:.0f} {what}" for what, name in _WARMING.items() if stats.get(name)]
    return f"{' and '.join(warming)} to be warm" if warming else "its initialisation"


def _quoted(pattern: str) -> str:
    return "".join(each if each.isalnum() or each in "._-$^" else f"%{ord(each):02X}" for each in pattern)
