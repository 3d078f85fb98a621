"""Who a client says it is, there and back."""

from __future__ import annotations

import pytest
from google.protobuf import json_format, struct_pb2

from atoll.errors import AtollError
from atoll.resources.mesh.clients import Capture, Client, Inbound, Kind, Outbound
from atoll.resources.mesh.node_metadata import client_of, metadata_of, node_id
from atoll.resources.mesh.services import Locality, Protocol

FULL = Client(
    Kind.GATEWAY,
    "front.door",
    "shop",
    labels={"version": "v1", "digits": "10"},
    locality=Locality("eu", "eu-1"),
    capture=Capture.UNIX,
    inbound=(Inbound(80, 8080, Protocol.GRPC), Inbound(81, 0, app_path="/run/app")),
    outbound=(Outbound("ratings.default.svc.cluster.local", 9080, path="/run/ratings"),),
    uses=("ratings",),
    extensions=frozenset({"redis3", "dubbo"}),
)
ELSEWHERE = Locality("us")


@pytest.mark.parametrize(
    "client", [FULL, Client(Kind.SIDECAR, "a", "b"), Client(Kind.GRPC, "a", "b", uses=())]
)
def test_a_client_comes_back_from_a_struct_as_it_was(client: Client) -> None:
    struct = struct_pb2.Struct()
    struct.update(metadata_of(client))
    sent = struct_pb2.Struct.FromString(struct.SerializeToString())
    assert client_of(node_id(client, "pod-1"), json_format.MessageToDict(sent), ELSEWHERE) == client


def test_an_id_alone_is_enough() -> None:
    assert client_of("grpc~reviews.default~7", {}, ELSEWHERE) == Client(
        Kind.GRPC, "reviews", "default", locality=ELSEWHERE
    )


@pytest.mark.parametrize(
    "identifier", ["", "sidecar", "sidecar~a~1", "proxy~a.b~1", "sidecar~a.b~", "sidecar~.b~1"]
)
def test_what_is_no_id_is_refused_with_the_form(identifier: str) -> None:
    with pytest.raises(AtollError, match="KIND~SERVICE.NAMESPACE~INSTANCE"):
        client_of(identifier, {}, ELSEWHERE)


@pytest.mark.parametrize("field", [{"service": "other"}, {"namespace": "other"}, {"kind": "gateway"}])
def test_an_id_and_metadata_that_disagree_are_refused(field: dict[str, str]) -> None:
    said = {"kind": "sidecar", "service": "a", "namespace": "b"} | field
    with pytest.raises(AtollError, match="must agree"):
        client_of("sidecar~a.b~1", {"atoll": said}, ELSEWHERE)


def test_metadata_of_another_shape_is_refused_by_its_field() -> None:
    said = {"kind": "sidecar", "service": "a", "namespace": "b", "http_port": "many"}
    with pytest.raises(AtollError, match=r"node\.metadata\.atoll.*http_port"):
        client_of("sidecar~a.b~1", {"atoll": said}, ELSEWHERE)
