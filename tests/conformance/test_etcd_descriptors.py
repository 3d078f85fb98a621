"""The table against the descriptors that are compiled into the installed etcd: every field, enum and method."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS

pytestmark = pytest.mark.peers

GZIP_MAGIC = b"\x1f\x8b\x08\x00"  # how the Go generator embeds a file descriptor
FILE_BYTES_MAX = 100_000
PACKAGES = {"mvccpb", "authpb", "etcdserverpb", "v3lockpb", "v3electionpb"}
NOT_SERVED = {"etcdserver.proto", "raft_internal.proto"}  # etcd's own log entries, in the API's package


def embedded_files(binary: bytes) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    start = binary.find(GZIP_MAGIC)
    while start >= 0:
        try:
            plain = zlib.decompressobj(wbits=31).decompress(binary[start : start + FILE_BYTES_MAX])
            file = descriptor_pb2.FileDescriptorProto.FromString(plain)
        except (zlib.error, DecodeError):
            start = binary.find(GZIP_MAGIC, start + 1)
            continue
        if file.package in PACKAGES and file.name not in NOT_SERVED:
            yield file
        start = binary.find(GZIP_MAGIC, start + 1)


@pytest.fixture(scope="module")
def files() -> list[descriptor_pb2.FileDescriptorProto]:
    etcd = shutil.which("etcd")
    assert etcd is not None, "needs Debian's etcd-server"
    found = list(embedded_files(Path(etcd).read_bytes()))
    assert {file.package for file in found} == PACKAGES
    return found


def fields_of(descriptor: Any, oneofs: list[str]) -> set[tuple[Any, ...]]:
    """``descriptor``: a DescriptorProto; what decides the bytes of a message, and its names."""
    return {
        (
            field.name,
            field.number,
            field.type,
            field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
            field.type_name,
            oneofs[field.oneof_index] if field.HasField("oneof_index") else None,
        )
        for field in descriptor.field
    }


def enums_of(descriptor: Any) -> dict[str, dict[str, int]]:
    return {enum.name: {value.name: value.number for value in enum.value} for enum in descriptor.enum_type}


def test_every_message_and_enum_is_as_in_etcd(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    seen = set()
    for file in files:
        for theirs in file.message_type:
            ours = descriptor_pb2.DescriptorProto()
            messages.BY_NAME[theirs.name].DESCRIPTOR.CopyToProto(ours)
            assert messages.BY_NAME[theirs.name].DESCRIPTOR.full_name == f"{file.package}.{theirs.name}"
            their_oneofs = [oneof.name for oneof in theirs.oneof_decl]
            our_oneofs = [oneof.name for oneof in ours.oneof_decl]
            assert fields_of(ours, our_oneofs) == fields_of(theirs, their_oneofs), theirs.name
            assert enums_of(ours) == enums_of(theirs), theirs.name
            seen.add(theirs.name)
        for enum in file.enum_type:
            assert dict(messages.BY_NAME[enum.name].items()) == {v.name: v.number for v in enum.value}
            seen.add(enum.name)
    assert seen == set(messages.BY_NAME)


def test_every_method_is_as_in_etcd(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    theirs = {
        f"{service.name}.{method.name}": (
            f"/{file.package}.{service.name}/{method.name}",
            method.input_type.lstrip("."),
            method.output_type.lstrip("."),
            method.client_streaming,
            method.server_streaming,
        )
        for file in files
        for service in file.service
        for method in service.method
    }
    ours = {
        name: (
            method.path,
            method.request.DESCRIPTOR.full_name,
            method.response.DESCRIPTOR.full_name,
            method.request_streams,
            method.response_streams,
        )
        for name, method in METHODS.items()
    }
    assert ours == theirs
