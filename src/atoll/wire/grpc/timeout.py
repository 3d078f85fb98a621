"""The ``grpc-timeout`` field: at most eight digits and a unit (PROTOCOL-HTTP2, "Requests")."""

from __future__ import annotations

import re

_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_FORM = re.compile(rb"([0-9]{1,8})([HMSmun])")


def decode_s(value: bytes) -> float | None:
    """Seconds, or None when ``value`` is not a timeout."""
    match = _FORM.fullmatch(value)
    return int(match[1]) * _UNITS_S[match[2]] if match else None


def encode(timeout_s: float) -> bytes:
    """The finest unit in which ``timeout_s`` (negative counts as 0) fits, rounded up so that none ends early."""
    for unit in (b"n", b"u", b"m", b"S", b"M", b"H"):
        count = -int(-max(timeout_s, 0.0) // _UNITS_S[unit])
        if count < 10**8:
            return b"%d%s" % (count, unit)
    return b"99999999H"
