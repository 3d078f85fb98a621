"""Tokens: what a user shows instead of a password after logging in.

One rule: a token lives ``ttl_s`` seconds after its last use (etcd's simple tokens: 300 s) and in memory only, so
that a restart, a changed password, a deleted user and switching authentication off end it. Time is an argument,
and so is the token's text, which must not be guessable.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code, Reason

TTL_S = 300.0
TOKENS_MAX = 100_000  # about 20 MB; past it the token unused for longest is forgotten


class Tokens:
    def __init__(self, ttl_s: float = TTL_S, tokens_max: int = TOKENS_MAX) -> None:
        self._ttl_s = ttl_s
        self._tokens_max = tokens_max
        self._held: dict[str, tuple[str, float]] = {}  # token -> (user, deadline); least recently used first

    def __len__(self) -> int:
        return len(self._held)

    def add(self, token: str, user: str, now_s: float) -> None:
        self._expire(now_s)
        while len(self._held) >= self._tokens_max:
            del self._held[next(iter(self._held))]
        self._held[token] = (user, now_s + self._ttl_s)

    def user_of(self, token: str, now_s: float) -> str:
        """Whom ``token`` stands for; prolongs it. Raises ``AtollError`` DENIED for any that is not in force."""
        held = self._held.pop(token, None)
        if held is None or held[1] <= now_s:
            raise AtollError(
                Code.DENIED,
                "this token is not (or no longer) valid: log in again",
                reason=Reason.INVALID_TOKEN,
            )
        self._held[token] = (held[0], now_s + self._ttl_s)
        return held[0]

    def forget_user(self, user: str) -> None:
        self._held = {token: held for token, held in self._held.items() if held[0] != user}

    def clear(self) -> None:
        self._held.clear()

    def _expire(self, now_s: float) -> None:
        """Every use moves a token to the end with the latest deadline, so the expired ones are in front."""
        while self._held:
            token = next(iter(self._held))
            if self._held[token][1] > now_s:
                return
            del self._held[token]
