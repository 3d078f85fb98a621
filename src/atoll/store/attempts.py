"""The life of a request to a cluster: waiting, sent, perhaps sent again, finished exactly once. A machine.

One rule: a request that changes something is sent again only after proof that it was not applied. What is still
waiting at its deadline was never sent, or was proven not applied, and is UNAVAILABLE; what was sent is UNKNOWN.

Events come in as method calls with the time, work goes out as ``Send``, ``Drop`` and ``Finish``. The machine asks
``Failover`` where to send and tells it what it learnt; ``Token`` says with which token.
"""

from __future__ import annotations

import enum
import heapq
from typing import Final, TypeAlias

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.store import etcd_errors
from atoll.store.etcd_errors import Again, Failure
from atoll.store.etcd_token import Token
from atoll.store.failover import Failover, Situation

REQUESTS_MAX: Final = 100_000  # under way at once in one driver
TOKENS_PER_REQUEST_MAX: Final = 2  # a fresh token that is refused twice is refused for good
RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 0.5


class Effect(enum.Enum):
    """What repeating a request could do."""

    NONE = "none"  # a read, or a renewal: repeat at will
    STALE_NONE = "stale none"  # a read that accepts a stale answer, also from a member without a leader
    WRITE = "write"


class Send(msgspec.Struct, frozen=True):
    """``serial`` names this try; its outcome is told with it, so that a dropped try's late end is no one's."""

    number: int
    serial: int
    endpoint: str
    token: str
    timeout_s: float
    needs_leader: bool


class Drop(msgspec.Struct, frozen=True):
    """Forget the attempt: its answer does not matter any more."""

    number: int


class Finish(msgspec.Struct, frozen=True):
    number: int
    error: AtollError


Work: TypeAlias = Send | Drop | Finish


class _Attempt:
    def __init__(self, effect: Effect, deadline_s: float) -> None:
        self.effect = effect
        self.deadline_s = deadline_s
        self.endpoint = ""  # empty: waiting
        self.token = ""
        self.serial = 0
        self.tokens = 0
        self.tries = 0
        self.not_before_s = float("-inf")
        self.error: AtollError | None = None  # of the last try


