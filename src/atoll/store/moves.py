"""The life of a candidate as a table: which move is legal in which state, and where it leads.

Rule: what is not in ``MOVES`` is illegal; the diagram in docs/explanation/one-leader.md is checked against it.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    OUT = "out"
    GRANTING = "granting"  # asks for a lease
    JOINING = "joining"  # puts its key
    STANDING = "standing"  # has a key; waits for its turn
    YIELDING = "yielding"  # gives its place to a preferred candidate
    STARTING = "starting"  # first; commits the start of its term
    LEADING = "leading"
    QUIESCING = "quiescing"  # leads; was told to stop
    LEAVING = "leaving"  # serves nothing; gives its key back
    CLOSED = "closed"


class Move(enum.Enum):
    ENTER = "enter"
    GRANTED = "granted"
    JOINED = "joined"
    LOSE = "lose"  # its lease or key is gone
    YIELD = "yield"
    YIELDED = "yielded"
    RISE = "rise"
    RETRY = "retry"  # not started or not yielded, or not known: look again
    WIN = "win"
    QUIESCE = "quiesce"
    END = "end"
    WITHDRAW = "withdraw"
    AGAIN = "again"
    LEFT = "left"
    CLOSE = "close"


_S, _M = State, Move
MOVES: Final[dict[tuple[State, Move], State]] = {
    (_S.OUT, _M.ENTER): _S.GRANTING,
    (_S.OUT, _M.CLOSE): _S.CLOSED,
    (_S.GRANTING, _M.GRANTED): _S.JOINING,
    (_S.GRANTING, _M.LEFT): _S.OUT,
    (_S.JOINING, _M.JOINED): _S.STANDING,
    (_S.JOINING, _M.LOSE): _S.GRANTING,
    (_S.JOINING, _M.WITHDRAW): _S.LEAVING,
    (_S.STANDING, _M.LOSE): _S.GRANTING,
    (_S.STANDING, _M.YIELD): _S.YIELDING,
    (_S.STANDING, _M.RISE): _S.STARTING,
    (_S.STANDING, _M.WITHDRAW): _S.LEAVING,
    (_S.YIELDING, _M.YIELDED): _S.JOINING,
    (_S.YIELDING, _M.RETRY): _S.STANDING,
    (_S.YIELDING, _M.LOSE): _S.GRANTING,
    (_S.YIELDING, _M.WITHDRAW): _S.LEAVING,
    (_S.STARTING, _M.WIN): _S.LEADING,
    (_S.STARTING, _M.RETRY): _S.STANDING,
    (_S.STARTING, _M.LOSE): _S.GRANTING,
    (_S.STARTING, _M.WITHDRAW): _S.LEAVING,
    (_S.LEADING, _M.QUIESCE): _S.QUIESCING,
    (_S.LEADING, _M.END): _S.LEAVING,
    (_S.QUIESCING, _M.END): _S.LEAVING,
    (_S.LEAVING, _M.AGAIN): _S.GRANTING,
    (_S.LEAVING, _M.LEFT): _S.OUT,
}

LEASED: Final = (_S.JOINING, _S.STANDING, _S.YIELDING, _S.STARTING, _S.LEADING, _S.QUIESCING)
SERVING: Final = (_S.LEADING, _S.QUIESCING)
SEEING: Final = (_S.STANDING, _S.LEADING, _S.QUIESCING)  # has a key to read
