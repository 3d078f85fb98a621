"""Requests and responses of xDS v3's streams: bytes to values, and resources, as they are already serialised, to bytes.

Rule: a resource is never parsed or serialised again here. ``entry_of`` makes the few bytes that a response says of one,
which are the same in every response to whomever; a response is those entries, joined, with its own fields around them.
Requests are small and are parsed by xds-protos' classes.

Source: envoy/service/discovery/v3/discovery.proto, for the field numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from atoll.errors import ProtocolFault
from atoll.wire.xds.snapshot import Resource

SOTW_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
DELTA_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ERROR_CHARS_MAX = 4096
"""Of a client's reason for refusing a response: what is kept and shown."""
WILDCARD = "*"


class Node(msgspec.Struct, frozen=True):
    """Who asks. ``locality``: region, zone, sub-zone. ``metadata``: as JSON has it. ``agent``: its software."""

    id: str
    cluster: str = ""
    locality: tuple[str, str, str] = ("", "", "")
    metadata: Mapping[str, Any] = {}
    agent: str = ""
    features: frozenset[str] = frozenset()


class Request(msgspec.Struct, frozen=True):
    """A state-of-the-world request. ``node`` None: as said before on this stream. ``error`` None: nothing was refused
    (an empty text is a refusal without words).
    """

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


class DeltaRequest(msgspec.Struct, frozen=True):
    """An incremental request. ``initial``: versions of what a client that came back still has."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = {}
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


def read_request(data: bytes) -> Request:
    """Raises ``ProtocolFault``."""
    message = _parse(discovery_pb2.DiscoveryRequest(), data)
    return Request(
        message.type_url,
        tuple(message.resource_names) + _located(message.resource_locators),
        message.version_info,
        message.response_nonce,
        _error(message),
        _node(message),
    )


def read_delta_request(data: bytes) -> DeltaRequest:
    """Raises ``ProtocolFault``."""
    message = _parse(discovery_pb2.DeltaDiscoveryRequest(), data)
    return DeltaRequest(
        message.type_url,
        tuple(message.resource_names_subscribe) + _located(message.resource_locators_subscribe),
        tuple(message.resource_names_unsubscribe) + _located(message.resource_locators_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        _error(message),
        _node(message),
    )


def node_of(message: Any) -> Node:
    """``message``: an ``envoy.config.core.v3.Node``. Raises ``ProtocolFault``: its metadata cannot be JSON."""
    place = message.locality
    try:
        metadata = json_format.MessageToDict(message.metadata)
    except (ValueError, json_format.Error) as error:
        raise ProtocolFault("xds", f"the metadata of node {message.id}: {error}") from error
    return Node(
        id=message.id,
        cluster=message.cluster,
        locality=(place.region, place.zone, place.sub_zone),
        metadata=metadata,
        agent=_agent(message),
        features=frozenset(message.client_features),
    )


def _agent(message: Any) -> str:
    version = message.user_agent_version
    if message.HasField("user_agent_build_version"):
        built = message.user_agent_build_version.version
        version = f"{built.major_number}.{built.minor_number}.{built.patch}"
    return f"{message.user_agent_name} {version}".strip()


def _node(message: Any) -> Node | None:
    return node_of(message.node) if message.HasField("node") else None


def _error(message: Any) -> str | None:
    """Only its presence tells a refusal; a version that did not move does not (xDS protocol, "ACK/NACK")."""
    return message.error_detail.message[:ERROR_CHARS_MAX] if message.HasField("error_detail") else None


def _located(locators: Any) -> tuple[str, ...]:
    return tuple(each.name for each in locators)


def _parse(message: Any, data: bytes) -> Any:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ProtocolFault("xds", f"not a {type(message).__name__}: {error}") from error
    return message


# ------------------------------------------------------------------------------------------------ responses


def any_of(type_url: str, body: bytes) -> bytes:
    """``google.protobuf.Any`` around a serialised message."""
    return _text(1, type_url) + _bytes(2, body)


def entry_of(resource: Resource) -> bytes:
    """What a state-of-the-world response says of ``resource``: field ``resources``."""
    return entry(resource.type.value, resource.body)


def entry(type_url: str, body: bytes) -> bytes:
    """The same for a resource of a type that is in no snapshot."""
    return _bytes(2, any_of(type_url, body))


def delta_entry_of(resource: Resource, version: str) -> bytes:
    """What an incremental response says of ``resource``, under ``version``: field ``resources``."""
    packed = any_of(resource.type.value, resource.body)
    return _bytes(2, _text(1, version) + _bytes(2, packed) + _text(3, resource.name))


def response(type_url: str, version: str, nonce: str, entries: Iterable[bytes]) -> bytes:
    """``DiscoveryResponse``; ``entries`` by ``entry_of``."""
    return b"".join((_text(1, version), *entries, _text(4, type_url), _text(5, nonce)))


def delta_response(type_url: str, nonce: str, entries: Iterable[bytes], removed: Iterable[str]) -> bytes:
    """``DeltaDiscoveryResponse``; ``entries`` by ``delta_entry_of``. Its ``system_version_info`` is for people only, and
    left out.
    """
    gone = (_text(6, name) for name in removed)
    return b"".join((*entries, _text(4, type_url), _text(5, nonce), *gone))


def _bytes(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
