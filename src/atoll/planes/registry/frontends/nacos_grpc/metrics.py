"""What a client says of its own caches of configuration, when somebody asks.

Rule: an answer that does not come in time is an empty one; the client may be an old one, or not listen at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atoll.planes.registry.frontends.nacos_grpc.connections import Connection
from atoll.planes.registry.frontends.nacos_grpc.pushes import CONFIG_METRICS, Message, Outcome
from atoll.runtime import loop
from atoll.wire.nacos import answers, requests
from atoll.wire.nacos.requests import Body

_ANSWER = Body(requests.Acknowledgement)


async def ask(
    connection: Connection, keys: Sequence[tuple[str, str]], now_s: float, within_s: float
) -> Mapping[str, Any]:
    """``keys``: (``cacheData`` or ``snapshotData``, name of an item)."""
    wanted = [answers.MetricsKey(kind, name) for kind, name in keys]
    body = answers.encode(answers.ClientConfigMetricRequest(wanted))
    found: dict[str, Any] = {}
    ended = loop.Event()

    def answered(data: bytes) -> None:
        found.update(_ANSWER.read(data).metrics or {})

    def over(_outcome: Outcome) -> None:
        ended.set()

    message = Message(CONFIG_METRICS, ("metrics", id(ended)), lambda: body, over, answered)
    connection.pushes.offer(message, now_s)
    await loop.wait_event(ended, within_s)
    return found
