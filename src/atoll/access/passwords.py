"""Passwords: how one is hashed and compared.

One rule: a password is never kept, only its salted scrypt hash (RFC 7914; OWASP's memory-hard choice where argon2
is not in the standard library). The salt is an argument. Cost: about 50 ms and 16 MiB of one core a call, so a
caller with an event loop runs these on another thread.

Accounts that were imported from a Nacos database bring bcrypt hashes (Provos and Mazieres 1999), which are checked as
they are; whoever logs a user in puts an own hash in their place.
"""

from __future__ import annotations

import hashlib
import hmac

import bcrypt

from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts, Password

SALT_BYTES = 16
COST = 1 << 14
BLOCK_SIZE = 8
PARALLELISM = 1
BCRYPT_BYTES = 72  # bcrypt looks at no more of a password; the library refuses what is longer
MEMORY_BYTES_MAX = 64 * 1024 * 1024


def hashed(password: str, salt: bytes) -> Password:
    """``salt``: ``SALT_BYTES`` fresh random bytes."""
    blank = Password(b"", salt, COST, BLOCK_SIZE, PARALLELISM)
    return Password(_digest(password, blank), salt, COST, BLOCK_SIZE, PARALLELISM)


def matches(password: str, kept: Password) -> bool:
    return hmac.compare_digest(_digest(password, kept), kept.hash)


def verify(accounts: Accounts, name: str, password: str) -> None:
    """Raises ``AtollError``: authentication is off, or these are not the credentials of an account.

    An unknown name costs the same time as a wrong password, so that names cannot be told from the outside.
    """
    if not accounts.enabled:
        raise AtollError(Code.CONFLICT, "authentication is not enabled", reason=Reason.AUTH_NOT_ENABLED)
    check(accounts, name, password)


def check(accounts: Accounts, name: str, password: str) -> None:
    """As ``verify``, whether authentication is on or not."""
    user = accounts.users.get(name)
    if user is not None and user.password is None and user.bcrypt:
        fits = bcrypt.checkpw(password.encode("utf-8", "surrogatepass")[:BCRYPT_BYTES], user.bcrypt.encode())
    elif user is not None and user.password is None:
        raise AtollError(
            Code.DENIED, f"user {name!r} has no password to log in with", reason=Reason.USER_WITHOUT_PASSWORD
        )
    else:
        kept = user.password if user is not None and user.password is not None else _NOBODY
        fits = matches(password, kept) and user is not None
    if not fits:
        raise AtollError(Code.DENIED, "wrong user name or password", reason=Reason.INVALID_CREDENTIALS)


def _digest(password: str, kept: Password) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=kept.salt,
        n=kept.cost,
        r=kept.block_size,
        p=kept.parallelism,
        maxmem=MEMORY_BYTES_MAX,
    )


_NOBODY = Password(bytes(64), bytes(SALT_BYTES), COST, BLOCK_SIZE, PARALLELISM)
