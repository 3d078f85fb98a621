"""The store's values as etcd's messages and back, for the client (``etcd.py``) and for the coordination plane's frontend.

One rule: each conversion is pure and total. What the API can say and the store's values cannot is refused here
as INVALID; everything that only a server may judge (an empty key, too many operations) passes through.

``request_message``/``result_of`` are the client's two halves, ``operation_of``/``result_message`` the server's;
a property test wires them back to back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from atoll.errors import AtollError, Code, Reason
from atoll.store import api
from atoll.wire.etcd import messages

E = TypeVar("E", bound=IntEnum)

_TARGET_FIELDS = {
    api.Target.VERSION: "version",
    api.Target.CREATE: "create_revision",
    api.Target.MOD: "mod_revision",
    api.Target.VALUE: "value",
    api.Target.LEASE: "lease",
}

# ------------------------------------------------------------------------------------ key-values and events


def key_value_of(message: Any) -> api.KeyValue:
    return api.KeyValue(
        message.key,
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def key_value_message(kv: api.KeyValue) -> Any:
    return messages.KeyValue(
        key=kv.key,
        value=kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        lease=kv.lease,
    )


def event_of(message: Any) -> api.Event:
    prev = key_value_of(message.prev_kv) if message.HasField("prev_kv") else None
    return api.Event(key_value_of(message.kv), prev)


def event_message(event: api.Event) -> Any:
    prev = None if event.prev is None else key_value_message(event.prev)
    kind = messages.Event.DELETE if event.is_delete else messages.Event.PUT
    return messages.Event(type=kind, kv=key_value_message(event.kv), prev_kv=prev)


# ------------------------------------------------------------------------------------ operations to messages


def range_message(request: api.Range) -> Any:
    return messages.RangeRequest(
        key=request.key,
        range_end=request.end,
        limit=request.limit,
        revision=request.revision,
        sort_order=int(request.sort_order),
        sort_target=int(request.sort_target),
        serializable=request.serializable,
        keys_only=request.keys_only,
        count_only=request.count_only,
        min_mod_revision=request.min_mod_revision,
        max_mod_revision=request.max_mod_revision,
        min_create_revision=request.min_create_revision,
        max_create_revision=request.max_create_revision,
    )


def put_message(request: api.Put) -> Any:
    return messages.PutRequest(
        key=request.key,
        value=request.value,
        lease=request.lease,
        prev_kv=request.prev_kv,
        ignore_value=request.ignore_value,
        ignore_lease=request.ignore_lease,
    )


def delete_message(request: api.Delete) -> Any:
    return messages.DeleteRangeRequest(key=request.key, range_end=request.end, prev_kv=request.prev_kv)


def compare_message(compare: api.Compare) -> Any:
    return messages.Compare(
        result=int(compare.relation),
        target=int(compare.target),
        key=compare.key,
        range_end=compare.end,
        **{_TARGET_FIELDS[compare.target]: compare.value},
    )


def txn_message(request: api.Txn) -> Any:
    return messages.TxnRequest(
        compare=map(compare_message, request.compares),
        success=map(operation_message, request.success),
        failure=map(operation_message, request.failure),
    )


def operation_message(operation: api.Operation) -> Any:
    """As a member of a transaction."""
    field, convert = _OPERATIONS[type(operation)]
    return messages.RequestOp(**{field: convert(operation)})


_OPERATIONS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    api.Range: ("request_range", range_message),
    api.Put: ("request_put", put_message),
    api.Delete: ("request_delete_range", delete_message),
    api.Txn: ("request_txn", txn_message),
}

# ------------------------------------------------------------------------------------ messages to operations


def _enum(kind: type[E], number: int, field: str) -> E:
    try:
        return kind(number)
    except ValueError:
        known = ", ".join(f"{member.value} {member.name}" for member in kind)
        raise AtollError(Code.INVALID, f"{field} is {number}; known are {known}") from None


def range_of(message: Any) -> api.Range:
    return api.Range(
        message.key,
        message.range_end,
        message.revision,
        message.limit,
        _enum(api.SortOrder, message.sort_order, "sort_order"),
        _enum(api.SortTarget, message.sort_target, "sort_target"),
        message.serializable,
        message.keys_only,
        message.count_only,
        message.min_mod_revision,
        message.max_mod_revision,
        message.min_create_revision,
        message.max_create_revision,
    )


def put_of(message: Any) -> api.Put:
    return api.Put(
        message.key,
        message.value,
        message.lease,
        message.prev_kv,
        message.ignore_value,
        message.ignore_lease,
    )


def delete_of(message: Any) -> api.Delete:
    return api.Delete(message.key, message.range_end, message.prev_kv)


def compare_of(message: Any) -> api.Compare:
    """A value for another target than ``target`` counts as absent, that is as zero, as etcd takes it."""
    target = _enum(api.Target, message.target, "target")
    relation = _enum(api.Relation, message.result, "result")
    return api.Compare(
        message.key, target, relation, getattr(message, _TARGET_FIELDS[target]), message.range_end
    )


def txn_of(message: Any) -> api.Txn:
    return api.Txn(
        tuple(map(compare_of, message.compare)),
        tuple(map(operation_of, message.success)),
        tuple(map(operation_of, message.failure)),
    )


def operation_of(message: Any) -> api.Operation:
    """A member of a transaction. An empty one is refused as etcd refuses it, "key not found"."""
    field = message.WhichOneof("request")
    if field is None:
        raise AtollError(
            Code.INVALID,
            "a transaction's operation is empty; it must be a range, put, delete or transaction",
            reason=Reason.KEY_NOT_FOUND,
        )
    operation: api.Operation = _OPERATIONS_OF[field](getattr(message, field))
    return operation


_OPERATIONS_OF: dict[str, Callable[[Any], api.Operation]] = {
    "request_range": range_of,
    "request_put": put_of,
    "request_delete_range": delete_of,
    "request_txn": txn_of,
}

# ------------------------------------------------------------------------------------ operations' results, client


def _range_result(message: Any, revision: int) -> api.RangeResult:
    return api.RangeResult(revision, tuple(map(key_value_of, message.kvs)), message.more, message.count)


def _put_result(message: Any, revision: int) -> api.PutResult:
    return api.PutResult(revision, key_value_of(message.prev_kv) if message.HasField("prev_kv") else None)


def _delete_result(message: Any, revision: int) -> api.DeleteResult:
    return api.DeleteResult(revision, message.deleted, tuple(map(key_value_of, message.prev_kvs)))


def _txn_result(message: Any, revision: int) -> api.TxnResult:
    """Nested results keep the revision of their own headers, which etcd leaves at 0 in nested transactions."""
    return api.TxnResult(
        revision,
        message.succeeded,
        tuple(map(_nested_result, message.responses)),
    )


def _nested_result(message: Any) -> api.OperationResult:
    field = message.WhichOneof("response")
    nested = getattr(message, field)
    result: api.OperationResult = _RESULTS_OF[field](nested, _revision(nested))
    return result


_RESULTS_OF: dict[str, Callable[[Any, int], api.OperationResult]] = {
    "response_range": _range_result,
    "response_put": _put_result,
    "response_delete_range": _delete_result,
    "response_txn": _txn_result,
}

# ------------------------------------------------------------------------------------ operations' results, server


def range_response(result: api.RangeResult, header: Any) -> Any:
    return messages.RangeResponse(
        header=header, kvs=map(key_value_message, result.kvs), more=result.more, count=result.count
    )


def put_response(result: api.PutResult, header: Any) -> Any:
    prev = None if result.prev is None else key_value_message(result.prev)
    return messages.PutResponse(header=header, prev_kv=prev)


def delete_response(result: api.DeleteResult, header: Any) -> Any:
    return messages.DeleteRangeResponse(
        header=header, deleted=result.deleted, prev_kvs=map(key_value_message, result.prevs)
    )


def txn_response(result: api.TxnResult, header: Any) -> Any:
    return messages.TxnResponse(
        header=header,
        succeeded=result.succeeded,
        responses=map(_nested_response, result.results),
    )


def _nested_response(result: api.OperationResult) -> Any:
    """Each with a header of its own: the revision alone, and not even that (0) for a nested transaction."""
    field, convert = _RESPONSES[type(result)]
    return messages.ResponseOp(**{field: convert(result, messages.ResponseHeader(revision=result.revision))})


_RESPONSES: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    api.RangeResult: ("response_range", range_response),
    api.PutResult: ("response_put", put_response),
    api.DeleteResult: ("response_delete_range", delete_response),
    api.TxnResult: ("response_txn", txn_response),
}

# ------------------------------------------------------------------------------------ whole calls, client


class Call(NamedTuple):
    """How a request travels: the method (``services.METHODS``), its message, and how to read the answer."""

    method: str
    message: Any
    result: Callable[[Any], api.Result]


def call_of(request: api.Request) -> Call:
    """Every request but ``LeaseKeepAlive`` (a stream) and ``StatusRequest`` (several calls)."""
    return _CALLS[type(request)](request)


def _revision(message: Any) -> int:
    revision: int = message.header.revision
    return revision


def _range_call(request: api.Range) -> Call:
    return Call("KV.Range", range_message(request), lambda answer: _range_result(answer, _revision(answer)))


def _put_call(request: api.Put) -> Call:
    return Call("KV.Put", put_message(request), lambda answer: _put_result(answer, _revision(answer)))


def _delete_call(request: api.Delete) -> Call:
    return Call(
        "KV.DeleteRange", delete_message(request), lambda answer: _delete_result(answer, _revision(answer))
    )


def _txn_call(request: api.Txn) -> Call:
    return Call("KV.Txn", txn_message(request), lambda answer: _txn_result(answer, _revision(answer)))


def _compact_call(request: api.Compact) -> Call:
    message = messages.CompactionRequest(revision=request.revision, physical=request.physical)
    return Call("KV.Compact", message, lambda answer: api.CompactResult(_revision(answer)))


def _grant_call(request: api.LeaseGrant) -> Call:
    def result(answer: Any) -> api.Result:
        return api.LeaseResult(_revision(answer), answer.ID, answer.TTL, answer.TTL)

    return Call("Lease.LeaseGrant", messages.LeaseGrantRequest(TTL=request.ttl_s, ID=request.lease), result)


def _revoke_call(request: api.LeaseRevoke) -> Call:
    message = messages.LeaseRevokeRequest(ID=request.lease)
    return Call(
        "Lease.LeaseRevoke", message, lambda answer: api.LeaseResult(_revision(answer), request.lease)
    )


def _time_to_live_call(request: api.LeaseTimeToLive) -> Call:
    def result(answer: Any) -> api.Result:
        return api.LeaseResult(
            _revision(answer), answer.ID, answer.TTL, answer.grantedTTL, tuple(answer.keys)
        )

    message = messages.LeaseTimeToLiveRequest(ID=request.lease, keys=request.keys)
    return Call("Lease.LeaseTimeToLive", message, result)


def _list_call(_request: api.LeaseList) -> Call:
    def result(answer: Any) -> api.Result:
        return api.LeaseListResult(_revision(answer), tuple(one.ID for one in answer.leases))

    return Call("Lease.LeaseLeases", messages.LeaseLeasesRequest(), result)


_CALLS: dict[type, Callable[[Any], Call]] = {
    api.Range: _range_call,
    api.Put: _put_call,
    api.Delete: _delete_call,
    api.Txn: _txn_call,
    api.Compact: _compact_call,
    api.LeaseGrant: _grant_call,
    api.LeaseRevoke: _revoke_call,
    api.LeaseTimeToLive: _time_to_live_call,
    api.LeaseList: _list_call,
}


def keep_alive_result(message: Any) -> api.LeaseResult:
    return api.LeaseResult(_revision(message), message.ID, message.TTL)


def status_result(message: Any, *, generation: int, compact_revision: int) -> api.StatusResult:
    """``message`` is etcd's StatusResponse; the other two it does not tell."""
    return api.StatusResult(
        revision=_revision(message),
        compact_revision=compact_revision,
        generation=generation,
        size_bytes=message.dbSize,
        size_in_use_bytes=message.dbSizeInUse,
        leader=message.leader,
        raft_term=message.raftTerm,
        version=message.version,
        alarms=_alarms(message.errors),
    )


