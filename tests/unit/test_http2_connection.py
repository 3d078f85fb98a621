"""The HTTP/2 machine and an independent client (h2), back to back: requests, answers, flow control, both ends."""

from __future__ import annotations

import h2.events
import pytest

from atoll.wire.http2 import frames
from atoll.wire.http2.facts import (
    DataReceived,
    PeerLeaves,
    PingAnswered,
    RequestStarted,
    StreamReset,
    TrailersReceived,
    Writable,
)
from atoll.wire.http2.fields import BlockDecoder
from atoll.wire.http2.frames import END_HEADERS, END_STREAM, ErrorCode, FrameType, Setting
from atoll.wire.http2.limits import Limits
from tests.unit import http2_peers as peers
from tests.unit.http2_peers import END, GRPC, OK, Wired, of_type


def test_a_request_and_its_answer_with_trailers() -> None:
    wired = Wired()
    stream_id = wired.request(end=False)
    wired.client.send_data(stream_id, b"ping", end_stream=True)
    facts, _ = wired.exchange()
    assert isinstance(facts[0], RequestStarted) and facts[0].fields.pairs == GRPC and not facts[0].ended
    assert facts[1:] == [DataReceived(stream_id, b"ping", True)]
    wired.server.respond(stream_id, OK, b"pong", END)
    _, events = wired.exchange()
    assert of_type(h2.events.ResponseReceived, events)[0].headers == list(OK)
    assert of_type(h2.events.DataReceived, events)[0].data == b"pong"
    assert of_type(h2.events.TrailersReceived, events)[0].headers == list(END)
    assert of_type(h2.events.StreamEnded, events)
    assert wired.server.streams_open == 0


def test_trailers_of_a_request_end_it() -> None:
    wired = Wired()
    stream_id = wired.request(end=False)
    wired.client.send_headers(stream_id, [(b"checksum", b"1")], end_stream=True)
    facts, _ = wired.exchange()
    (trailers,) = of_type(TrailersReceived, facts)
    assert trailers.fields.pairs == ((b"checksum", b"1"),)


def test_a_repeated_head_comes_from_the_cache_until_the_table_changes() -> None:
    wired = Wired()
    seen = []
    for extra in (b"a", b"a", b"a", b"b", b"a"):
        stream_id: int = wired.client.get_next_available_stream_id()
        wired.client.send_headers(stream_id, [*GRPC, (b"x-who", extra)], end_stream=True)
        facts, _ = wired.exchange()
        seen.append(of_type(RequestStarted, facts)[0].fields)
    assert [fields.pairs[-1] for fields in seen] == [(b"x-who", e) for e in (b"a", b"a", b"a", b"b", b"a")]
    assert seen[1] is seen[2]


def test_a_cached_block_is_read_anew_after_the_table_changed() -> None:
    decoder = BlockDecoder(Limits())
    newest = b"\xbe"  # the newest entry of the dynamic table
    for value in (b"1", b"2"):
        decoder.decode(b"\x40\x01a\x01" + value)  # a literal with incremental indexing
        assert decoder.decode(newest).pairs == ((b"a", value),)
        assert decoder.decode(newest) is decoder.decode(newest)


def test_a_table_of_one_entry_that_is_replaced_twice_counts_as_changed() -> None:
    decoder = BlockDecoder(Limits())
    decoder.decode(b"\x3f\x09" + b"\x40\x01a\x01" + b"0")  # room for 40 bytes: one entry
    assert decoder.decode(b"\xbe").pairs == ((b"a", b"0"),)
    decoder.decode(b"\x40\x01a\x011" + b"\x40\x01a\x012")
    assert decoder.decode(b"\xbe").pairs == ((b"a", b"2"),)


def test_a_large_answer_obeys_both_windows_and_arrives_whole() -> None:
    wired = Wired()
    stream_id = wired.request()
    wired.exchange()
    body = bytes(range(256)) * 1_000
    wired.server.send_headers(stream_id, OK)
    wired.server.send_data(stream_id, body)
    wired.server.send_headers(stream_id, END, end=True)
    got = bytearray()
    while True:
        _, events = wired.exchange()  # h2 raises if a window is overrun
        parts = of_type(h2.events.DataReceived, events)
        for part in parts:
            got += part.data
            wired.client.acknowledge_received_data(part.flow_controlled_length, stream_id)
        if of_type(h2.events.StreamEnded, events):
            break
        assert parts, "no progress"
    assert got == body


