"""A foreign candidate: what ``etcdctl elect`` does, in the same queue, with none of Atoll's records.

Rule: it follows etcd's recipe (put a leased key, wait for the predecessor's deletion, lead) and nothing more: it
does not wait for the last term to run out and has no deadline of its own. Against it only the fence holds, so
the World does not count it as a leader; its writes are fenced like everybody's.
"""

from __future__ import annotations

from atoll.errors import AtollError
from atoll.resources.election import Keys
from atoll.store.api import (
    Cancel,
    Compare,
    Driver,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResult,
    LeaseRevoke,
    Outcome,
    Put,
    Range,
    RangeResult,
    Relation,
    Target,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
    prefix_end,
)
from atoll.testing.world.node import WORK_KEY
from atoll.testing.world.virtual import Virtual

STEP_S = 0.7


class ForeignCandidate:
    """Stands for ``stays_s`` seconds, then goes. ``leads`` while it believes so."""

    def __init__(self, virtual: Virtual, driver: Driver, name: str, stays_s: float) -> None:
        self._virtual = virtual
        self._driver = driver
        self._keys = Keys(name)
        self._lease = 0
        self._revision = 0
        self._gone = False
        self._cancel: Cancel | None = None
        self.leads = False
        driver.submit(LeaseGrant(3), self._granted)
        virtual.after(stays_s, self.leave)

    def leave(self) -> None:
        if self._gone:
            return
        self._gone, self.leads = True, False
        if self._lease:
            self._driver.submit(LeaseRevoke(self._lease), lambda outcome: self._driver.close())

    def _granted(self, outcome: Outcome) -> None:
        if isinstance(outcome, LeaseResult) and not self._gone:
            self._lease = outcome.lease
            own = self._keys.own(self._lease)
            guard = Compare(own, Target.CREATE, Relation.EQUAL, 0)
            self._driver.submit(Txn((guard,), (Put(own, b"foreign", self._lease),)), self._joined)
            self._step()

    def _joined(self, outcome: Outcome) -> None:
        if isinstance(outcome, TxnResult) and outcome.succeeded:
            self._revision = outcome.revision
            self._look()

    def _look(self) -> None:
        before = Range(self._keys.queue, prefix_end(self._keys.queue), max_create_revision=self._revision - 1)
        self._driver.submit(before, self._looked)

    def _looked(self, outcome: Outcome) -> None:
        if self._gone or not isinstance(outcome, RangeResult):
            return
        if outcome.kvs:
            last = max(outcome.kvs, key=lambda kv: kv.create_revision)
            watch = Watch(last.key, start_revision=outcome.revision + 1, no_put=True)
            self._cancel = self._driver.watch(watch, self._seen)
        else:
            self.leads = True

    def _seen(self, batch: WatchBatch | AtollError) -> None:
        if isinstance(batch, WatchBatch) and batch.events and self._cancel:
            self._cancel()
            self._cancel = None
            self._look()

    def _step(self) -> None:
        """Renew the lease; leading, write under the own key's fence."""
        if self._gone:
            return
        self._driver.submit(LeaseKeepAlive(self._lease), lambda outcome: None)
        if self.leads:
            own = self._keys.own(self._lease)
            guard = Compare(own, Target.CREATE, Relation.EQUAL, self._revision)
            write = Txn((guard,), (Put(WORK_KEY, b"0 %d" % self._revision),))
            self._driver.submit(write, self._written)
        self._virtual.after(STEP_S, self._step)

    def _written(self, outcome: Outcome) -> None:
        if isinstance(outcome, TxnResult) and not outcome.succeeded:
            self.leads = False
