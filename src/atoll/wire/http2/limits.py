"""Every limit of an HTTP/2 connection, and the two meters that enforce the ones about rates.

Rule: whatever a peer can make the server keep or do has a limit here with its unit in its name. A limit on
what is kept is exact; a limit on how often is a token bucket, because honest clients come in bursts.
"""

from __future__ import annotations

import msgspec

from atoll.wire.http2.frames import WINDOW_BYTES_DEFAULT


class Limits(msgspec.Struct, frozen=True):
    """What the server grants one connection. Sizes in bytes, rates in events per second.

    ``resets``: streams that ended by RST_STREAM from either side through the peer's doing (rapid reset,
    CVE-2023-44487, and its twin by provoked resets). ``controls``: PING, SETTINGS, PRIORITY, WINDOW_UPDATE,
    unknown and empty frames (SETTINGS count 20, as they touch every stream); a DATA frame sent or received with content gives tokens back. Pings are held
    to gRPC's keep-alive rule as well (proposal A8): with calls open ``ping_interval_s_min`` apart, without
    ``ping_idle_interval_s_min``; more than ``ping_strikes_max`` early ones end the connection.
    """

    streams_max: int = 1_024
    stream_window_bytes: int = 262_144
    connection_window_bytes: int = 4_194_304
    header_list_bytes_max: int = 16_384  # above: that request alone is refused
    header_list_bytes_fatal: int = 65_536  # above: the connection ends
    header_block_bytes_max: int = 65_536  # HEADERS with all its CONTINUATION frames
    continuation_frames_max: int = 16
    output_bytes_high: int = 262_144  # encoded bytes waiting for the transport before data is held back
    send_buffer_bytes_high: int = 262_144  # per stream: above, senders are told to wait
    send_buffer_bytes_max: int = 16_777_216  # per stream: a sender that did not wait loses its stream
    held_bytes_max: int = (
        134_217_728  # of all streams: the peer takes in too little; what comes on top is lost
    )
    resets_burst_max: int = 1_000
    resets_per_s_max: float = 50.0
    controls_burst_max: int = 10_000
    controls_per_s_max: float = 1_000.0
    ping_interval_s_min: float = 5.0
    ping_idle_interval_s_min: float = 7_200.0
    ping_strikes_max: int = 2

    def __post_init__(self) -> None:
        if self.connection_window_bytes < WINDOW_BYTES_DEFAULT:
            raise ValueError(
                f"connection_window_bytes must be at least {WINDOW_BYTES_DEFAULT}, HTTP/2's default"
            )


class Bucket:
    """A token bucket that starts full. Time is an argument."""

    __slots__ = ("_at_s", "_burst", "_per_s", "_tokens")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = burst
        self._at_s: float | None = None

    def take(self, now_s: float, tokens: float = 1.0) -> bool:
        """Take tokens; False: there were not so many."""
        if self._at_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def give(self, tokens: float) -> None:
        self._tokens = min(self._burst, self._tokens + tokens)


class PingRule:
    """gRPC's rule against pings that come too often (proposals A8 and A9)."""

    __slots__ = ("_frames_sent", "_idle_interval_s", "_interval_s", "_last_s", "_strikes", "_strikes_max")

    def __init__(self, limits: Limits) -> None:
        self._interval_s = limits.ping_interval_s_min
        self._idle_interval_s = limits.ping_idle_interval_s_min
        self._strikes_max = limits.ping_strikes_max
        self._strikes = 0
        self._frames_sent = 0
        self._last_s: float | None = None

    def allows(self, now_s: float, calls_open: bool, frames_sent: int) -> bool:
        """Count a ping; False: too many came too early. ``frames_sent``: headers and data that went out so far;
        where there are new ones all is forgiven, because a client measures its bandwidth so.
        """
        if frames_sent != self._frames_sent:
            self._frames_sent = frames_sent
            self._strikes = 0
            self._last_s = now_s
            return True
        interval_s = self._interval_s if calls_open else self._idle_interval_s
        if self._last_s is not None and now_s - self._last_s < interval_s:
            self._strikes += 1
        self._last_s = now_s
        return self._strikes <= self._strikes_max
