"""Atoll's errors in etcd's words: one table from ``Reason``, and from ``Code`` where the reason says no more.

One rule: status code and text are interface facts. Clients (etcd's own Go client first) map errors by comparing
the text, so a text here is etcd 3.4's, letter by letter; the differential test compares them with the real server.
Reasons that etcd has no text for keep Atoll's message after the prefix ``etcdserver: ``.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code, Reason
from atoll.wire.grpc.status import Status

TEXTS: dict[Reason, tuple[Status, str]] = {
    Reason.EMPTY_KEY: (Status.INVALID_ARGUMENT, "etcdserver: key is not provided"),
    Reason.KEY_NOT_FOUND: (Status.INVALID_ARGUMENT, "etcdserver: key not found"),
    Reason.VALUE_PROVIDED: (Status.INVALID_ARGUMENT, "etcdserver: value is provided"),
    Reason.LEASE_PROVIDED: (Status.INVALID_ARGUMENT, "etcdserver: lease is provided"),
    Reason.DUPLICATE_KEY: (Status.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"),
    Reason.TOO_MANY_OPS: (Status.INVALID_ARGUMENT, "etcdserver: too many operations in txn request"),
    Reason.REQUEST_TOO_LARGE: (Status.INVALID_ARGUMENT, "etcdserver: request is too large"),
    Reason.COMPACTED: (Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
    Reason.FUTURE_REVISION: (Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"),
    Reason.NO_SPACE: (Status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
    Reason.LEASE_NOT_FOUND: (Status.NOT_FOUND, "etcdserver: requested lease not found"),
    Reason.LEASE_EXISTS: (Status.FAILED_PRECONDITION, "etcdserver: lease already exists"),
    Reason.LEASE_TTL_TOO_LARGE: (Status.OUT_OF_RANGE, "etcdserver: too large lease TTL"),
    Reason.INVALID_CREDENTIALS: (
        Status.INVALID_ARGUMENT,
        "etcdserver: authentication failed, invalid user ID or password",
    ),
    Reason.INVALID_TOKEN: (Status.UNAUTHENTICATED, "etcdserver: invalid auth token"),
    Reason.PERMISSION_DENIED: (Status.PERMISSION_DENIED, "etcdserver: permission denied"),
    Reason.AUTH_NOT_ENABLED: (Status.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"),
    Reason.AUTH_MANAGEMENT: (Status.INVALID_ARGUMENT, "etcdserver: invalid auth management"),
    Reason.ROOT_USER_MISSING: (Status.FAILED_PRECONDITION, "etcdserver: root user does not exist"),
    Reason.ROOT_ROLE_MISSING: (Status.FAILED_PRECONDITION, "etcdserver: root user does not have root role"),
    Reason.USER_EMPTY: (Status.INVALID_ARGUMENT, "etcdserver: user name is empty"),
    Reason.USER_EXISTS: (Status.FAILED_PRECONDITION, "etcdserver: user name already exists"),
    Reason.USER_NOT_FOUND: (Status.FAILED_PRECONDITION, "etcdserver: user name not found"),
    Reason.USER_WITHOUT_PASSWORD: (
        Status.UNKNOWN,
        "auth: authentication failed, password was given for no password user",
    ),
    Reason.ROLE_EMPTY: (Status.INVALID_ARGUMENT, "etcdserver: role name is empty"),
    Reason.ROLE_EXISTS: (Status.FAILED_PRECONDITION, "etcdserver: role name already exists"),
    Reason.ROLE_NOT_FOUND: (Status.FAILED_PRECONDITION, "etcdserver: role name not found"),
    Reason.ROLE_NOT_GRANTED: (Status.FAILED_PRECONDITION, "etcdserver: role is not granted to the user"),
    Reason.PERMISSION_NOT_GRANTED: (
        Status.FAILED_PRECONDITION,
        "etcdserver: permission is not granted to the role",
    ),
    Reason.NO_LEADER: (Status.UNAVAILABLE, "etcdserver: no leader"),
    Reason.TIMEOUT: (Status.UNAVAILABLE, "etcdserver: request timed out"),
    Reason.CLOSED: (Status.UNAVAILABLE, "etcdserver: server stopped"),
    Reason.CORRUPT: (Status.DATA_LOSS, "etcdserver: corrupt cluster"),
}

_BY_CODE: dict[Code, Status] = {
    Code.INVALID: Status.INVALID_ARGUMENT,
    Code.NOT_FOUND: Status.NOT_FOUND,
    Code.CONFLICT: Status.FAILED_PRECONDITION,
    Code.DENIED: Status.PERMISSION_DENIED,
    Code.EXHAUSTED: Status.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: Status.UNAVAILABLE,
    Code.UNKNOWN: Status.UNAVAILABLE,
}


def status_of(error: AtollError) -> tuple[Status, str]:
    """The gRPC status and its text.

    A write whose outcome is unknown is UNAVAILABLE "request timed out", as in etcd: its clients know from that
    text that a write may have been applied.
    """
    if error.code is Code.UNKNOWN:
        return TEXTS[Reason.TIMEOUT]
    return TEXTS.get(error.reason) or (_BY_CODE[error.code], f"etcdserver: {error.message}")


def internal_status_of(error: AtollError) -> tuple[Status, str]:
    """As etcd's lock and election services say it: the same text, but always UNKNOWN."""
    return Status.UNKNOWN, status_of(error)[1]


def maintenance_status_of(error: AtollError) -> tuple[Status, str]:
    """As etcd's maintenance service refuses somebody: UNKNOWN, with the prefix of its inner package."""
    return Status.UNKNOWN, status_of(error)[1].replace("etcdserver: ", "auth: ")
