"""Users, roles and their rights as Atoll's own API takes and gives them. Never stored; no answer has a password in it."""

from __future__ import annotations

import msgspec


class LoginOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    password: str


class Session(msgspec.Struct, frozen=True):
    """``token`` goes into ``Authorization: Bearer``, for ``ttl_s`` seconds."""

    user: str
    token: str
    ttl_s: float
    administrator: bool