def test_without_a_window_update_no_byte_goes_beyond_the_window() -> None:
    wired = Wired()
    stream_id = wired.request()
    wired.exchange()
    wired.server.send_headers(stream_id, OK)
    wired.server.send_data(stream_id, b"x" * 100_000)
    output = wired.server.take_output()
    assert wired.server.pump() == [] and wired.server.take_output() == b""
    assert sum(len(payload) for kind, _, _, payload in peers.sent(output) if kind == FrameType.DATA) == 65_535


def test_a_shrinking_initial_window_applies_to_open_streams() -> None:
    connection = peers.started()
    connection.receive(peers.request(1), 0.0)
    connection.send_headers(1, OK)
    connection.send_data(1, b"x" * 1_000)
    connection.take_output()
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 500}), 0.0)  # window is now -500
    connection.take_output()
    connection.send_data(1, b"y" * 10)
    assert connection.take_output() == b""
    connection.receive(frames.window_update(1, 505), 0.0)
    assert [frame[3] for frame in peers.sent(connection.take_output())] == [b"y" * 5]


def test_streams_with_waiting_data_take_turns() -> None:
    connection = peers.started()
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**20}), 0.0)
    connection.receive(peers.request(1) + peers.request(3), 0.0)
    for stream_id in (1, 3):
        connection.send_headers(stream_id, OK)
        connection.send_data(stream_id, b"z" * 200_000)
    connection.take_output()
    connection.receive(frames.window_update(0, 16_384 * 4), 0.0)
    streams = [frame[2] for frame in peers.sent(connection.take_output()) if frame[0] == FrameType.DATA]
    assert streams == [1, 3, 1, 3]


def test_output_beyond_its_bound_waits_for_the_transport() -> None:
    connection = peers.started(Limits(output_bytes_high=50_000))
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**20}), 0.0)
    connection.receive(frames.window_update(0, 2**20) + peers.request(1), 0.0)
    connection.send_headers(1, OK)
    connection.send_data(1, b"x" * 300_000)
    sizes = []
    while connection.pending:
        sizes.append(connection.output_bytes)
        connection.take_output()
        connection.pump()
    assert max(sizes) < 50_000 + 2 * 16_384 and len(sizes) >= 4


def test_sending_more_before_the_pump_runs_keeps_order_and_loses_nothing() -> None:
    connection = peers.started(Limits(output_bytes_high=1_000))
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**20}) + peers.request(1), 0.0)
    connection.send_headers(1, OK)
    connection.send_data(1, b"a" * 2_000)
    connection.send_data(1, b"b" * 500)  # held: there is output enough
    output = connection.take_output()
    connection.send_data(1, b"c" * 500)  # takes the held part with it
    assert connection.pump() == [] and not connection.pending
    parts = peers.sent(output + connection.take_output())
    assert b"".join(part[3] for part in parts if part[0] == FrameType.DATA) == (
        b"a" * 2_000 + b"b" * 500 + b"c" * 500
    )


def test_a_sender_is_told_to_wait_and_told_when_there_is_room() -> None:
    connection = peers.started(Limits(send_buffer_bytes_high=100_000))
    connection.receive(peers.request(1), 0.0)
    connection.send_headers(1, OK)
    assert connection.send_data(1, b"x" * 150_000)  # 84,465 are held
    assert not connection.send_data(1, b"x" * 50_000)
    updates = frames.window_update(0, 60_000) + frames.window_update(1, 60_000)
    assert connection.receive(updates, 0.0) == []  # 74,465: not yet half
    assert connection.receive(updates, 0.0) == [Writable(1)]


def test_a_sender_that_does_not_wait_loses_its_stream() -> None:
    connection = peers.started(Limits(send_buffer_bytes_max=100_000))
    connection.receive(peers.request(1), 0.0)
    connection.send_headers(1, OK)
    connection.send_data(1, b"x" * 200_000)
    connection.send_data(1, b"x")
    assert [type(fact) for fact in connection.pump()] == [StreamReset]
    assert peers.sent(connection.take_output())[-1][0] == FrameType.RST_STREAM
    assert connection.streams_open == 0


