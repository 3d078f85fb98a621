"""A term: the right to act as the leader of one election, until its own deadline.

Rule: whoever acts as leader asks ``check()`` at each act and puts ``guards()`` into each transaction. ``check``
keeps two leaders from *serving* at once; ``guards`` keeps a leader that was paused between check and commit from
*writing*: the store refuses it, whatever it believes.

Theory: Gray and Cheriton, "Leases" (1989), with the bound on clock rates made explicit (docs/explanation/
one-leader.md); the fence is the create revision of the leader's key, which no later term can have.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code, Reason
from atoll.resources.election import Token
from atoll.runtime.clock import Clock
from atoll.store.api import GENERATION_KEY, Compare, Relation, Target


def fence(key: bytes, token: Token) -> tuple[Compare, ...]:
    """The guards that hold exactly while the term with ``token``, won with ``key``, has not been replaced."""
    if token.generation == 0:
        era = Compare(GENERATION_KEY, Target.CREATE, Relation.EQUAL, 0)
    else:
        era = Compare(GENERATION_KEY, Target.VALUE, Relation.EQUAL, b"%d" % token.generation)
    return (Compare(key, Target.CREATE, Relation.EQUAL, token.revision), era)


class Term:
    """One term of leadership. Its candidate extends and ends it; everybody else only asks. Any thread may.

    ``deadline_s`` is in seconds on the boot-time clock; it moves forward with every successful heartbeat and
    never back, except to the past when the term ends early.
    """

    def __init__(self, name: str, token: Token, key: bytes, lease: int, clock: Clock) -> None:
        self.name = name
        self.token = token
        self.key = key
        self.lease = lease
        self._clock = clock
        self._deadline_s = float("-inf")
        self._cause: str | None = None

    @property
    def deadline_s(self) -> float:
        return self._deadline_s

    @property
    def cause(self) -> str | None:
        """Why the term ended; None while nobody ended it (its deadline may have passed all the same)."""
        return self._cause

    def extend(self, deadline_s: float) -> None:
        if self._cause is None:
            self._deadline_s = max(self._deadline_s, deadline_s)

    def end(self, cause: str) -> None:
        if self._cause is None:
            self._cause = cause
            self._deadline_s = float("-inf")

    def holds(self) -> bool:
        """True while this process may act as leader. True is good for this instant only."""
        return self._clock.now_s() < self._deadline_s

    def check(self) -> None:
        """Raises CONFLICT / NOT_LEADER when the term is over."""
        if not self.holds():
            why = self._cause or "its deadline passed"
            raise AtollError(
                Code.CONFLICT,
                f"the term {self.token} of election {self.name!r} is over: {why}; wait for the next one",
                reason=Reason.NOT_LEADER,
                facts={"name": self.name, "revision": self.token.revision},
            )

    def guards(self) -> tuple[Compare, ...]:
        """For the ``compares`` of every leader-only transaction."""
        return fence(self.key, self.token)

    def __repr__(self) -> str:
        return f"Term({self.name!r}, token={self.token}, deadline_s={self._deadline_s:.3f}, cause={self._cause!r})"
