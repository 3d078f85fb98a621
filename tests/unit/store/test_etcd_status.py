"""The conversation that finds out a cluster's status, with a cluster made of answers."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.store import etcd_status
from atoll.store.api import KeyValue, Outcome, RangeResult, StatusResult
from atoll.store.etcd_messages import Call
from atoll.wire.etcd import messages

COMPACTED = AtollError(Code.INVALID, "compacted", reason=Reason.COMPACTED)


class Answers:
    """Answers as a cluster at ``revision`` that was compacted to ``compact_revision``."""

    def __init__(self, revision: int, compact_revision: int, generation: bytes | None = None) -> None:
        self.revision = revision
        self.compact_revision = compact_revision
        self.generation = generation
        self.questions = 0

    def answer(self, call: Call) -> Outcome:
        self.questions += 1
        if call.method == "Maintenance.Status":
            header = messages.ResponseHeader(revision=self.revision)
            return call.result(messages.StatusResponse(header=header, leader=3, version="3.4.23"))
        if 0 < call.message.revision < self.compact_revision:
            return COMPACTED
        kvs = () if self.generation is None else (KeyValue(b"", self.generation),)
        return RangeResult(self.revision, kvs)


def ask(answers: Answers) -> StatusResult:
    conversation = etcd_status.converse()
    try:
        call = next(conversation)
        while True:
            call = conversation.send(answers.answer(call))
    except StopIteration as end:
        result: StatusResult = end.value
        return result


@pytest.mark.parametrize(
    ("revision", "compacted"), [(1, 0), (2, 2), (10, 0), (10, 7), (10, 10), (1_000_000, 999_999), (2**40, 2)]
)
def test_the_compacted_revision_is_found(revision: int, compacted: int) -> None:
    answers = Answers(revision, compacted)
    status = ask(answers)
    assert (status.revision, status.compact_revision, status.leader) == (revision, compacted, 3)
    assert answers.questions <= 3 + revision.bit_length()


def test_a_generation_is_read_and_one_that_is_no_number_is_named() -> None:
    assert ask(Answers(5, 0, b"1700000000")).generation == 1_700_000_000
    assert ask(Answers(5, 0)).generation == 0
    with pytest.raises(AtollError, match="must hold decimal digits; it holds b'x'"):
        ask(Answers(5, 0, b"x"))


def test_a_refusal_ends_the_conversation() -> None:
    conversation = etcd_status.converse()
    next(conversation)
    denied = AtollError(Code.DENIED, "no permission")
    with pytest.raises(AtollError) as raised:
        conversation.send(denied)
    assert raised.value is denied
