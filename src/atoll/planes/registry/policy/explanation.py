"""From events to an explanation: why a client held a list or a configuration at a time, and when it said so.

Rule: pure; events come in the order in which the node wrote them, and only what they say is said. A list arrives whole
with its push, so a client holds it when it acknowledges; a push of a configuration is only a hint, so a client holds what it
fetched afterwards, or said that it has when it began to listen.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from atoll.resources.events import Cause, Event, Explanation, Kind, Moved

CAUSES_MAX = 200  # of one explanation; the oldest go first
_TOLD = ("healthy", "enabled", "weight")
GAPS_MAX = 10
_HINT_ONLY = ":config/"


class Evidence(msgspec.Struct, frozen=True):
    """What one node knows. ``pair``: of client and subject; ``changes``: of a configuration; ``moves``: of a service's
    instances; ``client``: connected and gone; ``marks``: where the log was opened or lost something. All up to the time
    asked for.
    """

    pair: Sequence[Event]
    changes: Sequence[Event]
    client: Sequence[Event]
    marks: Sequence[Event]
    moves: Sequence[Moved] = ()


class _Held(msgspec.Struct):
    """What the client has, as the events go by."""

    subscribed: bool = False
    digest: str = ""
    since_s: float = 0.0
    acknowledged_s: float = 0.0
    pushed: str = ""
    pushed_s: float = 0.0


def explain(node: str, client: str, subject: str, at_s: float, evidence: Evidence) -> Explanation:
    """The explanation that one node can give."""
    held = _held(evidence.pair, evidence.client, _HINT_ONLY in subject)
    newest = evidence.changes[-1].digest if evidence.changes else held.pushed or held.digest
    connected = bool(evidence.client) and evidence.client[-1].kind == Kind.CONNECTED
    left = bool(evidence.client) and not connected  # who asks over HTTP never connects
    causes = _causes(held, evidence)
    return Explanation(
        node=node,
        client=client,
        subject=subject,
        at_s=at_s,
        connected=connected,
        subscribed=held.subscribed,
        held=held.digest,
        held_since_s=held.since_s,
        acknowledged_s=held.acknowledged_s,
        newest=newest,
        verdict=_verdict(held, newest, evidence.moves) + ("; it was not connected any more" if left else ""),
        causes=causes,
        gaps=_gaps(evidence.marks, causes[0].at_s if causes else 0.0),
    )


def _held(pair: Sequence[Event], client: Sequence[Event], hint_only: bool) -> _Held:
    """``client``'s leaving ends its subscriptions, so both are read together, in order."""
    held = _Held()
    for event in sorted((*pair, *client), key=lambda one: one.id):
        match event.kind:
            case Kind.GONE | Kind.UNSUBSCRIBED:
                held.subscribed = False
            case Kind.SUBSCRIBED:
                held.subscribed = True
                _take(held, event)
            case Kind.FETCHED:
                _take(held, event)
            case Kind.PUSHED:
                held.pushed, held.pushed_s = event.digest, event.at_s
            case Kind.ACKNOWLEDGED:
                if not hint_only:
                    _take(held, event)
                if event.digest in (held.digest, held.pushed):
                    held.acknowledged_s = event.at_s
    return held


def _take(held: _Held, event: Event) -> None:
    if event.digest and event.digest != held.digest:
        if event.digest != held.pushed:
            held.acknowledged_s = 0.0
        held.digest, held.since_s = event.digest, event.at_s


def _verdict(held: _Held, newest: str, moves: Sequence[Moved]) -> str:
    if not held.digest:
        return "it held nothing that this node knows of"
    if newest != held.digest and held.pushed == newest:
        return "it was behind: the newest state had been sent, but not taken yet"
    if newest != held.digest and not held.subscribed:
        return "it was behind: it was not subscribed, so nothing was sent"
    if newest != held.digest:
        return "it was behind: the newest state had not been sent yet"
    if moves and moves[-1].at_s > max(held.pushed_s, held.since_s):
        return "it held the newest list that was sent; a change after it was not sent yet, or made no difference to it"
    return "it held the newest state"


_WORDS = {
    Kind.CONNECTED: "the client connected",
    Kind.GONE: "the client's connection ended",
    Kind.CHANGED: "this node saw a new state",
    Kind.SUBSCRIBED: "the client subscribed",
    Kind.UNSUBSCRIBED: "the client gave the subscription up",
    Kind.PUSHED: "sent to the client",
    Kind.ACKNOWLEDGED: "the client acknowledged",
    Kind.FAILED: "the push failed",
    Kind.FETCHED: "the client asked and got it",
}


def _causes(held: _Held, evidence: Evidence) -> tuple[Cause, ...]:
    """Everything since the connection began, in order, and what made the state that is held if it is older."""
    started = [event for event in evidence.client if event.kind == Kind.CONNECTED]
    first, first_s = (started[-1].id, started[-1].at_s) if started else (0, 0.0)
    chosen = [event for event in (*evidence.pair, *evidence.client, *evidence.changes) if event.id >= first]
    origin = [event for event in evidence.changes if event.digest == held.digest]
    if origin and origin[-1].id < first:
        chosen.append(origin[-1])
    chosen.sort(key=lambda event: event.id)
    causes = [_cause(event) for event in chosen]
    causes += [_moved(move) for move in evidence.moves if move.at_s >= first_s]
    causes.sort(key=lambda cause: cause.at_s)  # stable: events of one millisecond stay in their order
    return tuple(causes[-CAUSES_MAX:])


def _moved(move: Moved) -> Cause:
    if not move.value:
        return Cause(move.at_s, "instance", f"instance {move.instance} went")
    value = msgspec.json.decode(move.value, type=dict[str, object])
    state = ", ".join(f"{name} {str(value[name]).lower()}" for name in _TOLD if name in value)
    return Cause(move.at_s, "instance", f"instance {move.instance} came or changed: {state}")


def _cause(event: Event) -> Cause:
    kind = Kind(event.kind)
    text = _WORDS[kind]
    if event.digest:
        text += f" {event.digest}"
    if event.detail:
        text += f": {event.detail}"
    return Cause(event.at_s, kind.name.lower(), text)


def _gaps(marks: Sequence[Event], since_s: float) -> tuple[str, ...]:
    """What is missing between the first cause and the time asked for."""
    gaps: list[str] = []
    for mark in marks:
        if mark.at_s < since_s:
            continue
        if mark.kind == Kind.DROPPED:
            gaps.append(f"at {mark.at_s:.3f} {mark.detail} events did not fit into the log")
        else:
            gaps.append(
                f"the log was opened at {mark.at_s:.3f}; what happened while it was closed is not in it"
            )
    return tuple(gaps[-GAPS_MAX:])
