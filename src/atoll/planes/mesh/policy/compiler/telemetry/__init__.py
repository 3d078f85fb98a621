"""What a proxy tells of the traffic that it saw: access logs and traces, as ``Telemetry`` documents and the mesh's choices
say. Metrics need no word here: Envoy counts by listener, route and cluster, and whoever wants them asks it.

Rule: a proxy sends what it saw straight to where it is kept; nothing on a request's way waits for it, and what cannot be
sent is dropped and counted.

Of several documents the most specific one that speaks of this side decides, for logs and for traces apart; what a tracing
entry leaves open, the next one says: workload, namespace, mesh, choices. Istio's semantics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from atoll.planes.mesh.model.world import Choices, World
from atoll.planes.mesh.policy.compiler import parts
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.parts import Parts
from atoll.planes.mesh.policy.compiler.telemetry import collector, logs, traces
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents import telemetry as documents

CLIENT, SERVER = "CLIENT", "SERVER"
_BOTH = "CLIENT_AND_SERVER"
ENVOY, OTEL = documents.PROVIDERS


class Observed(msgspec.Struct, frozen=True):
    """``access_logs``: ``AccessLog`` messages. ``tracing``: of the HTTP connection manager, None: no traces."""

    access_logs: tuple[Any, ...] = ()
    tracing: Any = None


NOT_OBSERVED = Observed()


def observed(said: Sequence[documents.Telemetry], side: str, client: Client, choices: Choices) -> Observed:
    """``said``: the documents in force for ``client``, the most specific first. ``side``: CLIENT or SERVER."""
    return Observed(_access_logs(said, side, client, choices), _tracing(said, side, client, choices))


def parts_for(world: World, memo: Memo) -> Parts:
    """What every Envoy needs to tell of anything."""
    if not world.choices.otlp:
        return Parts()
    return memo.piece(
        "telemetry",
        (world.choices,),
        lambda: Parts(clusters=parts.by_name([collector.cluster(world.choices.otlp)])),
    )


def _access_logs(
    said: Sequence[documents.Telemetry], side: str, client: Client, choices: Choices
) -> tuple[Any, ...]:
    default = tuple(name for name, is_set in ((ENVOY, choices.access_log), (OTEL, choices.otlp)) if is_set)
    entries = next((found for one in said if (found := _of_side(one.accessLogging, side))), None)
    if entries is None:
        return _loggers(default, None, client, choices)
    made: list[Any] = []
    for entry in entries:
        if not entry.disabled:
            names = tuple(provider.name for provider in entry.providers) or default
            made += _loggers(names, entry.filter, client, choices)
    return tuple(made)


def _loggers(
    names: Iterable[str], condition: documents.LogFilter | None, client: Client, choices: Choices
) -> tuple[Any, ...]:
    made = []
    for name in dict.fromkeys(names):
        if name == ENVOY and choices.access_log:
            made.append(logs.to_file(choices.access_log, condition))
        elif name == OTEL and choices.otlp:
            made.append(logs.to_collector(client, condition))
    return tuple(made)


def _tracing(said: Sequence[documents.Telemetry], side: str, client: Client, choices: Choices) -> Any:
    if not choices.otlp:
        return None
    entries = [entry for one in said for entry in _of_side(one.tracing, side)]
    disabled = next(
        (one.disableSpanReporting for one in entries if one.disableSpanReporting is not None), False
    )
    if disabled:
        return None
    percents = (one.randomSamplingPercentage for one in entries)
    percent = next((one for one in percents if one is not None), choices.trace_percent)
    tags: Mapping[str, documents.CustomTag] = next((one.customTags for one in entries if one.customTags), {})
    return traces.tracing(client, percent, tags)


def _of_side(entries: Sequence[Any], side: str) -> list[Any]:
    return [entry for entry in entries if entry.match.mode in (side, _BOTH)]
