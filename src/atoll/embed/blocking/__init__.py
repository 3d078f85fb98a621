# Generated from src/atoll/embed/aio/__init__.py by `python3 dev.py generate`; edit that file instead.
"""Elections and locks for applications without an event loop.

Rule: everything here is the original of its twin in ``atoll.embed.blocking``, which is generated from it
(``python3 dev.py generate``): write code here, in words that ``runtime.loop`` and ``runtime.blocking`` share.
"""

from atoll.embed.blocking.barrier import Barrier
from atoll.embed.blocking.connection import connect
from atoll.embed.blocking.election import Callbacks, Election
from atoll.embed.blocking.locks import Lock, Mutex, RWMutex, Semaphore
from atoll.embed.blocking.session import open_session, session
from atoll.embed.blocking.turn import Turn
from atoll.store.blocking import BlockingStore
from atoll.store.candidate import Candidacy
from atoll.store.session import Session
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
    "BlockingStore",
    "Term",
    "Turn",
    "connect",
    "open_session",
    "session",
]
