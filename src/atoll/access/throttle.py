"""How often somebody may try a password: the check before each attempt, so that guessing takes years.

One rule: failures count against the user name and the address they came from, together and each alone; a success
forgives the pair. Who has too many is told when to come back, before any hash is computed. Time is an argument.

The doubt: an attacker with many addresses can still keep one user from logging in by password for some time; tokens that
are out go on working.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code, Reason

WINDOW_S = 60.0
PAIR_FAILURES_MAX = 5  # of one user from one address in a window
USER_FAILURES_MAX = 50  # of one user from anywhere
ADDRESS_FAILURES_MAX = 100  # of one address, for whichever user
KEPT_MAX = 10_000  # past it the oldest are forgotten

_Key = tuple[str, str]


class Throttle:
    def __init__(self, window_s: float = WINDOW_S, pair_failures_max: int = PAIR_FAILURES_MAX) -> None:
        self._window_s = window_s
        self._pair_failures_max = pair_failures_max
        self._failures: dict[
            _Key, tuple[int, float]
        ] = {}  # -> (count, end of its window); oldest window first

    def check(self, user: str, address: str, now_s: float) -> None:
        """Raises EXHAUSTED / RATE_LIMITED with the time to wait."""
        for key, count_max in self._keys(user, address):
            count, end_s = self._failures.get(key, (0, 0.0))
            if count >= count_max and end_s > now_s:
                raise AtollError(
                    Code.EXHAUSTED,
                    "too many wrong passwords; wait before the next attempt",
                    reason=Reason.RATE_LIMITED,
                    retry_after_s=end_s - now_s,
                    facts={"point": "login"},
                )

    def failed(self, user: str, address: str, now_s: float) -> None:
        for key, _ in self._keys(user, address):
            count, end_s = self._failures.get(key, (0, 0.0))
            if end_s <= now_s:
                self._failures.pop(key, None)
                count, end_s = 0, now_s + self._window_s
            self._failures[key] = (count + 1, end_s)
        while len(self._failures) > KEPT_MAX:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, user: str, address: str) -> None:
        self._failures.pop((user, address), None)

    def _keys(self, user: str, address: str) -> tuple[tuple[_Key, int], ...]:
        return (
            ((user, address), self._pair_failures_max),
            ((user, ""), USER_FAILURES_MAX),
            (("", address), ADDRESS_FAILURES_MAX),
        )
