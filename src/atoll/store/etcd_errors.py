"""What a failed call to etcd means: refused for good, safe to try again, or perhaps applied.

One rule: a write that reached gRPC is UNKNOWN unless etcd's own words prove that it was not applied. A read or a
renewal changes nothing that a repetition would not change, so for those "perhaps applied" is "try again".

The theory: etcd 3.4 answers an error with a gRPC status and a fixed text (``rpctypes``; clients map by text, so
the texts are part of its interface). Texts of the request's judges, such as "duplicate key", are given before
anything is proposed to raft or before the transaction is applied. "no leader" is given by the interceptor before
the call begins. "request timed out" in all its forms, "server stopped" and "leader changed" are given while a
proposal may be on its way, and a broken connection says nothing at all.

The doubt, confirmed by a test: "database space exceeded" proves nothing. A put that was proposed when there was
room and applied when there was none is applied *and* answered with that error (``quotaApplierV3`` of etcd 3.4).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from atoll.errors import AtollError, Code, Reason

CONNECT_FAILED = "failed to connect to all addresses"
"""How gRPC's load balancing begins the text of a call that never got a connection."""

RETRY_AFTER_S = 1.0  # advice to the caller when nothing better is known


class Failure(msgspec.Struct, frozen=True):
    """A call's end without an answer. ``status`` is the gRPC status by name, ``text`` its details."""

    status: str
    text: str


class Again(enum.Enum):
    """What the driver itself may do about it, within the request's time."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"  # not applied, or harmless to repeat: on this or another member
    NEW_TOKEN = "new token"  # noqa: S105 - the token in use is not accepted (any more)


class Judgement(msgspec.Struct, frozen=True):
    """``error`` is what the caller gets when the driver does not, or may no longer, try again."""

    error: AtollError
    again: Again = Again.NEVER


_REFUSALS: Mapping[str, tuple[Code, Reason]] = MappingProxyType(
    {
        "etcdserver: key is not provided": (Code.INVALID, Reason.EMPTY_KEY),
        "etcdserver: key not found": (Code.INVALID, Reason.KEY_NOT_FOUND),
        "etcdserver: value is provided": (Code.INVALID, Reason.VALUE_PROVIDED),
        "etcdserver: lease is provided": (Code.INVALID, Reason.LEASE_PROVIDED),
        "etcdserver: too many operations in txn request": (Code.INVALID, Reason.TOO_MANY_OPS),
        "etcdserver: duplicate key given in txn request": (Code.INVALID, Reason.DUPLICATE_KEY),
        "etcdserver: request is too large": (Code.INVALID, Reason.REQUEST_TOO_LARGE),
        "etcdserver: mvcc: required revision has been compacted": (Code.INVALID, Reason.COMPACTED),
        "etcdserver: mvcc: required revision is a future revision": (Code.INVALID, Reason.FUTURE_REVISION),
        "etcdserver: requested lease not found": (Code.NOT_FOUND, Reason.LEASE_NOT_FOUND),
        "etcdserver: lease already exists": (Code.CONFLICT, Reason.LEASE_EXISTS),
        "etcdserver: too large lease TTL": (Code.INVALID, Reason.LEASE_TTL_TOO_LARGE),
        "etcdserver: permission denied": (Code.DENIED, Reason.PERMISSION_DENIED),
        "etcdserver: authentication failed, invalid user ID or password": (
            Code.DENIED,
            Reason.INVALID_CREDENTIALS,
        ),
        "etcdserver: corrupt cluster": (Code.UNAVAILABLE, Reason.CORRUPT),
    }
)

_NO_SPACE = "etcdserver: mvcc: database space exceeded"

_TOKEN_REFUSED = frozenset(
    {
        "etcdserver: invalid auth token",
        "etcdserver: revision of auth store is old",
        "etcdserver: user name is empty",  # authentication is on and the call carried no token
    }
)

_NOT_APPLIED: Mapping[str, Reason] = MappingProxyType(
    {
        "etcdserver: no leader": Reason.NO_LEADER,
        "raft proposal dropped": Reason.NO_LEADER,
        "etcdserver: too many requests": Reason.OTHER,
        "etcdserver: not capable": Reason.OTHER,
        "etcdserver: rpc not supported for learner": Reason.OTHER,
    }
)

_TOO_LARGE_FOR_GRPC = (
    "grpc: received message larger than max"  # the server's gRPC layer, before the call begins
)

_REFUSING_STATUS: Mapping[str, Code] = MappingProxyType(
    {
        "INVALID_ARGUMENT": Code.INVALID,
        "OUT_OF_RANGE": Code.INVALID,
        "UNIMPLEMENTED": Code.INVALID,
        "NOT_FOUND": Code.NOT_FOUND,
        "ALREADY_EXISTS": Code.CONFLICT,
        "FAILED_PRECONDITION": Code.CONFLICT,
        "PERMISSION_DENIED": Code.DENIED,
        "UNAUTHENTICATED": Code.DENIED,
    }
)


def judge(failure: Failure, *, writes: bool) -> Judgement:
    """``writes``: whether a repetition could apply something twice."""
    text = failure.text
    if text in _REFUSALS:
        code, reason = _REFUSALS[text]
        return Judgement(AtollError(code, f"etcd refused: {_plain(text)}", reason=reason))
    if text in _TOKEN_REFUSED:
        error = AtollError(Code.DENIED, f"etcd refused: {_plain(text)}", reason=Reason.INVALID_TOKEN)
        return Judgement(error, Again.NEW_TOKEN)
    if text in _NOT_APPLIED:
        return Judgement(unavailable(f"etcd: {_plain(text)}", _NOT_APPLIED[text]), Again.ELSEWHERE)
    if text.startswith(CONNECT_FAILED):
        return Judgement(unavailable(f"no connection: {text}"), Again.ELSEWHERE)
    if text.startswith(_TOO_LARGE_FOR_GRPC):
        return Judgement(
            AtollError(Code.INVALID, f"etcd refused: {text}", reason=Reason.REQUEST_TOO_LARGE),
        )
    if failure.status in _REFUSING_STATUS:
        code = _REFUSING_STATUS[failure.status]
        return Judgement(AtollError(code, f"etcd refused: {_plain(text)} ({failure.status})"))
    return _perhaps_applied(failure) if writes else _unanswered(failure)


def _perhaps_applied(failure: Failure) -> Judgement:
    reason = Reason.NO_SPACE if failure.text == _NO_SPACE else _reason(failure)
    message = f"may have been applied, look before repeating: {_plain(failure.text)} ({failure.status})"
    return Judgement(AtollError(Code.UNKNOWN, message, reason=reason))


def _unanswered(failure: Failure) -> Judgement:
    message = f"no answer: {_plain(failure.text)} ({failure.status})"
    return Judgement(unavailable(message, _reason(failure)), Again.ELSEWHERE)


def _reason(failure: Failure) -> Reason:
    timed_out = failure.status == "DEADLINE_EXCEEDED" or "timed out" in failure.text
    return Reason.TIMEOUT if timed_out else Reason.OTHER


def _plain(text: str) -> str:
    return text.removeprefix("etcdserver: ")


def unavailable(message: str, reason: Reason = Reason.OTHER) -> AtollError:
    return AtollError(Code.UNAVAILABLE, message, reason=reason, retry_after_s=RETRY_AFTER_S)
