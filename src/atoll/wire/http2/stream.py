"""One stream of a connection: its state, its windows, and what waits to be sent on it.

Rule: ``MOVES`` is RFC 9113's figure 2 for a server that never pushes and that resets what it has answered
early; a pair that is not in it is illegal. A stream that reached ``CLOSED`` is forgotten, so it has no row.
"""

from __future__ import annotations

import enum
from collections import deque

from atoll.wire.http2.fields import Pairs


class State(enum.IntEnum):
    OPEN = 1
    HALF_CLOSED_LOCAL = 2  # we have finished before the peer: only a reset can follow, and does at once
    HALF_CLOSED_REMOTE = 3  # the peer has finished
    CLOSED = 4


class Step(enum.IntEnum):
    RECEIVE_DATA = 1
    RECEIVE_END = 2  # END_STREAM, on DATA or on trailers
    SEND_PART = 3  # headers or data
    SEND_END = 4
    RESET = 5  # RST_STREAM, either way


MOVES: dict[tuple[State, Step], State] = {
    (State.OPEN, Step.RECEIVE_DATA): State.OPEN,
    (State.OPEN, Step.RECEIVE_END): State.HALF_CLOSED_REMOTE,
    (State.OPEN, Step.SEND_PART): State.OPEN,
    (State.OPEN, Step.SEND_END): State.HALF_CLOSED_LOCAL,
    (State.OPEN, Step.RESET): State.CLOSED,
    (State.HALF_CLOSED_LOCAL, Step.RESET): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Step.SEND_PART): State.HALF_CLOSED_REMOTE,
    (State.HALF_CLOSED_REMOTE, Step.SEND_END): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Step.RESET): State.CLOSED,
}


class Stream:
    """Windows are in bytes. ``held`` is data that found no window or no room; ``trailers`` follow it."""

    __slots__ = (
        "held",
        "held_bytes",
        "held_start",
        "received_bytes",
        "receive_window_bytes",
        "send_window_bytes",
        "state",
        "stream_id",
        "trailers",
        "unacknowledged_bytes",
        "expected_bytes",
        "told_to_wait",
        "ends_after_held",
    )

    def __init__(self, stream_id: int, receive_window_bytes: int, send_window_bytes: int) -> None:
        self.stream_id = stream_id
        self.state = State.OPEN
        self.receive_window_bytes = receive_window_bytes
        self.send_window_bytes = send_window_bytes
        self.unacknowledged_bytes = 0
        self.received_bytes = 0
        self.expected_bytes: int | None = None  # content-length
        self.held: deque[bytes] = deque()
        self.held_start = 0  # how much of the first of them has been sent
        self.held_bytes = 0
        self.trailers: Pairs | None = None
        self.ends_after_held = False
        self.told_to_wait = False
