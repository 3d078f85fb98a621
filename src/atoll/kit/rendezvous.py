"""Rendezvous hashing: which of several holders a key belongs to, so that a holder that comes or goes moves only its own.

Rule: the answer depends on the key and on who is there, on nothing else: all who see the same holders agree without a
word. A key belongs to the holder whose hash together with the key is the greatest.

Source: Thaler and Ravishankar, "A name-based mapping scheme for rendezvous" (1996). Doubt: each question costs a hash a
holder; a ring with a table would cost one, and is not worth it below some dozens of holders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def owner(key: bytes, holders: Iterable[str]) -> str:
    """The holder of ``key``; empty where there is none."""
    return max(holders, key=lambda holder: _weight(key, holder), default="")


def _weight(key: bytes, holder: str) -> tuple[bytes, str]:
    return hashlib.blake2b(key, digest_size=8, key=holder.encode()[:64]).digest(), holder
