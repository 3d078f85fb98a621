"""What happened on a node, as its event log keeps it, and the answers that are drawn from it.

Rule: an event says what its node saw, by that node's clock; ``id`` orders the events of one node. Between nodes there is
no such order, so an answer that is put together from several nodes says which node each part is from.

Kinds are stored by number (``store.event_log``); answers are never stored.
"""

from __future__ import annotations

import enum

import msgspec


class Kind(enum.IntEnum):
    """Numbers are in the file."""

    CONNECTED = 1
    GONE = 2
    CHANGED = 3
    SUBSCRIBED = 4
    UNSUBSCRIBED = 5
    PUSHED = 6
    ACKNOWLEDGED = 7
    FAILED = 8
    FETCHED = 9
    STARTED = 10  # the log was opened: what happened before, since the event before this one, is not in it
    DROPPED = 11  # ``detail`` events did not fit


class Event(msgspec.Struct, frozen=True, gc=False):
    """``subject``, ``client`` and ``digest`` are empty where the kind has none."""

    id: int
    at_s: float
    kind: int
    subject: str = ""
    client: str = ""
    digest: str = ""
    detail: str = ""


class Moved(msgspec.Struct, frozen=True, gc=False):
    """One instance as it was from ``at_s`` on; ``value`` is JSON, empty: gone."""

    at_s: float
    subject: str
    instance: str
    value: str


class Cause(msgspec.Struct, frozen=True):
    """One link of an explanation. ``what`` is a kind in lower case."""

    at_s: float
    what: str
    text: str


class Explanation(msgspec.Struct, frozen=True):
    """Why ``client`` held what it held of ``subject`` at ``at_s``.

    ``held``: the state's digest, empty for none (or none known); ``held_since_s`` 0: not known. ``acknowledged_s``: when
    the client said that it has it, 0: it never did. ``newest``: the state that the node itself knew at that time.
    ``causes`` in order of time; ``gaps``: what the log does not know.
    """

    node: str
    client: str
    subject: str
    at_s: float
    connected: bool
    subscribed: bool
    held: str
    held_since_s: float
    acknowledged_s: float
    newest: str
    verdict: str
    causes: tuple[Cause, ...]
    gaps: tuple[str, ...] = ()


class Placed(msgspec.Struct, frozen=True):
    """An instance as it was: ``value`` is what was published, with health, weight and the rest (JSON). ``nodes``: who saw
    it so.
    """

    subject: str
    instance: str
    value: msgspec.Raw
    nodes: tuple[str, ...] = ()


class Topology(msgspec.Struct, frozen=True):
    """All instances at ``at_s``, by subject. ``nodes``: who was asked and answered; ``remarks``: what is not certain."""

    at_s: float
    instances: tuple[Placed, ...]
    nodes: tuple[str, ...]
    remarks: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """``before`` or ``after`` None: it was not there."""

    subject: str
    instance: str
    before: msgspec.Raw | None
    after: msgspec.Raw | None


class Differences(msgspec.Struct, frozen=True):
    from_s: float
    to_s: float
    instances: tuple[Difference, ...]
    remarks: tuple[str, ...] = ()
