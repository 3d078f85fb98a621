"""What a request means: its checks, its reads, and a transaction of any shape, over a ``mvcc.State``.

Rule: pure, and exactly etcd 3.4's order of things. First the shape of the whole request is checked; then all
compares, nested ones too, are evaluated on the state before the transaction, which fixes the path; then leases,
``ignore_*`` and read revisions along that path are checked; only then are changes staged, so that an error never
leaves half a transaction. Reads inside the transaction see its earlier writes.

Doubt: a deletion "from a key on" (``end == b"\\0"``) does not take part in etcd's check for duplicate keys, so a
transaction may both put and so delete one key; this module follows the real server there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import (
    RESERVED_PREFIX,
    Compare,
    Delete,
    DeleteResult,
    KeyValue,
    Limits,
    Operation,
    OperationResult,
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

LEASE_KEYS_MAX = 1 << 19
"""A lease's keys all go in one revision when it ends, so their number is bounded."""
_ABSENT = KeyValue(b"")

# ---------------------------------------------------------------------------------- checks of the shape


def check(request: Operation, limits: Limits) -> None:
    """Refuse what is wrong whatever the state: empty keys, too many operations, duplicate keys, size."""
    _check_operation(request, limits.txn_operations_max)
    if isinstance(request, Txn):
        _check_duplicates(request.success)
        _check_duplicates(request.failure)
    request_bytes = size_bytes(request)
    # what only reads is not stored, so etcd does not limit it
    if request_bytes > limits.request_bytes_max and writes(request):
        text = f"the request has {request_bytes} bytes; at most {limits.request_bytes_max} are allowed"
        raise AtollError(Code.INVALID, text, reason=Reason.REQUEST_TOO_LARGE)


def _check_operation(request: Operation, operations_max: int) -> None:
    if isinstance(request, Txn):
        _check_txn(request, operations_max)
        return
    if not request.key:
        raise AtollError(Code.INVALID, "the key is empty; give at least one byte", reason=Reason.EMPTY_KEY)
    if isinstance(request, Put):
        if request.ignore_value and request.value:
            text = "ignore_value keeps the old value; give no value with it"
            raise AtollError(Code.INVALID, text, reason=Reason.VALUE_PROVIDED)
        if request.ignore_lease and request.lease:
            text = "ignore_lease keeps the old lease; give no lease with it"
            raise AtollError(Code.INVALID, text, reason=Reason.LEASE_PROVIDED)


def _check_txn(txn: Txn, operations_max: int) -> None:
    widest = max(len(txn.compares), len(txn.success), len(txn.failure))
    if widest > operations_max:
        text = f"the transaction has {widest} operations at one level; {operations_max} are left of its limit"
        raise AtollError(Code.INVALID, text, reason=Reason.TOO_MANY_OPS)
    if not all(compare.key for compare in txn.compares):
        raise AtollError(Code.INVALID, "the key of a compare is empty", reason=Reason.EMPTY_KEY)
    for operation in (*txn.success, *txn.failure):
        _check_operation(operation, operations_max - widest)


def _check_duplicates(operations: Sequence[Operation]) -> tuple[set[bytes], list[Delete]]:
    """A key may be put once, and not both put and deleted, on any path; returns the puts and deletions."""
    deletes = [operation for operation in operations if isinstance(operation, Delete)]
    puts: set[bytes] = set()
    for operation in operations:
        if not isinstance(operation, Txn):
            continue
        puts_then, deletes_then = _check_duplicates(operation.success)
        puts_else, deletes_else = _check_duplicates(operation.failure)
        # success and failure exclude one another, so they may put the same key
        nested = puts_then | puts_else
        _refuse_duplicates(puts & nested, nested, deletes)
        puts |= nested
        deletes += deletes_then + deletes_else
    for operation in operations:
        if isinstance(operation, Put):
            _refuse_duplicates(puts & {operation.key}, {operation.key}, deletes)
            puts.add(operation.key)
    return puts, deletes


def _refuse_duplicates(twice: set[bytes], puts: set[bytes], deletes: Sequence[Delete]) -> None:
    covered = {key for key in puts if any(_covers(delete, key) for delete in deletes)} if deletes else set()
    if twice or covered:
        key = min(twice | covered)
        text = f"the transaction writes the key {key!r} more than once; write each key once"
        raise AtollError(Code.INVALID, text, reason=Reason.DUPLICATE_KEY)


def _covers(delete: Delete, key: bytes) -> bool:
    return delete.key <= key < delete.end if delete.end else delete.key == key


def size_bytes(request: Operation) -> int:
    """The bytes of keys and values in ``request``."""
    if isinstance(request, Put):
        return len(request.key) + len(request.value)
    if isinstance(request, Txn):
        operations = sum(size_bytes(operation) for operation in (*request.success, *request.failure))
        return operations + sum(len(compare.key) + len(compare.end) for compare in request.compares)
    return len(request.key) + len(request.end)