class Attempts:
    """Numbers are the caller's names for requests."""

    def __init__(self, failover: Failover, token: Token) -> None:
        self.failover = failover
        self.token = token
        self._attempts: dict[int, _Attempt] = {}
        self._waiting: dict[int, None] = {}  # in order of arrival
        self._due: list[tuple[float, int]] = []  # heap of (deadline or retry time, number)

    def __len__(self) -> int:
        return len(self._attempts)

    def submit(self, number: int, effect: Effect, now_s: float, timeout_s: float) -> list[Work]:
        if len(self._attempts) >= REQUESTS_MAX:
            full = AtollError(
                Code.EXHAUSTED, f"{REQUESTS_MAX} requests are under way already", retry_after_s=1.0
            )
            return [Finish(number, full)]
        attempt = _Attempt(effect, now_s + timeout_s)
        self._attempts[number] = attempt
        heapq.heappush(self._due, (attempt.deadline_s, number))
        return self._try(number, attempt, now_s)

    def answered(self, number: int, serial: int, now_s: float) -> bool:
        """The try succeeded and its request is finished. False when nobody waits for it any more."""
        attempt = self._current(number, serial)
        if attempt is None:
            return False
        self.failover.heard(attempt.endpoint, now_s)
        del self._attempts[number]
        return True

    def failed(self, number: int, serial: int, failure: Failure, now_s: float) -> list[Work]:
        """The try ended without an answer, or with an error for an answer."""
        attempt = self._current(number, serial)
        if attempt is None:
            return []
        judgement = etcd_errors.judge(failure, writes=attempt.effect is Effect.WRITE)
        self.learn(attempt.endpoint, attempt.token, failure, now_s)
        attempt.endpoint = ""
        attempt.error = judgement.error
        attempt.tokens += judgement.again is Again.NEW_TOKEN
        if judgement.again is Again.NEVER or attempt.tokens >= TOKENS_PER_REQUEST_MAX:
            return [self._finish(number, judgement.error)]
        return self._again(number, attempt, now_s)

    def learn(self, endpoint: str, token: str, failure: Failure, now_s: float) -> None:
        """What a failed call or stream tells of the member and of the token it carried."""
        judgement = etcd_errors.judge(failure, writes=False)
        if judgement.again is Again.NEW_TOKEN:
            self.token.refused(token)
        if failure.status == "UNAVAILABLE" and not failure.text.startswith("etcdserver: "):
            self.failover.silent(endpoint, now_s, failure.text)  # the connection, not the member, said so
        elif judgement.error.reason is Reason.NO_LEADER:
            self.failover.leaderless(endpoint, now_s)
        elif failure.status != "DEADLINE_EXCEEDED":  # that is our own clock, it tells nothing
            self.failover.heard(endpoint, now_s)

    def _current(self, number: int, serial: int) -> _Attempt | None:
        attempt = self._attempts.get(number)
        return attempt if attempt is not None and attempt.endpoint and attempt.serial == serial else None

    def _again(self, number: int, attempt: _Attempt, now_s: float) -> list[Work]:
        """The first repetition at once (another member may be fine), later ones after a growing pause."""
        attempt.tries += 1
        if attempt.tries > 1:
            attempt.not_before_s = now_s + min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(attempt.tries, 10))
            heapq.heappush(self._due, (attempt.not_before_s, number))
        return self._try(number, attempt, now_s)

    def _try(self, number: int, attempt: _Attempt, now_s: float) -> list[Work]:
        if now_s >= attempt.deadline_s:
            return [self._finish(number, self._too_late(attempt))]
        endpoint = None
        if now_s >= attempt.not_before_s and self.token.ready:
            endpoint = self.failover.choose(now_s)
            if endpoint is None and attempt.effect is Effect.STALE_NONE:
                endpoint = self.failover.any_alive()
        if endpoint is None:
            self._waiting[number] = None
            return []
        self._waiting.pop(number, None)
        attempt.endpoint = endpoint
        attempt.token = self.token.value
        attempt.serial += 1
        self.failover.sent(endpoint, now_s)
        needs_leader = attempt.effect is not Effect.STALE_NONE
        timeout_s = attempt.deadline_s - now_s
        return [Send(number, attempt.serial, endpoint, attempt.token, timeout_s, needs_leader)]

    # ---------------------------------------------------------------------------------------- time

    def turn(self, now_s: float) -> list[Work]:
        """Deadlines and retries that are due, and whatever waits for a member that is there by now."""
        work: list[Work] = []
        while self._due and self._due[0][0] <= now_s:
            _, number = heapq.heappop(self._due)
            attempt = self._attempts.get(number)
            if attempt is not None and not attempt.endpoint:
                work += self._try(number, attempt, now_s)
        if self._waiting and (self.failover.choose(now_s) or self.failover.any_alive()):
            for number in list(self._waiting):
                work += self._try(number, self._attempts[number], now_s)
        return work

    def next_due_s(self) -> float | None:
        return self._due[0][0] if self._due else None

    def abandon(self, endpoint: str, now_s: float) -> list[Work]:
        """``endpoint`` is not good any more: reads that wait for its answer go elsewhere; writes must wait."""
        work: list[Work] = []
        for number, attempt in list(self._attempts.items()):
            if attempt.endpoint == endpoint and attempt.effect is not Effect.WRITE:
                attempt.endpoint = ""
                work.append(Drop(number))
                work += self._try(number, attempt, now_s)
        return work

    # ---------------------------------------------------------------------------------------- ends

    def refuse_all(self, error: AtollError) -> list[Work]:
        """Finish what waits: no attempt can begin (the credentials are wrong)."""
        return [self._finish(number, error) for number in list(self._waiting)]

    def close(self) -> list[Work]:
        """Finish everything."""
        return [self._finish(number, _closed(attempt)) for number, attempt in list(self._attempts.items())]

    def _finish(self, number: int, error: AtollError) -> Finish:
        del self._attempts[number]
        self._waiting.pop(number, None)
        return Finish(number, error)

    def _too_late(self, attempt: _Attempt) -> AtollError:
        """Of a request that is certainly not applied."""
        situation = self.failover.situation()
        reason = Reason.NO_LEADER if situation is Situation.NO_LEADER else Reason.TIMEOUT
        last = f"; last: {attempt.error}" if attempt.error is not None else ""
        message = f"no answer in time, {situation.value}: {self.failover.describe()}{last}"
        return etcd_errors.unavailable(message, reason)


def _closed(attempt: _Attempt) -> AtollError:
    sent_write = attempt.endpoint and attempt.effect is Effect.WRITE
    code, message = (
        (Code.UNKNOWN, "the store was closed before the answer came; look before repeating")
        if sent_write
        else (Code.UNAVAILABLE, "the store was closed")
    )
    return AtollError(code, message, reason=Reason.CLOSED)
