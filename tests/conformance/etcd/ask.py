"""Short names for the requests of the differential tests."""

from __future__ import annotations

from typing import Any

from atoll.wire.etcd import messages


def get(key: bytes, end: bytes = b"", **fields: Any) -> Any:
    return messages.RangeRequest(key=key, range_end=end, **fields)


def put(key: bytes, value: bytes = b"", **fields: Any) -> Any:
    return messages.PutRequest(key=key, value=value, **fields)


def delete(key: bytes, end: bytes = b"", **fields: Any) -> Any:
    return messages.DeleteRangeRequest(key=key, range_end=end, **fields)


def txn(*success: Any, when: Any = (), otherwise: Any = ()) -> Any:
    compares = when if isinstance(when, (list, tuple)) else [when]
    return messages.TxnRequest(compare=compares, success=map(op, success), failure=map(op, otherwise))


def op(request: Any) -> Any:
    fields = {
        "RangeRequest": "request_range",
        "PutRequest": "request_put",
        "DeleteRangeRequest": "request_delete_range",
        "TxnRequest": "request_txn",
    }
    name = request.DESCRIPTOR.name
    return request if name == "RequestOp" else messages.RequestOp(**{fields[name]: request})


def compare(key: bytes, target: str, relation: str, end: bytes = b"", **value: Any) -> Any:
    """``compare(b"k", "VERSION", "EQUAL", version=1)``."""
    return messages.Compare(
        key=key,
        range_end=end,
        target=messages.Compare.CompareTarget.Value(target),
        result=messages.Compare.CompareResult.Value(relation),
        **value,
    )


def grant(ttl_s: int, lease: int = 0) -> Any:
    return messages.LeaseGrantRequest(TTL=ttl_s, ID=lease)


def revoke(lease: int) -> Any:
    return messages.LeaseRevokeRequest(ID=lease)


def time_to_live(lease: int, keys: bool = True) -> Any:
    return messages.LeaseTimeToLiveRequest(ID=lease, keys=keys)


def compact(revision: int, physical: bool = False) -> Any:
    """``physical``: answered when the history is gone, not when it is to go."""
    return messages.CompactionRequest(revision=revision, physical=physical)