def _alarms(errors: Iterable[str]) -> tuple[str, ...]:
    """etcd writes an alarm among its errors as ``memberID:1 alarm:NOSPACE``; anything else stays as it is."""
    return tuple(error.rpartition("alarm:")[2].strip() for error in errors)


# ------------------------------------------------------------------------------------ watches


def watch_create_message(watch: api.Watch, *, watch_id: int, start_revision: int) -> Any:
    """Asks for progress reports and fragments; ``start_revision`` is where the watch goes on, not where it began."""
    filters = []
    if watch.no_put:
        filters.append(messages.WatchCreateRequest.NOPUT)
    if watch.no_delete:
        filters.append(messages.WatchCreateRequest.NODELETE)
    create = messages.WatchCreateRequest(
        key=watch.key,
        range_end=watch.end,
        start_revision=start_revision,
        progress_notify=True,
        filters=filters,
        prev_kv=watch.prev_kv,
        watch_id=watch_id,
        fragment=True,
    )
    return messages.WatchRequest(create_request=create)


def watch_of(create: Any) -> api.Watch:
    """``create`` is a WatchCreateRequest."""
    return api.Watch(
        create.key,
        create.range_end,
        create.start_revision,
        create.prev_kv,
        messages.WatchCreateRequest.NOPUT in create.filters,
        messages.WatchCreateRequest.NODELETE in create.filters,
    )
