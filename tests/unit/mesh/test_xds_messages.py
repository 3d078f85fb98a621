"""The few bytes that are written by hand are what xds-protos reads."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from atoll.errors import ProtocolFault
from atoll.wire.xds import messages
from atoll.wire.xds.snapshot import Type, resource

SMALL = resource(Type.CLUSTER, "small", b"\x0a\x05small")
LARGE = resource(Type.CLUSTER, "large", b"\x0a" + b"x" * 20_000)


def test_a_response_has_its_resources_untouched() -> None:
    entries = [messages.entry_of(SMALL), messages.entry_of(LARGE)]
    read = discovery_pb2.DiscoveryResponse.FromString(
        messages.response(Type.CLUSTER.value, "v", "n", entries)
    )
    packed = [any_pb2.Any(type_url=Type.CLUSTER.value, value=each.body) for each in (SMALL, LARGE)]
    assert read == discovery_pb2.DiscoveryResponse(
        version_info="v", nonce="n", type_url=Type.CLUSTER.value, resources=packed
    )


def test_a_delta_response_has_names_versions_and_removals() -> None:
    data = messages.delta_response(
        Type.CLUSTER.value, "n", [messages.delta_entry_of(LARGE, "v7")], ["a", "b"]
    )
    read = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
    one = discovery_pb2.Resource(
        name="large", version="v7", resource=any_pb2.Any(type_url=Type.CLUSTER.value, value=LARGE.body)
    )
    assert read == discovery_pb2.DeltaDiscoveryResponse(
        nonce="n", type_url=Type.CLUSTER.value, resources=[one], removed_resources=["a", "b"]
    )


def test_a_request_is_read() -> None:
    message = discovery_pb2.DiscoveryRequest(
        type_url="t", resource_names=["a"], version_info="v", response_nonce="n"
    )
    assert messages.read_request(message.SerializeToString()) == messages.Request("t", ("a",), "v", "n")
    message.error_detail.message = "x" * 10_000
    message.node.id = "sidecar~a.b~1"
    message.node.metadata.update({"atoll": {"uses": ["x"]}})
    message.node.locality.zone = "z"
    message.node.user_agent_name = "envoy"
    message.node.user_agent_build_version.version.minor_number = 40
    read = messages.read_request(message.SerializeToString())
    assert read.error == "x" * messages.ERROR_CHARS_MAX
    assert read.node == messages.Node(
        "sidecar~a.b~1",
        locality=("", "z", ""),
        metadata={"atoll": {"uses": ["x"]}},
        agent="envoy 0.40.0",
    )


def test_a_refusal_without_words_is_a_refusal() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url="t", response_nonce="n")
    assert messages.read_delta_request(message.SerializeToString()).error is None
    message.error_detail.SetInParent()
    assert messages.read_delta_request(message.SerializeToString()).error == ""


def test_what_cannot_be_read_is_the_peers_fault() -> None:
    with pytest.raises(ProtocolFault):
        messages.read_request(b"\xff\xff")
    message = discovery_pb2.DiscoveryRequest()
    message.node.metadata.fields["a"].number_value = float("nan")
    with pytest.raises(ProtocolFault):
        messages.read_request(message.SerializeToString())
