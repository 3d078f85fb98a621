"""``etcd://``, the driver over a real etcd cluster.

One rule: everything is decided on one thread, this driver's own, by machines that do no I/O (``attempts``,
``failover``, ``etcd_watches``, ``keep_alive``, ``etcd_token``). Callers and gRPC's threads only post to it; after
each message it does what the machines ask and lets streams and probes follow from their state.

The cost is two changes of thread a request, some 50 us beside the 500 us and more that gRPC and etcd take.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec

from atoll.errors import AtollError, Code
from atoll.runtime.actor import Actor
from atoll.runtime.clock import BootClock, Clock
from atoll.runtime.logs import Log
from atoll.runtime.rng import Rng, system_rng
from atoll.store import api, etcd_link, etcd_messages, etcd_status
from atoll.store.api import Cancel, Done, Outcome, Request, Watch, WatchSink
from atoll.store.attempts import Attempts, Drop, Effect, Finish, Send, Work
from atoll.store.etcd_errors import Failure
from atoll.store.etcd_link import Ended, Link, Security
from atoll.store.etcd_messages import Call
from atoll.store.etcd_streams import Step, Streams
from atoll.store.etcd_token import Token
from atoll.store.etcd_url import EtcdAddress
from atoll.store.failover import Failover, Limits, Situation
from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS

REQUEST_TIMEOUT_S: Final = (
    15.0  # of a request without its own; etcd's own answer "timed out" comes at about 7 s
)
LOGIN_TIMEOUT_S: Final = 5.0
_WRITES = (api.Put, api.Delete, api.Compact, api.LeaseGrant, api.LeaseRevoke)


class _Request(msgspec.Struct):
    call: Call
    done: Done
    cancel: Cancel | None = None


class EtcdDriver:
    """A ``Driver``. Connects at the first request; one object a cluster is enough for a process."""

    def __init__(
        self,
        address: EtcdAddress,
        *,
        clock: Clock | None = None,
        rng: Rng | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.address = address
        self._clock = clock or BootClock()
        self._security = Security(address)
        self._limits = limits or Limits()
        self._failover = Failover(address.endpoints, rng or system_rng(), self._limits)
        self._token = Token(needed=bool(address.user))
        self._attempts = Attempts(self._failover, self._token)
        self._actor: Actor[Step] = Actor("etcd driver", self._clock, self._turn)
        self._streams = Streams(self._attempts, self._link, self._actor.post, with_token=bool(address.user))
        self._requests: dict[int, _Request] = {}
        self._links: dict[str, Link] = {}
        self._numbers = itertools.count(1)
        self._log = Log("store").bind(cluster=address.text())
        self._situation = Situation.UNTRIED
        self._closed = False  # to callers
        self._over = False  # to the driver's thread
        self._gate = threading.Lock()  # between callers and close
        self._actor.start()

    # ------------------------------------------------------------------------------ Driver, any thread

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        timeout_s = REQUEST_TIMEOUT_S if timeout_s is None else timeout_s
        try:
            step = self._step_for(request, timeout_s, done)
        except (ValueError, TypeError) as error:  # a number or a type that the message cannot hold
            done(_does_not_fit(error))
            return
        if not self._try_post(step):
            done(etcd_link.closed())

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        watch_id = next(self._numbers)
        try:
            etcd_messages.watch_create_message(watch, watch_id=watch_id, start_revision=watch.start_revision)
        except (ValueError, TypeError) as error:
            sink(_does_not_fit(error))
            return lambda: None
        if not self._try_post(lambda _now_s: self._streams.watch(watch_id, watch, sink)):
            sink(etcd_link.closed())
        return lambda: self._cancel_watch(watch_id)

    def close(self) -> None:
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._actor.post(self._end)
        self._actor.stop()

    def situation(self) -> Situation:
        """What is known of the cluster: tells "no leader" from "cut off"."""
        return self._situation

    def _cancel_watch(self, watch_id: int) -> None:
        self._try_post(lambda _now_s: self._streams.cancel_watch(watch_id))

    def _step_for(self, request: Request, timeout_s: float, done: Done) -> Step:
        match request:
            case api.LeaseKeepAlive(lease):
                messages.LeaseKeepAliveRequest(ID=lease)
                return functools.partial(self._streams.renew, next(self._numbers), lease, timeout_s, done)
            case api.StatusRequest():
                return functools.partial(self._status, timeout_s, done)
        call = etcd_messages.call_of(request)
        return functools.partial(self._begin, call, _effect(request), timeout_s, done)

    def _try_post(self, step: Step) -> bool:
        """False when the driver is closed: nothing is read any more."""
        with self._gate:
            if not self._closed:
                self._actor.post(step)
            return not self._closed

    # ------------------------------------------------------------------------------ the driver's thread

    def _turn(self, step: Step | None) -> float | None:
        """If anything here fails that nobody expected, everybody is told that the store is closed."""
        if self._over:
            return None
        whole = False
        try:
            at_s = self._advance(step, self._clock.now_s())
            whole = True
        finally:
            if not whole:
                self._closed = True
                self._end(self._clock.now_s())
        return at_s

    def _advance(self, step: Step | None, now_s: float) -> float | None:
        if step is not None:
            step(now_s)
        if self._over:
            return None
        self._do(self._attempts.turn(now_s))
        self._streams.follow(now_s)
        self._log_in(now_s)
        self._probe(now_s)
        self._note_situation()
        return self._next_s(now_s)

    @property
    def _busy(self) -> bool:
        """Whether anybody cares how the cluster is."""
        return bool(self._attempts or self._streams)

    def _next_s(self, now_s: float) -> float | None:
        times = [self._attempts.next_due_s(), self._streams.next_due_s()]
        times.append(self._failover.next_probe_s(busy=self._busy))
        if self._busy:
            times.append(self._token.next_due_s())
        return min((at_s for at_s in times if at_s is not None and at_s > now_s), default=None)

    def _on_thread(self, step: Callable[..., None], *known: Any) -> Ended:
        """What gRPC calls with an outcome, however late: ``step`` gets it, and the time, on this thread."""
        return lambda outcome: self._actor.post(functools.partial(step, *known, outcome))

    def _link(self, endpoint: str) -> Link:
        if endpoint not in self._links:
            self._links[endpoint] = Link(endpoint, self._security)
        return self._links[endpoint]

    # ------------------------------------------------------------------------------ requests

    def _begin(self, call: Call, effect: Effect, timeout_s: float, done: Done, now_s: float) -> None:
        number = next(self._numbers)
        self._requests[number] = _Request(call, done)
        self._do(self._attempts.submit(number, effect, now_s, timeout_s))

    def _do(self, work: list[Work]) -> None:
        for item in work:
            match item:
                case Send():
                    self._call(item)
                case Drop(number):
                    self._drop(self._requests[number])
                case Finish(number, error):
                    request = self._requests.pop(number)
                    self._drop(request)
                    request.done(error)

    def _call(self, send: Send) -> None:
        request = self._requests[send.number]
        link = self._link(send.endpoint)
        ended = self._on_thread(self._ended, send.number, send.serial, link)
        request.cancel = link.call(
            METHODS[request.call.method],
            request.call.message,
            send.timeout_s,
            etcd_link.metadata(send.token, needs_leader=send.needs_leader),
            ended,
        )

    def _ended(self, number: int, serial: int, link: Link, outcome: Any, now_s: float) -> None:
        link.release()
        if isinstance(outcome, Failure):
            self._do(self._attempts.failed(number, serial, outcome, now_s))
        elif self._attempts.answered(number, serial, now_s):
            request = self._requests.pop(number)
            request.done(request.call.result(outcome))

    def _drop(self, request: _Request) -> None:
        if request.cancel is not None:
            request.cancel()
            request.cancel = None

    def _status(self, timeout_s: float, done: Done, now_s: float) -> None:
        deadline_s = now_s + timeout_s
        conversation = etcd_status.converse()

        def say(outcome: Outcome | None) -> None:
            try:
                call = conversation.send(outcome) if outcome is not None else next(conversation)
            except StopIteration as end:
                done(end.value)
            except AtollError as error:
                done(error)
            else:
                now_s = self._clock.now_s()
                self._begin(call, Effect.STALE_NONE, deadline_s - now_s, say, now_s)

        say(None)

    # ------------------------------------------------------------------------------ login and probes

    def _log_in(self, now_s: float) -> None:
        endpoint = self._failover.choose(now_s)
        if not self._busy or endpoint is None or not self._token.fetch(now_s):
            return
        link = self._link(endpoint)
        message = messages.AuthenticateRequest(name=self.address.user, password=self.address.password)
        ended = self._on_thread(self._logged_in, link)
        link.call(METHODS["Auth.Authenticate"], message, LOGIN_TIMEOUT_S, etcd_link.metadata(""), ended)

    def _logged_in(self, link: Link, outcome: Any, now_s: float) -> None:
        link.release()
        if not isinstance(outcome, Failure):
            self._token.granted(outcome.token)
            return
        refused = self._token.failed(outcome, now_s)
        self._attempts.learn(link.endpoint, "", outcome, now_s)
        if refused is not None:
            self._do(self._attempts.refuse_all(refused))
            self._streams.end(refused)

    def _probe(self, now_s: float) -> None:
        for endpoint in self._failover.probes(now_s, busy=self._busy):
            link = self._link(endpoint)
            ended = self._on_thread(self._probed, link)
            timeout_s = self._limits.probe_timeout_s
            method = METHODS["Maintenance.Status"]
            link.call(method, messages.StatusRequest(), timeout_s, [], ended)

    def _probed(self, link: Link, outcome: Any, now_s: float) -> None:
        link.release()
        if not isinstance(outcome, Failure):
            cluster_id = outcome.header.cluster_id
            self._failover.probed(link.endpoint, now_s, leader=outcome.leader, cluster_id=cluster_id)
        else:
            why = "does not answer" if outcome.status == "DEADLINE_EXCEEDED" else outcome.text
            self._failover.silent(link.endpoint, now_s, why)
            if outcome.status == "DEADLINE_EXCEEDED":
                self._replace(link)
        if not self._failover.is_good(link.endpoint):
            self._do(self._attempts.abandon(link.endpoint, now_s))

    # ------------------------------------------------------------------------------ links and the end

    def _replace(self, link: Link) -> None:
        """A connection into silence would wait for TCP's growing pauses; a new one finds the member at once."""
        if self._links.get(link.endpoint) is link:
            del self._links[link.endpoint]
            link.retire()

    def _note_situation(self) -> None:
        situation = self._failover.situation()
        if situation is not self._situation:
            self._situation = situation
            say = (
                self._log.info if situation in (Situation.CONNECTED, Situation.UNTRIED) else self._log.warning
            )
            say("etcd situation", situation=situation.value, members=self._failover.describe())

    def _end(self, _now_s: float) -> None:
        self._over = True
        self._do(self._attempts.close())
        self._streams.close(etcd_link.closed())
        for link in self._links.values():
            link.close()


def _does_not_fit(error: Exception) -> AtollError:
    return AtollError(Code.INVALID, f"the request does not fit etcd's messages: {error}")


def _effect(request: Request) -> Effect:
    if isinstance(request, api.Range) and request.serializable:
        return Effect.STALE_NONE
    return Effect.WRITE if _writes(request) else Effect.NONE


def _writes(request: Request) -> bool:
    if isinstance(request, api.Txn):
        return any(_writes(operation) for operation in (*request.success, *request.failure))
    return isinstance(request, _WRITES)
