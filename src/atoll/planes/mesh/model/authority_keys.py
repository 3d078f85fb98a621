"""Where the authority's records are in the store.

Rule: everything that two of its decisions could contradict each other about is guarded by the revision of one of these keys.
"""

from __future__ import annotations

import hashlib

from atoll.store.api import RESERVED_PREFIX

AUTHORITY = RESERVED_PREFIX + b"mesh/authority/"
ROOTS = AUTHORITY + b"roots"
INTERMEDIATES = AUTHORITY + b"intermediates/"
LEDGER = AUTHORITY + b"ledger/"
TOKENS = AUTHORITY + b"tokens/"
USERS = AUTHORITY + b"users/"


def intermediate(node: str) -> bytes:
    return INTERMEDIATES + node.encode()


def ledger(serial: str) -> bytes:
    return LEDGER + serial.encode()


def token(secret: str) -> bytes:
    """By the hash of the secret: a token is drawn with 192 bits, so a plain hash keeps it."""
    return TOKENS + hashlib.sha256(secret.encode()).hexdigest().encode()


def user(uid: int, node: str) -> bytes:
    return USERS + f"{uid}/{node}".encode()
