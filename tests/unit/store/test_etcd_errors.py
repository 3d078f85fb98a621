"""What a failure of a call means. The texts are etcd 3.4's; a conformance test provokes them on the real one."""

from __future__ import annotations

import pytest

from atoll.errors import Code, Reason
from atoll.store.etcd_errors import CONNECT_FAILED, Again, Failure, judge


@pytest.mark.parametrize(
    ("status", "text", "code", "reason"),
    [
        ("INVALID_ARGUMENT", "etcdserver: key is not provided", Code.INVALID, Reason.EMPTY_KEY),
        (
            "OUT_OF_RANGE",
            "etcdserver: mvcc: required revision has been compacted",
            Code.INVALID,
            Reason.COMPACTED,
        ),
        ("FAILED_PRECONDITION", "etcdserver: lease already exists", Code.CONFLICT, Reason.LEASE_EXISTS),
        ("PERMISSION_DENIED", "etcdserver: permission denied", Code.DENIED, Reason.PERMISSION_DENIED),
        (
            "RESOURCE_EXHAUSTED",
            "grpc: received message larger than max (9 vs. 8)",
            Code.INVALID,
            Reason.REQUEST_TOO_LARGE,
        ),
        ("FAILED_PRECONDITION", "etcdserver: a text of a newer etcd", Code.CONFLICT, Reason.OTHER),
        ("UNIMPLEMENTED", "unknown service etcdserverpb.KV", Code.INVALID, Reason.OTHER),
    ],
)
@pytest.mark.parametrize("writes", [True, False])
def test_a_refusal_is_certain_and_final(
    status: str, text: str, code: Code, reason: Reason, writes: bool
) -> None:
    judgement = judge(Failure(status, text), writes=writes)
    assert (judgement.error.code, judgement.error.reason, judgement.again) == (code, reason, Again.NEVER)


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        ("UNAVAILABLE", "Socket closed", Reason.OTHER),
        ("UNAVAILABLE", "etcdserver: request timed out, possibly due to connection lost", Reason.TIMEOUT),
        ("UNAVAILABLE", "etcdserver: server stopped", Reason.OTHER),
        ("UNAVAILABLE", "etcdserver: leader changed", Reason.OTHER),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", Reason.TIMEOUT),
        ("CANCELLED", "Locally cancelled by application!", Reason.OTHER),
        ("UNKNOWN", "context deadline exceeded", Reason.OTHER),
        ("INTERNAL", "Exception deserializing response!", Reason.OTHER),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", Reason.NO_SPACE),
    ],
)
def test_what_proves_nothing_is_unknown_for_a_write_and_harmless_for_a_read(
    status: str, text: str, reason: Reason
) -> None:
    write = judge(Failure(status, text), writes=True)
    assert (write.error.code, write.error.reason, write.again) == (Code.UNKNOWN, reason, Again.NEVER)
    read = judge(Failure(status, text), writes=False)
    assert (read.error.code, read.again) == (Code.UNAVAILABLE, Again.ELSEWHERE)


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", Reason.NO_LEADER),
        ("UNKNOWN", "raft proposal dropped", Reason.NO_LEADER),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", Reason.OTHER),
        ("UNAVAILABLE", f"{CONNECT_FAILED}; last error: refused", Reason.OTHER),
    ],
)
def test_what_proves_that_nothing_was_applied_may_be_tried_again(
    status: str, text: str, reason: Reason
) -> None:
    judgement = judge(Failure(status, text), writes=True)
    assert (judgement.error.code, judgement.error.reason) == (Code.UNAVAILABLE, reason)
    assert judgement.again is Again.ELSEWHERE


def test_a_text_that_only_resembles_a_proof_proves_nothing() -> None:
    for text in ("no leader", "etcdserver: no leader, perhaps", "it failed to connect to all addresses"):
        assert judge(Failure("UNAVAILABLE", text), writes=True).error.code is Code.UNKNOWN
