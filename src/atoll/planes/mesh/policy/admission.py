"""How fast clients are let in, and how many: a storm of reconnects must not keep those waiting who are there. Pure.

Rule: a bucket of tokens; who finds it empty waits for the token that will be theirs, in order of arrival, and who would
wait too long is sent away with advice to come back. Nobody is let in twice as fast for coming twice.
"""

from __future__ import annotations

import msgspec

from atoll.errors import AtollError, Code


class Admission(msgspec.Struct, frozen=True):
    """``per_s`` clients a second after the first ``burst``; ``wait_s_max``: who would wait longer is sent away.
    ``clients_max``: at once.
    """

    per_s: float = 500.0
    burst: float = 500.0
    wait_s_max: float = 3.0
    clients_max: int = 10_000


class Door:
    """State of one node."""

    def __init__(self, rule: Admission) -> None:
        self.rule = rule
        self.refused = 0
        self._tokens = rule.burst
        self._at_s = float("-inf")

    def ask(self, clients: int, now_s: float) -> float:
        """Seconds that the next client must wait, while there are ``clients``. Raises EXHAUSTED, UNAVAILABLE."""
        rule = self.rule
        if clients >= rule.clients_max:
            self.refused += 1
            text = f"this node serves {clients} clients of the mesh, and at most {rule.clients_max}"
            raise AtollError(Code.EXHAUSTED, text, retry_after_s=rule.wait_s_max)
        if self._at_s < now_s:
            self._tokens = min(rule.burst, self._tokens + rule.per_s * (now_s - max(self._at_s, now_s - 1e6)))
            self._at_s = now_s
        wait_s = max(0.0, (1.0 - self._tokens) / rule.per_s)
        if wait_s > rule.wait_s_max:
            self.refused += 1
            text = f"too many clients come at once; come back in {rule.wait_s_max:g} s or later"
            raise AtollError(Code.UNAVAILABLE, text, retry_after_s=rule.wait_s_max)
        self._tokens -= 1.0
        return wait_s
