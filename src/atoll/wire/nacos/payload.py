"""The one gRPC message of Nacos: a type's name, headers and a JSON body, in protobuf.

Rule: what comes in is read by protobuf's own parser (from a descriptor pool of this module's, so that Atoll can be
imported beside any Nacos client); what goes out is put together here, because only a type and a body ever do, and
that type's bytes are known beforehand. A body is written once and sent to many: ``Envelope.push`` puts a request's
id in front of it.

Source: Nacos, ``nacos_grpc_service.proto`` (no package): Metadata type=3 clientIp=8 headers=7; Payload metadata=2
body=3, a ``google.protobuf.Any`` whose type_url stays empty and whose value=2 is the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

REQUEST_PATH = "/Request/request"
STREAM_PATH = "/BiRequestStream/requestBiStream"

_METADATA_TAG = b"\x12"  # field 2 of Payload, length-delimited
_BODY_TAG = b"\x1a"  # field 3 of Payload
_TYPE_TAG = b"\x1a"  # field 3 of Metadata
_VALUE_TAG = b"\x12"  # field 2 of Any
_CLIENT_IP_TAG = b"\x42"  # field 8 of Metadata
_HEADER_TAG = b"\x3a"  # field 7 of Metadata, an entry of a map
_HEADER_KEY_TAG = b"\x0a"
_HEADER_VALUE_TAG = b"\x12"

_Field = descriptor_pb2.FieldDescriptorProto


class PayloadFault(Exception):
    """Bytes that are no Payload; the text says why."""


class Payload(NamedTuple):
    """``headers`` are those of the metadata: what a client repeats in the body is not looked at."""

    type: str
    body: bytes
    headers: Mapping[str, str]
    client_ip: str


def decode(data: bytes) -> Payload:
    """Raises ``PayloadFault``."""
    try:
        message = _Message.FromString(data)
    except DecodeError as error:
        raise PayloadFault(f"the message is no Payload: {error}") from error
    metadata = message.metadata
    return Payload(metadata.type, message.body.value, dict(metadata.headers), metadata.clientIp)


def encode(
    type_name: str, body: bytes, headers: Mapping[str, str] | None = None, client_ip: str = ""
) -> bytes:
    """A Payload as a client writes it."""
    metadata = _delimited(_TYPE_TAG, type_name.encode())
    for key, value in (headers or {}).items():
        entry = _delimited(_HEADER_KEY_TAG, key.encode()) + _delimited(_HEADER_VALUE_TAG, value.encode())
        metadata += _delimited(_HEADER_TAG, entry)
    if client_ip:
        metadata += _delimited(_CLIENT_IP_TAG, client_ip.encode())
    return _delimited(_METADATA_TAG, metadata) + _delimited(_BODY_TAG, _delimited(_VALUE_TAG, body))


class Envelope:
    """Writes Payloads of one type, without headers: what a server sends."""

    __slots__ = ("_head", "type")

    def __init__(self, type_name: str) -> None:
        self.type = type_name
        self._head = _delimited(_METADATA_TAG, _delimited(_TYPE_TAG, type_name.encode())) + _BODY_TAG

    def around(self, body: bytes) -> bytes:
        size = varint(len(body))
        return b"".join((self._head, varint(1 + len(size) + len(body)), _VALUE_TAG, size, body))

    def push(self, request_id: str, body: bytes) -> bytes:
        """``body`` is a JSON object that has at least one field, and no ``requestId``."""
        return self.around(b'{"requestId":"%b",%b' % (request_id.encode("ascii"), body[1:]))


def varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_ONE_BYTE = tuple(bytes((number,)) for number in range(0x80))


def _delimited(tag: bytes, data: bytes) -> bytes:
    return tag + varint(len(data)) + data


def _message_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="nacos_grpc_service.proto", syntax="proto3", dependency=["google/protobuf/any.proto"]
    )
    metadata = file.message_type.add(name="Metadata")
    entry = metadata.nested_type.add(name="HeadersEntry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        _add_field(entry, name, number)
    _add_field(metadata, "type", 3)
    _add_field(metadata, "headers", 7, ".Metadata.HeadersEntry").label = _Field.LABEL_REPEATED
    _add_field(metadata, "clientIp", 8)
    payload = file.message_type.add(name="Payload")
    _add_field(payload, "metadata", 2, ".Metadata")
    _add_field(payload, "body", 3, ".google.protobuf.Any")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Payload"))


def _add_field(message: Any, name: str, number: int, type_name: str = "") -> Any:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    if type_name:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = type_name
    return field


_Message = _message_class()
