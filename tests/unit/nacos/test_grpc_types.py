"""The table of Nacos's gRPC types."""

from __future__ import annotations

import pytest

from atoll.wire.nacos.catalog.entry import OPEN, Status
from atoll.wire.nacos.catalog.grpc_types import TYPES, GrpcType, Way

OPEN_TYPES = {"ServerCheckRequest", "HealthCheckRequest", "ConnectionSetupRequest"}


@pytest.mark.parametrize("entry", TYPES.values(), ids=list(TYPES))
def test_a_row_is_whole(entry: GrpcType) -> None:
    served = entry.status is not Status.ABSENT
    if entry.way in (Way.UNARY, Way.STREAM):
        assert (entry.body is not None) is served
    if entry.way is Way.UNARY and served:
        assert entry.response.endswith("Response")
    assert served or entry.note, "what is absent says why"
    assert entry.name.endswith("Request")


def test_only_these_types_are_answered_without_credentials() -> None:
    assert {entry.name for entry in TYPES.values() if entry.permit is OPEN} == OPEN_TYPES


def test_irregular_responses() -> None:
    assert TYPES["ServiceQueryRequest"].response == "QueryServiceResponse"
    assert TYPES["PersistentInstanceRequest"].response == "InstanceResponse"
    assert TYPES["ConfigBatchListenRequest"].response == "ConfigChangeBatchListenResponse"
