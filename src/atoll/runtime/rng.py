"""Randomness: what is drawn for spreading load and naming things, and what must not be guessed.

Rule: deciding code takes a ``Rng`` as an argument; a test or ``testing.World`` passes a seeded one, which is the
same standard class, so there is one implementation and no interface.
"""

from __future__ import annotations

import random
import secrets

Rng = random.Random


def system_rng() -> Rng:
    """The live source, from the operating system; cannot be seeded."""
    return random.SystemRandom()


def seeded_rng(seed: int) -> Rng:
    return random.Random(seed)


def new_token(bytes_count: int = 24) -> str:
    """A fresh secret in URL-safe text; 24 bytes are 192 bits."""
    return secrets.token_urlsafe(bytes_count)


def new_salt(bytes_count: int) -> bytes:
    """Fresh random bytes that must differ from any used before."""
    return secrets.token_bytes(bytes_count)
