"""Login tokens of the registry: signed, so that every node of a cluster can check what another one gave out.

One rule: a token is taken only with a signature by a key of the ring, before its time is over, and while the user still
has the password that it was got with: a changed password, a deleted user and a removed key end it on every node.

JWT (RFC 7519) with HS256 (RFC 7518, 3.2) by PyJWT, which is told the one algorithm that counts. The time of a token
is checked here, because time is an argument. The payload is Nacos's (``sub``, ``exp``) and ``mark``, a keyed digest of the
user's password hash: it tells nothing without the key.

The doubt: a token cannot be taken back by itself, only with the password or the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import jwt
import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts, User

ALGORITHM = "HS256"
KEY_BYTES = 48
TOKEN_CHARS_MAX = 4_096
_MARK_CHARS = 22


class SigningKey(msgspec.Struct, frozen=True):
    """``secret`` has ``KEY_BYTES`` random bytes. ``retired_s``: when it was replaced (Unix time), 0 for the one in use."""

    id: str
    secret: bytes
    retired_s: float = 0.0

    def __repr__(self) -> str:
        return f"SigningKey({self.id!r})"


class Claims(msgspec.Struct, frozen=True):
    """Whom a token stands for, and until when (Unix time)."""

    user: str
    expires_s: float


def issue(key: SigningKey, user: User, expires_s: float) -> str:
    payload = {"sub": user.name, "exp": int(expires_s), "mark": _mark(key, user)}
    return jwt.encode(payload, key.secret, algorithm=ALGORITHM, headers={"kid": key.id})


def read(token: str, keys: Sequence[SigningKey], accounts: Accounts, now_s: float) -> Claims:
    """Raises DENIED / INVALID_TOKEN; the message says whether it is over or wrong, which a client acts upon."""
    if len(token) > TOKEN_CHARS_MAX:
        raise _invalid("token invalid!")
    for key in keys:
        try:
            payload = jwt.decode(token, key.secret, algorithms=[ALGORITHM], options=_OPTIONS)
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidTokenError as error:
            raise _invalid("token invalid!") from error
        return _claims(payload, key, accounts, now_s)
    raise _invalid("token invalid!")


_OPTIONS: jwt.types.Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


def _claims(payload: dict[str, object], key: SigningKey, accounts: Accounts, now_s: float) -> Claims:
    name, expires_s, mark = payload.get("sub"), payload.get("exp"), payload.get("mark")
    if not isinstance(name, str) or not isinstance(expires_s, int) or not isinstance(mark, str):
        raise _invalid("token invalid!")
    if expires_s <= now_s:
        raise _invalid("token expired!")
    user = accounts.users.get(name)
    if user is None or not hmac.compare_digest(mark.encode(), _mark(key, user).encode()):
        raise _invalid("token invalid!")
    return Claims(name, float(expires_s))


def _mark(key: SigningKey, user: User) -> str:
    kept = user.password.hash if user.password is not None else user.bcrypt.encode()
    return hmac.new(key.secret, b"mark:" + kept, hashlib.sha256).hexdigest()[:_MARK_CHARS]


def _invalid(message: str) -> AtollError:
    return AtollError(Code.DENIED, message, reason=Reason.INVALID_TOKEN)
