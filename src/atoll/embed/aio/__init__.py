"""Elections and locks for asyncio applications.

Rule: everything here is the original of its twin in ``atoll.embed.blocking``, which is generated from it
(``python3 dev.py generate``): write code here, in words that ``runtime.loop`` and ``runtime.blocking`` share.
"""

from atoll.embed.aio.barrier import Barrier
from atoll.embed.aio.connection import connect
from atoll.embed.aio.election import Callbacks, Election
from atoll.embed.aio.locks import Lock, Mutex, RWMutex, Semaphore
from atoll.embed.aio.session import open_session, session
from atoll.embed.aio.turn import Turn
from atoll.store.candidate import Candidacy
from atoll.store.session import Session
from atoll.store.shell import StoreShell
from atoll.store.term import Term

__all__ = [
    "Barrier",
    "Callbacks",
    "Candidacy",
    "Election",
    "Lock",
    "Mutex",
    "RWMutex",
    "Semaphore",
    "Session",
    "StoreShell",
    "Term",
    "Turn",
    "connect",
    "open_session",
    "session",
]