def writes(request: Operation) -> bool:
    """Whether some path of ``request`` may write."""
    if isinstance(request, Txn):
        return any(map(writes, request.success)) or any(map(writes, request.failure))
    return not isinstance(request, Range)


def puts(request: Operation) -> bool:
    """Whether some path of ``request`` may put; only those need room."""
    if isinstance(request, Txn):
        return any(map(puts, request.success)) or any(map(puts, request.failure))
    return isinstance(request, Put)


# --------------------------------------------------------------------------------------------- reading


def read(state: State, request: Range, at: int, public: bool = False) -> RangeResult:
    """Answer ``request`` where ``at`` is the newest revision. Raises FUTURE_REVISION, COMPACTED."""
    revision = request.revision if request.revision > 0 else at
    _check_revision(state, revision, at)
    if request.count_only:
        return RangeResult(at, (), False, state.count(request.key, request.end, revision, public))
    # without order or filters the first ``limit`` keys are the answer, and one more says that there are more
    first = request.limit + 1 if request.limit > 0 and not _needs_all(request) else None
    kvs = state.scan(request.key, request.end, revision, public, first)
    count, more = len(kvs), False
    if count == first:
        count = state.count(request.key, request.end, revision, public)
    if count:
        kvs, more = _select(request, kvs)
        if request.keys_only:
            kvs = [
                KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, kv.lease) for kv in kvs
            ]
    return RangeResult(at, tuple(kvs), more, count)


def _needs_all(request: Range) -> bool:
    bounds = request.min_mod_revision or request.max_mod_revision
    return bool(
        request.sort_order is not SortOrder.NONE
        or bounds
        or request.min_create_revision
        or request.max_create_revision
    )


def _check_revision(state: State, revision: int, newest: int) -> None:
    if revision > newest:
        raise in_the_future(revision, newest)
    if revision < state.compact_revision:
        raise compacted(revision, state.compact_revision)


def in_the_future(revision: int, newest: int) -> AtollError:
    text = f"revision {revision} is in the future; the newest is {newest}"
    return AtollError(Code.INVALID, text, reason=Reason.FUTURE_REVISION, facts={"revision": newest})


def compacted(revision: int, compact_revision: int) -> AtollError:
    text = f"revision {revision} was compacted; history begins at {compact_revision}"
    facts = {"compact_revision": compact_revision}
    return AtollError(Code.INVALID, text, reason=Reason.COMPACTED, facts=facts)


_SORT_KEYS: dict[SortTarget, Callable[[KeyValue], bytes | int]] = {
    SortTarget.KEY: lambda kv: kv.key,
    SortTarget.VERSION: lambda kv: kv.version,
    SortTarget.CREATE: lambda kv: kv.create_revision,
    SortTarget.MOD: lambda kv: kv.mod_revision,
    SortTarget.VALUE: lambda kv: kv.value,
}


def _select(request: Range, kvs: list[KeyValue]) -> tuple[list[KeyValue], bool]:
    """Filter, sort, then cut. Returns what is left and whether the limit cut something."""
    filtered = _filter(request, kvs)
    order = request.sort_order
    if order is SortOrder.NONE and request.sort_target is not SortTarget.KEY:
        order = (
            SortOrder.ASCEND
        )  # as etcd has it: the limit (and one more, for ``more``) cuts before this sort
        if request.limit > 0 and filtered is kvs:
            filtered = kvs[: request.limit + 1]
    if order is not SortOrder.NONE:
        filtered = sorted(
            filtered,
            key=_SORT_KEYS[request.sort_target],
            reverse=order is SortOrder.DESCEND,
        )
    if 0 < request.limit < len(filtered):
        return filtered[: request.limit], True
    return filtered, False


def _filter(request: Range, kvs: list[KeyValue]) -> list[KeyValue]:
    if request.max_mod_revision:
        kvs = [kv for kv in kvs if kv.mod_revision <= request.max_mod_revision]
    if request.min_mod_revision:
        kvs = [kv for kv in kvs if kv.mod_revision >= request.min_mod_revision]
    if request.max_create_revision:
        kvs = [kv for kv in kvs if kv.create_revision <= request.max_create_revision]
    if request.min_create_revision:
        kvs = [kv for kv in kvs if kv.create_revision >= request.min_create_revision]
    return kvs


# ---------------------------------------------------------------------------------------- transactions


