"""gRPC's own layer: messages, compression, status texts, timeouts and request heads."""

from __future__ import annotations

import gzip

import pytest

from atoll.wire.grpc import message, request, status, timeout
from atoll.wire.grpc.message import MessageFault, MessageReader
from atoll.wire.grpc.request import Head, Refusal
from atoll.wire.grpc.status import Status
from atoll.wire.http2.fields import Fields, Pairs
from tests.unit.http2_peers import GRPC, REQUEST

SIZE_MAX = 1_000


def compressed(plain: bytes) -> bytes:
    packed = gzip.compress(plain)
    return b"\1" + len(packed).to_bytes(4, "big") + packed


def test_messages_come_out_whole_however_they_were_cut() -> None:
    stream = message.encode(b"one") + message.encode(b"") + message.encode(b"x" * SIZE_MAX)
    for step in (1, 2, 3, 7, len(stream)):
        reader = MessageReader(SIZE_MAX)
        got = [m for at in range(0, len(stream), step) for m in reader.feed(stream[at : at + step])]
        assert got == [b"one", b"", b"x" * SIZE_MAX] and reader.buffered_bytes == 0
    reader = MessageReader(SIZE_MAX)
    assert reader.feed(stream[:-1]) == [b"one", b""] and reader.buffered_bytes == SIZE_MAX + 4


def test_a_compressed_message_is_unpacked_beside_plain_ones() -> None:
    reader = MessageReader(SIZE_MAX, b"gzip")
    assert reader.feed(compressed(b"a" * SIZE_MAX) + message.encode(b"b")) == [b"a" * SIZE_MAX, b"b"]


MESSAGE_FAULTS = {
    "flag 2": (b"\2\0\0\0\1x", b"gzip", Status.INTERNAL, "flag"),
    "too large": (b"\0\0\0\x03\xe9", b"gzip", Status.RESOURCE_EXHAUSTED, "(1001 vs. 1000)"),
    "too large, alone and whole": (
        message.encode(b"x" * 1_001),
        b"gzip",
        Status.RESOURCE_EXHAUSTED,
        "(1001 vs. 1000)",
    ),
    "four gigabytes": (b"\0\xff\xff\xff\xff", b"gzip", Status.RESOURCE_EXHAUSTED, "larger than max"),
    "bomb": (compressed(b"\0" * 900_000), b"gzip", Status.RESOURCE_EXHAUSTED, "more than 1000"),
    "no encoding named": (compressed(b"a"), b"identity", Status.INTERNAL, "without grpc-encoding"),
    "not gzip": (b"\1\0\0\0\4abcd", b"gzip", Status.INTERNAL, "not gzip"),
    "gzip cut off": (b"\1\0\0\0\x0f" + gzip.compress(b"abc" * 9)[:15], b"gzip", Status.INTERNAL, "cut off"),
    "bytes after gzip": (
        b"\1\0\0\0\x18" + gzip.compress(b"abc") + b"z",
        b"gzip",
        Status.INTERNAL,
        "after its end",
    ),
}


@pytest.mark.parametrize(("data", "encoding", "code", "text"), MESSAGE_FAULTS.values(), ids=MESSAGE_FAULTS)
def test_a_bad_message_is_a_fault_of_its_call(data: bytes, encoding: bytes, code: Status, text: str) -> None:
    with pytest.raises(MessageFault) as caught:
        MessageReader(SIZE_MAX, encoding).feed(data)
    assert caught.value.status is code and text in caught.value.text


@pytest.mark.parametrize("text", ["", "plain", "100 %", "größer als\n東京", "%41", "\x7f~ "])
def test_a_status_text_survives_its_encoding(text: str) -> None:
    encoded = status.encode_message(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert status.decode_message(encoded) == text


def test_a_status_text_is_cut_between_characters_of_its_encoding() -> None:
    for shift in range(3):
        encoded = status.encode_message("a" * shift + "\x01" * 3_000)
        assert len(encoded) <= status.MESSAGE_BYTES_MAX < len(encoded) + 3
        assert set(status.decode_message(encoded)) <= {"a", "\x01"}
    assert status.decode_message(b"%zz%4") == "%zz%4"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1S", 1.0),
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"250m", 0.25),
        (b"5u", 5e-6),
        (b"7n", 7e-9),
        (b"0n", 0.0),
    ],
)
def test_a_timeout_is_digits_and_a_unit(value: bytes, seconds: float) -> None:
    assert timeout.decode_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", [b"", b"S", b"1", b"-1S", b"123456789S", b"1.5S", b"1s", b"1S ", "١S".encode()]
)
def test_what_is_not_a_timeout(value: bytes) -> None:
    assert timeout.decode_s(value) is None


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.1, 1.0, 99.0, 3_600.0, 1e6, 1e11])
def test_an_encoded_timeout_is_never_shorter(seconds: float) -> None:
    decoded = timeout.decode_s(timeout.encode(seconds))
    assert decoded is not None and seconds <= decoded <= seconds * 1.001 + 1e-8
    assert timeout.encode(1e20) == b"99999999H" and timeout.encode(-1.0) == b"0n"


def parse(*more: tuple[bytes, bytes], head: Pairs = GRPC) -> Head | Refusal:
    return request.parse(Fields((*head, *more)), 16_384)


def test_a_head_carries_method_timeout_encoding_and_metadata() -> None:
    head = parse(
        (b"grpc-timeout", b"2S"),
        (b"grpc-encoding", b"gzip"),
        (b"user-agent", b"test"),
        (b"token", b"abc"),
        (b"data-bin", b"AP8,AQ=="),
    )
    metadata = ((b"token", b"abc"), (b"data-bin", b"\0\xff"), (b"data-bin", b"\1"))
    assert head == Head("/p.S/M", 2.0, b"gzip", metadata, "here")
    again = request.encode_metadata(metadata)
    assert again == ((b"token", b"abc"), (b"data-bin", b"AP8"), (b"data-bin", b"AQ"))


REFUSALS = {
    "GET": (((b":method", b"GET"), *REQUEST[1:]), (), 405, Status.UNKNOWN),
    "no content-type": (REQUEST, (), 415, Status.UNKNOWN),
    "other content-type": (REQUEST, ((b"content-type", b"application/grpcx"),), 415, Status.UNKNOWN),
    "unknown encoding": (GRPC, ((b"grpc-encoding", b"snappy"),), 200, Status.UNIMPLEMENTED),
    "bad timeout": (GRPC, ((b"grpc-timeout", b"soon"),), 200, Status.INTERNAL),
    "bad binary metadata": (GRPC, ((b"a-bin", b"*"),), 200, Status.INTERNAL),
    "too large": (GRPC, ((b"a", b"v" * 17_000),), 200, Status.RESOURCE_EXHAUSTED),
}


@pytest.mark.parametrize(("head", "more", "http_status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_bad_head_has_an_answer(head: Pairs, more: Pairs, http_status: int, code: Status) -> None:
    refusal = parse(*more, head=head)
    assert isinstance(refusal, Refusal)
    assert (refusal.http_status, refusal.status) == (http_status, code)


@pytest.mark.parametrize(
    "kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;x", b"Application/GRPC"]
)
def test_every_form_of_the_content_type_is_taken(kind: bytes) -> None:
    assert isinstance(parse((b"content-type", kind), head=REQUEST), Head)