def test_a_peer_that_takes_in_nothing_cannot_make_us_hold_without_bound() -> None:
    connection = peers.started(Limits(held_bytes_max=1_000_000))
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}), 0.0)
    answered, resets = [], []
    for stream_id in range(1, 41, 2):
        connection.receive(peers.request(stream_id), 0.0)
        connection.respond(stream_id, OK, b"x" * 300_000, END)
        resets += of_type(StreamReset, connection.pump())
        answered.append(any(f[0] == FrameType.HEADERS for f in peers.sent(connection.take_output())))
    assert answered == [True] * 4 + [False] * 16 and connection.streams_open == 4
    assert [reset.stream_id for reset in resets] == list(range(9, 41, 2))
    connection.receive(frames.rst_stream(1, ErrorCode.CANCEL), 0.0)  # makes room
    connection.receive(peers.request(41), 0.0)
    connection.respond(41, OK, b"x", END)
    assert connection.streams_open == 4


def test_trailers_wait_behind_held_data() -> None:
    connection = peers.started()
    connection.receive(peers.request(1), 0.0)
    connection.respond(1, OK, b"x" * 70_000, END)
    assert not peers.sent(connection.take_output())[-1][1] & END_STREAM
    connection.receive(frames.window_update(0, 70_000) + frames.window_update(1, 70_000), 0.0)
    kinds = [(kind, flags) for kind, flags, _, _ in peers.sent(connection.take_output())]
    assert kinds == [(FrameType.DATA, 0), (FrameType.HEADERS, END_HEADERS | END_STREAM)]
    assert connection.streams_open == 0


def test_an_unread_stream_stops_itself_and_no_other() -> None:
    limits = Limits(stream_window_bytes=65_535, connection_window_bytes=200_000)
    wired = Wired(limits)
    slow, quick = wired.request(end=False), wired.request(end=False)
    wired.exchange()
    for _ in range(3):
        wired.client.send_data(slow, b"s" * 16_384)
    taken = 0
    for _ in range(40):
        wired.client.send_data(quick, b"q" * 16_384)
        facts, _ = wired.exchange()
        for fact in of_type(DataReceived, facts):
            if fact.stream_id == quick:
                taken += len(fact.data)
                wired.server.acknowledge(quick, len(fact.data))
        wired.exchange()
    assert taken == 40 * 16_384
    assert wired.client.local_flow_control_window(slow) == 65_535 - 3 * 16_384
    wired.server.acknowledge(slow, 3 * 16_384)
    wired.exchange()
    assert wired.client.local_flow_control_window(slow) == 65_535


def test_an_early_answer_resets_the_rest_of_the_request() -> None:
    wired = Wired()
    stream_id = wired.request(end=False)
    wired.exchange()
    wired.server.send_headers(stream_id, (*OK, *END), end=True)
    _, events = wired.exchange()
    (reset,) = of_type(h2.events.StreamReset, events)
    assert reset.error_code == ErrorCode.NO_ERROR


def test_late_frames_for_a_stream_that_we_reset_do_no_harm() -> None:
    connection = peers.started()
    connection.receive(peers.headers(1), 0.0)
    connection.reset(1, ErrorCode.CANCEL)
    late = peers.data(1, b"x") + peers.headers(1, ((b"t", b"1"),), END_STREAM) + frames.window_update(1, 1)
    assert connection.receive(late, 0.0) == []
    assert connection.receive(peers.request(3), 0.0)


def test_a_reset_by_the_peer_drops_the_stream_and_what_it_held() -> None:
    connection = peers.started()
    connection.receive(peers.request(1), 0.0)
    connection.respond(1, OK, b"x" * 200_000, END)
    facts = connection.receive(frames.rst_stream(1, ErrorCode.CANCEL), 0.0)
    assert facts == [StreamReset(1, ErrorCode.CANCEL, True)]
    assert connection.streams_open == 0
    connection.take_output()
    connection.receive(frames.window_update(0, 200_000), 0.0)
    connection.send_data(1, b"more")
    assert connection.take_output() == b""


