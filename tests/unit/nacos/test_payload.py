"""Nacos's one gRPC message, and the JSON bodies in it."""

from __future__ import annotations

import json

import msgspec
import pytest

from atoll.wire.nacos import answers, requests
from atoll.wire.nacos.payload import Envelope, PayloadFault, decode, encode, varint
from atoll.wire.nacos.requests import Body, BodyFault, texts_of

# As the reference's own generated code writes it: type, one header, the client's address; then the body.
QUERY = bytes.fromhex(
    "122e1a12436f6e666967517565727952657175657374"
    "3a0d0a036170701206617069736978"
    "42093132372e302e302e31"
    "1a0412027b7d"
)


def test_a_payload_is_read_as_the_reference_writes_it() -> None:
    payload = decode(QUERY)
    assert payload.type == "ConfigQueryRequest"
    assert payload.headers == {"app": "apisix"}
    assert payload.client_ip == "127.0.0.1"
    assert payload.body == b"{}"
    assert encode("ConfigQueryRequest", b"{}", {"app": "apisix"}, "127.0.0.1") == QUERY


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 16_383, 16_384, 2_097_152])
def test_an_envelope_is_a_payload_at_every_length(size: int) -> None:
    body = b"x" * size
    assert decode(Envelope("InstanceResponse").around(body)) == ("InstanceResponse", body, {}, "")


def test_a_push_has_its_request_id_in_front_of_the_shared_body() -> None:
    body = answers.encode(answers.ConfigChangeNotifyRequest("a.yaml", "G"))
    pushed = decode(Envelope("ConfigChangeNotifyRequest").push("17", body))
    assert json.loads(pushed.body) == {
        "requestId": "17",
        "dataId": "a.yaml",
        "group": "G",
        "tenant": "",
        "module": "config",
    }


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x05abc", QUERY[:-1], b"\x12\x03\x1a\x01\xff"])
def test_bytes_that_are_no_payload_are_a_fault(data: bytes) -> None:
    with pytest.raises(PayloadFault):
        decode(data)


def test_varints() -> None:
    assert [varint(number).hex() for number in (0, 127, 128, 300, 2**32)] == [
        "00",
        "7f",
        "8001",
        "ac02",
        "8080808010",
    ]


def test_a_response_always_says_how_it_went_and_never_null() -> None:
    assert json.loads(answers.SUCCESS) == {"resultCode": 200, "errorCode": 0, "success": True}
    failed = json.loads(answers.failure(300, "config data not exist"))
    assert failed == {
        "resultCode": 500,
        "errorCode": 300,
        "success": False,
        "message": "config data not exist",
    }
    found = answers.ConfigQueryResponse(content="a", md5="m", last_modified=1)
    assert "tag" not in json.loads(answers.encode(found))
    assert b"null" not in answers.encode(found)


def test_every_body_that_is_sent_can_carry_a_request_id() -> None:
    pushes = [
        answers.SetupAckRequest(ability_table={}),
        answers.ConnectResetRequest(),
        answers.ClientDetectionRequest(),
        answers.ConfigChangeNotifyRequest("d", "g"),
        answers.ClientConfigMetricRequest([]),
        answers.NotifySubscriberRequest("n", "s", "g", msgspec.Raw(b"{}")),
    ]
    for push in pushes:
        body = json.loads(decode(Envelope("X").push("1", answers.encode(push))).body)
        assert body.pop("requestId") == "1"
        assert body


def test_absent_null_and_unknown_fields_are_read_alike() -> None:
    body = Body(requests.ConfigQueryRequest)
    plain = body.read(b'{"dataId":"d","group":"g"}')
    assert plain == body.read(b'{"dataId":"d","group":"g","tenant":null,"headers":{"a":"b"},"new":[1,{}]}')
    assert body.read(b"") == body.read(b"{}") == requests.ConfigQueryRequest()


def test_scalars_are_taken_for_one_another_as_the_reference_does() -> None:
    text = b'{"type":"registerInstance","instance":{"ip":"1.1.1.1","port":"80","weight":"2",'
    text += b'"healthy":"false","metadata":{"a":1,"b":true,"c":null,"d":"x","e":1.5}}}'
    instance = Body(requests.InstanceRequest).read(text).instance
    assert (instance.port, instance.weight, instance.healthy, instance.ephemeral) == (80, 2.0, False, True)
    assert texts_of(instance.metadata) == {"a": "1", "b": "true", "d": "x", "e": "1.5"}
    assert texts_of(None) == {}


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{",
        b'{"dataId":1}',
        b'{"dataId":{}}',
        b'{"dataId":"\xff"}',
        b'{"dataId":"\\ud800"}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_a_body_of_another_shape_is_a_fault_that_names_its_type(text: bytes) -> None:
    with pytest.raises(BodyFault, match="ConfigQueryRequest"):
        Body(requests.ConfigQueryRequest).read(text)


@pytest.mark.parametrize(
    ("text", "succeeded"),
    [
        (b'{"requestId":"1","resultCode":200,"errorCode":0,"success":true}', True),
        (b'{"requestId":"1","resultCode":200}', True),
        (b'{"requestId":"1","resultCode":500,"errorCode":0}', False),
        (b'{"requestId":"1","resultCode":200,"errorCode":500}', False),
    ],
)
def test_an_acknowledgement_is_judged_by_its_codes(text: bytes, succeeded: bool) -> None:
    assert Body(requests.Acknowledgement).read(text).succeeded is succeeded
