"""Mutual exclusion for clients: a name that one of them has until it gives it back or its time is over.

Rule: the key's presence in the store is the lock, and a lease takes it away; no clock of any client or node is asked.
Whoever holds it may go on believing so for at most the time that it asked for, and the store keeps it at least so long.
A lock is given back by its holder only: the address that it was got from, because connections come and go.

The doubt: two programs at one address can give back each other's locks; the reference lets anyone do so.
"""

from __future__ import annotations

import math

from atoll.errors import AtollError, Code
from atoll.store.api import RESERVED_PREFIX, Compare, Delete, Put, Relation, Store, Target, Txn

LOCKS = RESERVED_PREFIX + b"registry/locks/"
NAME_BYTES_MAX = 1_024


class Locks:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def acquire(self, name: str, holder: str, held_s: float) -> bool:
        """False: somebody has it, the same holder or another. Raises INVALID, and what the store says."""
        key = _key(name)
        lease = (await self._store.lease_grant(max(1, math.ceil(held_s)))).lease
        got = False
        try:
            free = Compare(key, Target.CREATE, Relation.EQUAL, 0)
            put = Put(key, holder.encode(), lease)
            got = (await self._store.txn(Txn((free,), (put,)))).succeeded
        finally:
            if not got:
                await self._store.lease_revoke(lease)
        return got

    async def release(self, name: str, holder: str) -> bool:
        """False: ``holder`` does not have it."""
        key = _key(name)
        mine = Compare(key, Target.VALUE, Relation.EQUAL, holder.encode())
        return (await self._store.txn(Txn((mine,), (Delete(key),)))).succeeded


def _key(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) > NAME_BYTES_MAX:
        raise AtollError(
            Code.INVALID, f"the name of a lock has {len(encoded)} bytes, at most {NAME_BYTES_MAX} are allowed"
        )
    return LOCKS + encoded
