"""etcd's messages and methods, as built from the table."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS


def test_a_message_is_the_bytes_that_the_protocol_says() -> None:
    request = messages.RangeRequest(
        key=b"a", limit=300, sort_order=messages.RangeRequest.DESCEND, count_only=True
    )
    assert request.SerializeToString().hex() == "0a016118ac0228024801"


def test_setting_one_member_of_a_oneof_clears_the_other() -> None:
    operation = messages.RequestOp(request_put=messages.PutRequest(key=b"k"))
    operation.request_txn.SetInParent()
    assert operation.WhichOneof("request") == "request_txn"


def test_a_zero_in_a_oneof_is_present_and_differs_from_absence() -> None:
    guard = messages.Compare(key=b"k", create_revision=0)
    assert (
        messages.Compare.FromString(guard.SerializeToString()).WhichOneof("target_union") == "create_revision"
    )
    assert messages.Compare(key=b"k").WhichOneof("target_union") is None


def test_an_unknown_field_of_a_newer_etcd_survives_a_rewrite() -> None:
    newer = (
        messages.StatusResponse(version="3.6.0").SerializeToString() + b"\x58\x07"
    )  # field 11, 3.6's quota
    assert messages.StatusResponse.FromString(newer).SerializeToString() == newer


def test_the_messages_stay_out_of_the_default_pool() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("etcdserverpb.RangeRequest")


def test_a_name_that_the_api_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="RangeRequests"):
        messages.RangeRequests  # noqa: B018


@pytest.mark.parametrize(
    ("name", "path", "streams"),
    [
        ("KV.Range", "/etcdserverpb.KV/Range", (False, False)),
        ("Watch.Watch", "/etcdserverpb.Watch/Watch", (True, True)),
        ("Lease.LeaseKeepAlive", "/etcdserverpb.Lease/LeaseKeepAlive", (True, True)),
        ("Maintenance.Snapshot", "/etcdserverpb.Maintenance/Snapshot", (False, True)),
        ("Election.Observe", "/v3electionpb.Election/Observe", (False, True)),
        ("Lock.Lock", "/v3lockpb.Lock/Lock", (False, False)),
    ],
)
def test_a_method_knows_its_path_and_which_sides_stream(
    name: str, path: str, streams: tuple[bool, bool]
) -> None:
    method = METHODS[name]
    assert (method.path, (method.request_streams, method.response_streams)) == (path, streams)