class Transaction:
    """One request decided on ``state``, where ``at`` is the newest revision that its compares see."""

    def __init__(self, state: State, at: int, public: bool = False) -> None:
        self._state = state
        self._at = at
        self._public = public

    def run(self, request: Operation) -> OperationResult:
        """Stage what ``request`` writes and answer it. Raises before anything is staged."""
        path = self._path(request)
        self._check_writes(request, iter(path))
        self._check_reads(request, iter(path))
        result = self._apply(request, iter(path))
        if isinstance(result, TxnResult):
            return TxnResult(self._newest(), result.succeeded, result.results)
        return result

    def _newest(self) -> int:
        return self._at + 1 if self._state.staged else self._at

    def _path(self, request: Operation) -> list[bool]:
        """Which branch each transaction takes, in the order in which they are met."""
        if not isinstance(request, Txn):
            return []
        succeeded = all(self._holds(compare) for compare in request.compares)
        path = [succeeded]
        for operation in request.success if succeeded else request.failure:
            path += self._path(operation)
        return path

    def _holds(self, compare: Compare) -> bool:
        kvs = self._state.scan(compare.key, compare.end, self._at, self._public)
        if not kvs:
            return compare.target is not Target.VALUE and _compare(_ABSENT, compare)
        return all(_compare(kv, compare) for kv in kvs)

    def _operations(self, request: Operation, path: Iterator[bool]) -> Iterator[Put | Delete | Range]:
        """The operations along the path, in order, nested ones in place."""
        if not isinstance(request, Txn):
            yield request
            return
        for operation in request.success if next(path) else request.failure:
            yield from self._operations(operation, path)

    def _check_writes(self, request: Operation, path: Iterator[bool]) -> None:
        for operation in self._operations(request, path):
            if isinstance(operation, Put):
                self._check_put(operation, operation is request)

    def _check_put(self, put: Put, alone: bool) -> None:
        """``alone``: not in a transaction; then etcd looks for the lease before it looks for the key."""
        if self._public and put.key.startswith(RESERVED_PREFIX):
            text = f"the key {put.key!r} lies in the part that is reserved for Atoll itself; choose another"
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
        if alone and put.lease and put.lease not in self._state.leases:
            raise lease_not_found(put.lease)
        if (put.ignore_value or put.ignore_lease) and self._state.get(put.key, self._at) is None:
            text = f"there is no key {put.key!r} whose value or lease could be kept; put it first"
            raise AtollError(Code.INVALID, text, reason=Reason.KEY_NOT_FOUND)
        if put.lease and put.lease not in self._state.leases:
            raise lease_not_found(put.lease)
        if put.lease and self._state.attached_count(put.lease) >= LEASE_KEYS_MAX:
            text = f"the lease {put.lease:x} (hexadecimal) has {LEASE_KEYS_MAX} keys; use another one"
            raise AtollError(Code.EXHAUSTED, text)

    def _check_reads(self, request: Operation, path: Iterator[bool]) -> None:
        if not isinstance(request, Txn):
            return
        for operation in self._operations(request, path):
            if isinstance(operation, Range) and operation.revision:
                _check_revision(self._state, operation.revision, self._at)

    def _apply(self, request: Operation, path: Iterator[bool]) -> OperationResult:
        if isinstance(request, Put):
            return self._put(request)
        if isinstance(request, Range):
            return read(self._state, request, self._newest(), self._public)
        if isinstance(request, Delete):
            return self._delete(request)
        succeeded = next(path)
        operations = request.success if succeeded else request.failure
        # a nested transaction's own header is empty in etcd; ``run`` fills in the outermost one
        return TxnResult(0, succeeded, tuple(self._apply(operation, path) for operation in operations))

    def _put(self, put: Put) -> PutResult:
        state = self._state
        value, lease = put.value, put.lease
        if put.ignore_value or put.ignore_lease:
            current = state.get(put.key, state.reading_revision)
            if current is None:  # deleted "from a key on" earlier in this very transaction
                state.abandon()
                text = f"the transaction deletes the key {put.key!r} before it keeps its value or lease"
                raise AtollError(Code.INVALID, text, reason=Reason.KEY_NOT_FOUND)
            value = current.value if put.ignore_value else value
            lease = current.lease if put.ignore_lease else lease
        previous = state.put(put.key, value, lease)
        return PutResult(state.revision + 1, previous if put.prev_kv else None)

    def _delete(self, delete: Delete) -> DeleteResult:
        state = self._state
        kvs = state.scan(delete.key, delete.end, state.reading_revision, self._public)
        deleted = state.delete([kv.key for kv in kvs])
        return DeleteResult(state.reading_revision, deleted, tuple(kvs) if delete.prev_kv else ())


def _compare(kv: KeyValue, compare: Compare) -> bool:
    wanted = compare.value
    actual: int | bytes
    match compare.target:
        case Target.VERSION:
            actual = kv.version
        case Target.CREATE:
            actual = kv.create_revision
        case Target.MOD:
            actual = kv.mod_revision
        case Target.VALUE:
            actual = kv.value
        case Target.LEASE:
            actual = kv.lease
    match compare.relation:
        case Relation.EQUAL:
            return actual == wanted
        case Relation.NOT_EQUAL:
            return actual != wanted
        case Relation.GREATER:
            return actual > wanted  # type: ignore[operator]
        case Relation.LESS:
            return actual < wanted  # type: ignore[operator]


def lease_not_found(lease: int) -> AtollError:
    text = f"there is no lease {lease:x} (hexadecimal); it expired, was revoked or never granted"
    return AtollError(Code.NOT_FOUND, text, reason=Reason.LEASE_NOT_FOUND, facts={"lease": lease})
