"""Requests and transactions of all shapes, decided on a state; the expected values were read off etcd 3.4."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Reason
from atoll.store.api import (
    Compare,
    Delete,
    DeleteResult,
    KeyValue,
    Limits,
    Operation,
    Put,
    PutResult,
    Range,
    RangeResult,
    Relation,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
)
from atoll.store.mvcc import State
from atoll.store.transaction import Transaction, check, read

ALL = Range(b"\0", b"\0")


def _state() -> State:
    """Revisions: 2 a=1, 3 b=2 (lease 7), 4 a=3, 5 c=1."""
    state = State()
    state.leases[7] = 10
    for key, value, lease in ((b"a", b"1", 0), (b"b", b"2", 7), (b"a", b"3", 0), (b"c", b"1", 0)):
        state.put(key, value, lease)
        state.seal()
    return state


def _run(state: State, request: Operation, public: bool = False) -> object:
    check(request, Limits())
    result = Transaction(state, state.revision, public).run(request)
    state.seal()
    return result


def _reason(state: State, request: Operation, public: bool = False) -> Reason:
    before = state.scan(b"\0", b"\0", state.revision), state.revision
    with pytest.raises(AtollError) as caught:
        _run(state, request, public)
    assert (state.scan(b"\0", b"\0", state.revision), state.revision) == before
    assert not state.staged
    return caught.value.reason


def _keys(result: RangeResult) -> list[bytes]:
    return [kv.key for kv in result.kvs]


# ------------------------------------------------------------------------------------------------ ranges


def test_count_ignores_limit_and_more_tells_of_the_rest() -> None:
    result = read(_state(), Range(b"a", b"\0", limit=2), 5)
    assert (_keys(result), result.count, result.more) == ([b"a", b"b"], 3, True)
    result = read(_state(), Range(b"a", b"\0", limit=3), 5)
    assert (_keys(result), result.count, result.more) == ([b"a", b"b", b"c"], 3, False)
    result = read(_state(), Range(b"a", b"\0", limit=1, count_only=True), 5)
    assert (result.kvs, result.count, result.more) == ((), 3, False)


@pytest.mark.parametrize(
    ("request_", "keys"),
    [
        (Range(b"a", b"\0", sort_order=SortOrder.DESCEND), [b"c", b"b", b"a"]),
        (Range(b"a", b"\0", sort_order=SortOrder.ASCEND, sort_target=SortTarget.MOD), [b"b", b"a", b"c"]),
        (Range(b"a", b"\0", sort_order=SortOrder.DESCEND, sort_target=SortTarget.CREATE), [b"c", b"b", b"a"]),
        (Range(b"a", b"\0", sort_order=SortOrder.DESCEND, sort_target=SortTarget.VALUE), [b"a", b"b", b"c"]),
        (Range(b"a", b"\0", sort_order=SortOrder.ASCEND, sort_target=SortTarget.VERSION, limit=1), [b"b"]),
        # without an order the limit, plus one, cuts before the sort
        (Range(b"a", b"\0", sort_target=SortTarget.VALUE, limit=1), [b"b"]),
        (Range(b"a", b"\0", min_mod_revision=4), [b"a", b"c"]),
        (Range(b"a", b"\0", max_mod_revision=4), [b"a", b"b"]),
        (Range(b"a", b"\0", min_create_revision=3), [b"b", b"c"]),
        (Range(b"a", b"\0", max_create_revision=2), [b"a"]),
        (Range(b"a", b"\0", revision=2), [b"a"]),
        (Range(b"b"), [b"b"]),
        (Range(b"c", b"a"), []),
    ],
)
def test_selection_and_order(request_: Range, keys: list[bytes]) -> None:
    assert _keys(read(_state(), request_, 5)) == keys


def test_keys_only_keeps_the_rest() -> None:
    assert read(_state(), Range(b"b", keys_only=True), 5).kvs == (KeyValue(b"b", b"", 3, 3, 1, 7),)


def test_revisions_that_cannot_be_read() -> None:
    state = _state()
    state.compact(4)
    assert _keys(read(state, Range(b"a", revision=4), 5)) == [b"a"]
    for revision, reason in ((3, Reason.COMPACTED), (6, Reason.FUTURE_REVISION)):
        with pytest.raises(AtollError) as caught:
            read(state, Range(b"a", revision=revision), 5)
        assert caught.value.reason is reason


# ---------------------------------------------------------------------------------------- put and delete


def test_put_answers_what_was_there_only_when_asked() -> None:
    state = _state()
    assert _run(state, Put(b"a", b"4")) == PutResult(6)
    assert _run(state, Put(b"a", b"5", prev_kv=True)) == PutResult(7, KeyValue(b"a", b"4", 2, 6, 3))
    assert _run(state, Put(b"new", b"", prev_kv=True)) == PutResult(8)


def test_ignore_flags_keep_value_or_lease() -> None:
    state = _state()
    _run(state, Put(b"b", ignore_value=True))
    assert state.get(b"b", 6) == KeyValue(b"b", b"2", 3, 6, 2, 0)
    _run(state, Put(b"b", lease=7, ignore_value=True))
    _run(state, Put(b"b", b"9", ignore_lease=True))
    assert state.get(b"b", 8) == KeyValue(b"b", b"9", 3, 8, 4, 7)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Put(b""), Reason.EMPTY_KEY),
        (Range(b""), Reason.EMPTY_KEY),
        (Delete(b""), Reason.EMPTY_KEY),
        (Txn(compares=(Compare(b"", Target.MOD, Relation.EQUAL, 0),)), Reason.EMPTY_KEY),
        (Put(b"a", b"x", ignore_value=True), Reason.VALUE_PROVIDED),
        (Put(b"a", lease=7, ignore_lease=True), Reason.LEASE_PROVIDED),
        (Put(b"nobody", ignore_value=True), Reason.KEY_NOT_FOUND),
        (Put(b"nobody", ignore_lease=True), Reason.KEY_NOT_FOUND),
        (Put(b"a", lease=99), Reason.LEASE_NOT_FOUND),
        (Txn(success=(Put(b"x"), Put(b"a", lease=99))), Reason.LEASE_NOT_FOUND),
        (Txn(success=(Put(b"x"), Range(b"a", revision=7))), Reason.FUTURE_REVISION),
        (Txn(success=(Put(b"x"),) * 129), Reason.TOO_MANY_OPS),
        (Txn(success=(Txn(success=tuple(Put(b"%d" % i) for i in range(128))),)), Reason.TOO_MANY_OPS),
        (Put(b"a", b"x" * 1_572_864), Reason.REQUEST_TOO_LARGE),
        (Txn(success=(Put(b"a", b"x" * 800_000), Put(b"b", b"x" * 800_000))), Reason.REQUEST_TOO_LARGE),
        (Txn(success=(Put(b"z"), Delete(b"d", b"\0"), Put(b"z2", ignore_value=True))), Reason.KEY_NOT_FOUND),
        (Txn(success=(Delete(b"a", b"\0"), Put(b"a", ignore_value=True))), Reason.KEY_NOT_FOUND),
    ],
)
def test_refusals_leave_no_trace(request_: Operation, reason: Reason) -> None:
    assert _reason(_state(), request_) is reason


def test_delete_answers_number_and_revision() -> None:
    state = _state()
    assert _run(state, Delete(b"x", b"z")) == DeleteResult(5, 0)
    a, b = KeyValue(b"a", b"3", 2, 4, 2), KeyValue(b"b", b"2", 3, 3, 1, 7)
    assert _run(state, Delete(b"a", b"c", prev_kv=True)) == DeleteResult(6, 2, (a, b))
    assert state.attached(7) == []


# -------------------------------------------------------------------------------------------- duplicates

_THEN_PUTS = Txn(success=(Put(b"k"),))
_ELSE_PUTS = Txn(failure=(Put(b"k"),))
_EITHER_PUTS = Txn(success=(Put(b"k"),), failure=(Put(b"k"),))


@pytest.mark.parametrize(
    ("operations", "refused"),
    [
        ((Put(b"k"), Put(b"k")), True),
        ((Put(b"k"), Put(b"l")), False),
        ((Put(b"k"), Delete(b"k")), True),
        ((Delete(b"j", b"l"), Put(b"k")), True),
        ((Delete(b"j", b"k"), Put(b"k")), False),
        ((Delete(b"a"), Delete(b"a", b"z")), False),
        ((Put(b"k"), _THEN_PUTS), True),
        ((_ELSE_PUTS, Put(b"k")), True),
        ((_THEN_PUTS, _ELSE_PUTS), True),
        ((_EITHER_PUTS,), False),
        ((_EITHER_PUTS, _EITHER_PUTS), True),
        ((Delete(b"k"), _THEN_PUTS), True),
        ((Txn(success=(Delete(b"k"),)), Put(b"k")), True),
        ((Txn(success=(Delete(b"k"),)), _THEN_PUTS), True),
        ((Txn(success=(Delete(b"k"),), failure=(Put(b"k"),)),), False),
        ((Txn(success=(Txn(failure=(Put(b"k"),)), Put(b"k"))),), True),
        ((Put(b"k"), Delete(b"a", b"\0")), False),  # "from a key on" is not part of the check, as in etcd
        ((Range(b"k"), Put(b"k"), Range(b"k")), False),
    ],
)
@pytest.mark.parametrize("branch", ["success", "failure"])
def test_a_key_is_written_once(operations: tuple[Operation, ...], refused: bool, branch: str) -> None:
    request = Txn(success=operations) if branch == "success" else Txn(failure=operations)
    if refused:
        assert _reason(_state(), request) is Reason.DUPLICATE_KEY
    else:
        check(request, Limits())


# -------------------------------------------------------------------------------------------- compares


@pytest.mark.parametrize(
    ("target", "less", "equal"),
    [
        (Target.VERSION, 1, 2),
        (Target.CREATE, 1, 2),
        (Target.MOD, 3, 4),
        (Target.VALUE, b"2", b"3"),
        (Target.LEASE, -1, 0),
    ],
)
def test_every_target_and_relation(target: Target, less: int | bytes, equal: int | bytes) -> None:
    def holds(relation: Relation, value: int | bytes) -> bool:
        result = _run(_state(), Txn(compares=(Compare(b"a", target, relation, value),)))
        assert isinstance(result, TxnResult)
        return result.succeeded

    assert [holds(relation, equal) for relation in Relation] == [True, False, False, False]
    assert [holds(relation, less) for relation in Relation] == [False, True, False, True]


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(b"x", Target.MOD, Relation.EQUAL, 0), True),
        (Compare(b"x", Target.VERSION, Relation.LESS, 1), True),
        (Compare(b"x", Target.VALUE, Relation.EQUAL, b""), False),
        (Compare(b"x", Target.VALUE, Relation.NOT_EQUAL, b"1"), False),
        (Compare(b"x", Target.CREATE, Relation.EQUAL, 0, end=b"z"), True),
        (Compare(b"x", Target.VALUE, Relation.NOT_EQUAL, b"1", end=b"z"), False),
        (Compare(b"a", Target.MOD, Relation.LESS, 6, end=b"\0"), True),
        (Compare(b"a", Target.MOD, Relation.LESS, 5, end=b"\0"), False),
    ],
)
def test_compares_of_ranges_and_absent_keys(compare: Compare, holds: bool) -> None:
    result = _run(_state(), Txn(compares=(compare,)))
    assert isinstance(result, TxnResult)
    assert result.succeeded is holds


# ---------------------------------------------------------------------------------------- transactions


def test_reads_see_earlier_writes_and_everything_is_one_revision() -> None:
    state = _state()
    result = _run(state, Txn(success=(Range(b"n"), Put(b"n", b"1"), Range(b"n"), Delete(b"a"), Range(b"a"))))
    n = KeyValue(b"n", b"1", 6, 6, 1)
    assert result == TxnResult(
        6,
        True,
        (RangeResult(5), PutResult(6), RangeResult(6, (n,), False, 1), DeleteResult(6, 1), RangeResult(6)),
    )
    assert state.revision == 6


def test_a_transaction_that_only_reads_leaves_the_revision() -> None:
    state = _state()
    assert _run(state, Txn(success=(Range(b"zz"), Delete(b"zz")))) == TxnResult(
        5, True, (RangeResult(5), DeleteResult(5, 0))
    )
    assert state.revision == 5


def test_nested_compares_look_at_the_state_before_the_transaction() -> None:
    state = _state()
    inner = Txn(
        compares=(Compare(b"n", Target.VERSION, Relation.EQUAL, 0),),
        success=(Put(b"then"),),
        failure=(Put(b"else"),),
    )
    result = _run(state, Txn(success=(Put(b"n"), inner)))
    assert result == TxnResult(6, True, (PutResult(6), TxnResult(0, True, (PutResult(6),))))
    assert state.get(b"then", 6) is not None


def test_failure_branch() -> None:
    state = _state()
    guard = Compare(b"a", Target.MOD, Relation.EQUAL, 2)
    result = _run(state, Txn((guard,), (Put(b"a", b"never"),), (Range(b"a", keys_only=True),)))
    kv = KeyValue(b"a", b"", 2, 4, 2)
    assert result == TxnResult(5, False, (RangeResult(5, (kv,), False, 1),))


def test_put_and_delete_from_on_in_one_revision() -> None:
    state = _state()
    result = _run(state, Txn(success=(Put(b"z", b"1"), Delete(b"b", b"\0"))))
    assert result == TxnResult(6, True, (PutResult(6), DeleteResult(6, 3)))
    assert _keys(read(state, ALL, 6)) == [b"a"]
    [(_, events)] = state.events(6, 6)
    assert [(event.kv.key, event.kv.version) for event in events] == [
        (b"z", 1),
        (b"b", 0),
        (b"c", 0),
        (b"z", 0),
    ]


# ------------------------------------------------------------------------------------- the reserved part


def test_outsiders_neither_see_nor_touch_the_reserved_part() -> None:
    state = _state()
    state.put(b"\0atoll/node", b"secret", 0)
    state.seal()
    assert _reason(state, Put(b"\0atoll/node"), public=True) is Reason.PERMISSION_DENIED
    assert _reason(state, Txn(success=(Put(b"\0atoll/x"),)), public=True) is Reason.PERMISSION_DENIED
    exists = Compare(b"\0atoll/node", Target.VERSION, Relation.GREATER, 0)
    result = _run(state, Txn((exists,), (), (ALL, Delete(b"\0", b"\0"))), public=True)
    assert isinstance(result, TxnResult)
    assert not result.succeeded
    listed, deleted = result.results
    assert isinstance(listed, RangeResult)
    assert (_keys(listed), listed.count) == ([b"a", b"b", b"c"], 3)
    assert deleted == DeleteResult(7, 3)
    assert state.get(b"\0atoll/node", 7) is not None
