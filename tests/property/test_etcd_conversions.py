"""The client's and the server's half of the conversions, wired back to back through bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, Code, Reason
from atoll.store import api, etcd_messages
from atoll.wire.etcd import messages

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
BYTES = st.binary(max_size=6)
RANGES = st.builds(
    api.Range,
    key=BYTES,
    end=BYTES,
    revision=INT64,
    limit=INT64,
    sort_order=st.sampled_from(api.SortOrder),
    sort_target=st.sampled_from(api.SortTarget),
    serializable=st.booleans(),
    keys_only=st.booleans(),
    count_only=st.booleans(),
    min_mod_revision=INT64,
    max_mod_revision=INT64,
    min_create_revision=INT64,
    max_create_revision=INT64,
)
PUTS = st.builds(
    api.Put,
    key=BYTES,
    value=BYTES,
    lease=INT64,
    prev_kv=st.booleans(),
    ignore_value=st.booleans(),
    ignore_lease=st.booleans(),
)
DELETES = st.builds(api.Delete, key=BYTES, end=BYTES, prev_kv=st.booleans())


@st.composite
def compares(draw: st.DrawFn) -> api.Compare:
    target = draw(st.sampled_from(api.Target))
    value: bytes | int = draw(BYTES) if target is api.Target.VALUE else draw(INT64)
    return api.Compare(draw(BYTES), target, draw(st.sampled_from(api.Relation)), value, draw(BYTES))


OPERATIONS: st.SearchStrategy[Any] = st.recursive(
    RANGES | PUTS | DELETES,
    lambda inner: st.builds(
        api.Txn,
        compares=st.lists(compares(), max_size=3).map(tuple),
        success=st.lists(inner, max_size=3).map(tuple),
        failure=st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=6,
)

KEY_VALUES = st.builds(
    api.KeyValue,
    key=BYTES,
    value=BYTES,
    create_revision=INT64,
    mod_revision=INT64,
    version=INT64,
    lease=INT64,
)


def results(revision: int) -> st.SearchStrategy[Any]:
    kvs = st.lists(KEY_VALUES, max_size=3).map(tuple)
    at = st.just(revision)
    leaves = (
        st.builds(api.RangeResult, revision=at, kvs=kvs, more=st.booleans(), count=INT64)
        | st.builds(api.PutResult, revision=at, prev=st.none() | KEY_VALUES)
        | st.builds(api.DeleteResult, revision=at, deleted=INT64, prevs=kvs)
    )
    return st.recursive(
        leaves,
        lambda inner: st.builds(
            api.TxnResult,
            revision=at,
            succeeded=st.booleans(),
            results=st.lists(inner, max_size=3).map(tuple),
        ),
        max_leaves=6,
    )


@given(OPERATIONS)
def test_an_operation_comes_back_as_it_went(operation: api.Operation) -> None:
    sent = etcd_messages.operation_message(operation).SerializeToString()
    assert etcd_messages.operation_of(messages.RequestOp.FromString(sent)) == operation


RESPONSES: dict[Any, tuple[Callable[[Any, Any], Any], api.Operation]] = {
    api.RangeResult: (etcd_messages.range_response, api.Range(b"k")),
    api.PutResult: (etcd_messages.put_response, api.Put(b"k")),
    api.DeleteResult: (etcd_messages.delete_response, api.Delete(b"k")),
    api.TxnResult: (etcd_messages.txn_response, api.Txn()),
}


@given(st.integers(min_value=1, max_value=2**62).flatmap(results))
def test_a_result_comes_back_as_it_went(result: Any) -> None:
    respond, request = RESPONSES[type(result)]
    response = respond(result, messages.ResponseHeader(revision=result.revision))
    call = etcd_messages.call_of(request)
    received = type(response).FromString(response.SerializeToString())
    assert call.result(received) == result


@given(st.builds(api.Event, kv=KEY_VALUES, prev=st.none() | KEY_VALUES))
def test_an_event_comes_back_as_it_went(event: api.Event) -> None:
    sent = etcd_messages.event_message(event)
    assert (sent.type == messages.Event.DELETE) == event.is_delete
    assert etcd_messages.event_of(messages.Event.FromString(sent.SerializeToString())) == event


@given(
    st.builds(
        api.Watch,
        key=BYTES,
        end=BYTES,
        start_revision=INT64,
        prev_kv=st.booleans(),
        no_put=st.booleans(),
        no_delete=st.booleans(),
    )
)
def test_a_watch_comes_back_as_it_went(watch: api.Watch) -> None:
    sent = etcd_messages.watch_create_message(watch, watch_id=3, start_revision=watch.start_revision)
    assert (
        etcd_messages.watch_of(messages.WatchRequest.FromString(sent.SerializeToString()).create_request)
        == watch
    )


def test_a_compare_without_a_value_compares_with_zero() -> None:
    wire = messages.Compare(key=b"k", target=messages.Compare.CREATE, value=b"for another target")
    assert etcd_messages.compare_of(wire) == api.Compare(b"k", api.Target.CREATE, api.Relation.EQUAL, 0)


def test_an_empty_operation_is_refused_with_etcds_reason() -> None:
    with pytest.raises(AtollError) as refused:
        etcd_messages.operation_of(messages.RequestOp())
    assert (refused.value.code, refused.value.reason) == (Code.INVALID, Reason.KEY_NOT_FOUND)


def test_an_unknown_enum_number_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AtollError, match="result is 9; known are 0 EQUAL"):
        etcd_messages.compare_of(messages.Compare(key=b"k", result=9))


def test_nested_results_keep_the_revision_of_their_own_headers() -> None:
    empty = messages.ResponseOp(response_txn=messages.TxnResponse(header=messages.ResponseHeader()))
    put = messages.ResponseOp(response_put=messages.PutResponse(header=messages.ResponseHeader(revision=6)))
    answer = messages.TxnResponse(header=messages.ResponseHeader(revision=7), responses=[empty, put])
    result = etcd_messages.call_of(api.Txn()).result(answer)
    assert isinstance(result, api.TxnResult)
    assert [nested.revision for nested in result.results] == [0, 6]


def test_an_alarm_is_read_from_the_errors_of_a_status() -> None:
    status = messages.StatusResponse(
        errors=["memberID:10276657743932975437 alarm:NOSPACE ", "etcdserver: no leader"]
    )
    result = etcd_messages.status_result(status, generation=0, compact_revision=0)
    assert result.alarms == ("NOSPACE", "etcdserver: no leader")
