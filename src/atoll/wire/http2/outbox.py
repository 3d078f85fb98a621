"""What goes out: encoded frames in order, under the peer's windows and our own bound on waiting bytes.

Rule: control frames and headers go at once; data goes only while the stream's window, the connection's window
and ``output_bytes_high`` allow it, and waits per stream otherwise. Streams with waiting data take turns, one
frame each, so that a large answer does not hold up the small ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from atoll.wire.http2 import fields, frames
from atoll.wire.http2.fields import Pairs
from atoll.wire.http2.frames import END_STREAM, FRAME_BYTES_MAX, FrameType
from atoll.wire.http2.limits import Limits
from atoll.wire.http2.stream import Stream


class Outbox:
    """``ended`` is called with a stream when its END_STREAM has been encoded."""

    def __init__(self, limits: Limits, ended: Callable[[Stream], None]) -> None:
        self._limits = limits
        self._ended = ended
        self._parts: list[bytes] = []
        self._waiting: OrderedDict[int, Stream] = OrderedDict()  # hold data, and a window for it; in turn
        self._opening = fields.NO_DYNAMIC_TABLE
        self.size_bytes = 0
        self.held_bytes = 0  # of all streams
        self.frames_sent = 0  # headers and data
        self.window_bytes = frames.WINDOW_BYTES_DEFAULT
        self.stream_window_bytes = frames.WINDOW_BYTES_DEFAULT  # the peer's SETTINGS_INITIAL_WINDOW_SIZE

    @property
    def may_pump(self) -> bool:
        """Data waits, and not for a window."""
        return bool(self._waiting) and self.window_bytes > 0

    @property
    def _has_room(self) -> bool:
        return self.window_bytes > 0 and self.size_bytes < self._limits.output_bytes_high

    def write(self, encoded: bytes) -> None:
        self._parts.append(encoded)
        self.size_bytes += len(encoded)

    def take(self) -> bytes:
        """All encoded bytes; they are the transport's from now on."""
        taken = b"".join(self._parts)
        self._parts.clear()
        self.size_bytes = 0
        return taken

    def headers(self, stream: Stream, pairs: Pairs, *, end: bool) -> None:
        """A head, or with ``end`` trailers, which wait behind the stream's held data."""
        if stream.held:
            stream.trailers = pairs
            stream.ends_after_held = True
            return
        block = fields.encode(pairs)
        if self._opening:
            block, self._opening = self._opening + block, b""
        self.write(frames.headers(stream.stream_id, block, end_stream=end))
        self.frames_sent += 1
        if end:
            self._ended(stream)

    def data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        size = len(data)
        if (
            not stream.held
            and size <= stream.send_window_bytes
            and size <= self.window_bytes
            and size <= FRAME_BYTES_MAX
            and self.size_bytes < self._limits.output_bytes_high
        ):
            self._encode_data(stream, data, end=end)
            return
        stream.held.append(data)
        stream.held_bytes += size
        self.held_bytes += size
        stream.ends_after_held = end
        while stream.held and self._has_room and self._send_held(stream):
            pass
        self.widened(stream)

    def widened(self, stream: Stream) -> None:
        """The stream's window may be open: let it take its turn if it holds data."""
        if stream.held and stream.send_window_bytes > 0:
            self._waiting[stream.stream_id] = stream

    def pump(self) -> list[Stream]:
        """Encode held data as far as it may go; returns streams that were told to wait and have room now."""
        relieved: list[Stream] = []
        while self._waiting and self._has_room:
            _, stream = self._waiting.popitem(last=False)
            if not self._send_held(stream):
                continue  # its own window is shut: ``widened`` brings it back
            self.widened(stream)
            if stream.told_to_wait and stream.held_bytes * 2 <= self._limits.send_buffer_bytes_high:
                stream.told_to_wait = False
                relieved.append(stream)
        return relieved

    def forget(self, stream: Stream) -> None:
        """The stream is gone, and what it held with it."""
        self._waiting.pop(stream.stream_id, None)
        stream.held.clear()
        self.held_bytes -= stream.held_bytes
        stream.held_bytes = 0

    def _send_held(self, stream: Stream) -> bool:
        """One frame of a stream's held data; False: its own window is shut."""
        first, start = stream.held[0], stream.held_start
        room = min(stream.send_window_bytes, self.window_bytes, FRAME_BYTES_MAX)
        if room <= 0 and first:
            return False
        chunk = first[start : start + room]
        if start + len(chunk) == len(first):
            stream.held.popleft()
            stream.held_start = 0
        else:
            stream.held_start += len(chunk)
        stream.held_bytes -= len(chunk)
        self.held_bytes -= len(chunk)
        if stream.held:
            self._encode_data(stream, chunk, end=False)
        else:
            self._waiting.pop(stream.stream_id, None)
            self._send_last(stream, chunk)
        return True

    def _send_last(self, stream: Stream, chunk: bytes) -> None:
        trailers = stream.trailers
        self._encode_data(stream, chunk, end=stream.ends_after_held and trailers is None)
        if trailers is not None:
            self.headers(stream, trailers, end=True)

    def _encode_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        size = len(data)
        self.write(frames.frame(FrameType.DATA, END_STREAM if end else 0, stream.stream_id, data))
        self.frames_sent += 1
        stream.send_window_bytes -= size
        self.window_bytes -= size
        if end:
            self._ended(stream)