def test_a_long_block_is_cut_into_continuations_and_put_together_again() -> None:
    wired = Wired()
    stream_id = wired.request()
    wired.exchange()
    large = tuple((b"x-%d" % at, b"v" * 1_000) for at in range(40))
    wired.server.send_headers(stream_id, (*OK, *large))
    _, events = wired.exchange()
    assert of_type(h2.events.ResponseReceived, events)[0].headers == [*OK, *large]


def test_a_block_in_continuations_is_one_request() -> None:
    connection = peers.started()
    whole = peers.block()
    parts = frames.frame(FrameType.HEADERS, END_STREAM, 1, whole[:5])
    parts += frames.frame(FrameType.CONTINUATION, 0, 1, b"")
    parts += frames.frame(FrameType.CONTINUATION, END_HEADERS, 1, whole[5:])
    (fact,) = connection.receive(parts, 0.0)
    assert isinstance(fact, RequestStarted) and fact.fields.pairs == GRPC and fact.ended


def test_padding_and_priority_are_taken_off_and_padding_is_given_back() -> None:
    connection = peers.started(Limits(stream_window_bytes=100))
    padded = b"\x03" + b"\0\0\0\0\x10" + peers.block() + b"\0" * 3
    head = frames.frame(FrameType.HEADERS, END_HEADERS | frames.PADDED | frames.PRIORITY_FLAG, 1, padded)
    body = frames.frame(FrameType.DATA, frames.PADDED, 1, b"\x32" + b"data" + b"\0" * 0x32)
    facts = connection.receive(head + body, 0.0)
    assert facts[1] == DataReceived(1, b"data", False)
    assert (FrameType.WINDOW_UPDATE, 0, 1, (51).to_bytes(4, "big")) in peers.sent(connection.take_output())


def test_ping_is_answered_and_our_ping_comes_back() -> None:
    wired = Wired()
    wired.client.ping(b"12345678")
    wired.server.ping(b"abcdefgh")
    facts, events = wired.exchange()
    assert of_type(h2.events.PingAckReceived, events)[0].ping_data == b"12345678"
    assert facts == [PingAnswered(b"abcdefgh")]


def test_the_peers_goaway_lets_open_streams_go_on() -> None:
    connection = peers.started()
    connection.receive(peers.request(1), 0.0)
    facts = connection.receive(frames.goaway(0, ErrorCode.NO_ERROR, b"bye"), 0.0)
    assert facts == [PeerLeaves(ErrorCode.NO_ERROR, b"bye")]
    connection.respond(1, OK, b"x", END)
    assert connection.take_output()


def test_leaving_takes_what_is_under_way_and_refuses_what_comes_after() -> None:
    connection = peers.started()
    connection.receive(peers.request(1), 0.0)
    connection.announce_leave()
    assert connection.receive(peers.request(3), 0.0)  # was under way
    connection.leave()
    first, last = [f for f in peers.sent(connection.take_output()) if f[0] == FrameType.GOAWAY]
    assert int.from_bytes(first[3][:4], "big") == 2**31 - 1 and int.from_bytes(last[3][:4], "big") == 3
    assert connection.receive(peers.headers(5) + peers.data(5, b"late"), 0.0) == []
    (reset,) = peers.sent(connection.take_output())
    assert reset[0] == FrameType.RST_STREAM and reset[3] == ErrorCode.REFUSED_STREAM.to_bytes(4, "big")
    connection.respond(1, OK, b"x", END)
    assert connection.take_output()


def test_sending_after_the_end_is_a_bug_that_shows() -> None:
    connection = peers.started()
    connection.receive(peers.request(1), 0.0)
    connection.respond(1, OK, b"x" * 100_000, END)
    with pytest.raises(RuntimeError, match="stream 1 has been ended"):
        connection.send_data(1, b"more")


def test_a_client_that_forbids_the_dynamic_table_is_obeyed() -> None:
    wired = Wired()
    wired.client.update_settings({Setting.HEADER_TABLE_SIZE: 0})
    for _ in range(3):
        stream_id = wired.request()
        wired.exchange()
        wired.server.respond(stream_id, (*OK, (b"x-a", b"b")), b"x", END)
        _, events = wired.exchange()
        assert of_type(h2.events.StreamEnded, events)
