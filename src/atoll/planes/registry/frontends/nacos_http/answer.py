"""Answers in their three envelopes, for success and for failure.

Rule: an operation returns a value and knows no envelope; the entry of its path decides. What has a form of its own
(the content of an item, a zip) is ``Bare``.
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.wire.nacos import errors
from atoll.wire.nacos.catalog.entry import Entry, Envelope

TEXT_TYPE = b"text/plain;charset=UTF-8"
JSON_TYPE = b"application/json;charset=UTF-8"

Fields: TypeAlias = list[tuple[bytes, bytes]]

_ENCODER = msgspec.json.Encoder()
_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    413: "Payload Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
_SIGN_IN = frozenset((Reason.INVALID_CREDENTIALS, Reason.INVALID_TOKEN, Reason.PERMISSION_DENIED))


class Bare(NamedTuple):
    """An answer as it goes out."""

    body: bytes
    content_type: bytes = TEXT_TYPE
    status: int = 200
    fields: Fields = []


class Rest(msgspec.Struct):
    """The envelope of v1's console and accounts."""

    code: int = 200
    message: str | None = None
    data: Any = None


class Result(msgspec.Struct):
    """The envelope of v2 and v3."""

    code: int = 0
    message: str = "success"
    data: Any = None


class _Refusal(msgspec.Struct):
    """What Spring answers where no operation was reached."""

    timestamp: str
    status: int
    error: str
    message: str
    path: str


def json(value: Any, status: int = 200) -> Bare:
    return Bare(_ENCODER.encode(value), JSON_TYPE, status)


def success(entry: Entry, value: Any) -> Bare:
    """``value`` in the envelope of ``entry``."""
    if isinstance(value, Bare):
        return value
    if entry.envelope is Envelope.RESULT:
        return json(Result(data=value))
    if entry.envelope is Envelope.REST:
        return json(value if isinstance(value, Rest) else Rest(data=value))
    if isinstance(value, str):
        return Bare(value.encode())
    return json(value)


def failure(entry: Entry, error: AtollError, path: str, now_s: float) -> Bare:
    """``error`` in the envelope of ``entry``."""
    fault = errors.fault_of(error)
    answer = _failure(entry, error, fault, path, now_s)
    if error.retry_after_s is None:
        return answer
    wait = b"%d" % max(1, round(error.retry_after_s))
    return answer._replace(fields=[*answer.fields, (b"retry-after", wait)])


def _failure(entry: Entry, error: AtollError, fault: errors.Fault, path: str, now_s: float) -> Bare:
    if entry.envelope is Envelope.RESULT and (error.code is not Code.DENIED or path.find("/v2/") < 0):
        return json(Result(fault.code, errors.MESSAGES[fault.code], error.message), fault.status)
    if error.code is Code.DENIED and error.reason in _SIGN_IN:
        return refusal(fault.status, error.message, path, now_s)
    if entry.envelope is Envelope.TEXT:
        return Bare(error.message.encode(), TEXT_TYPE, fault.status)
    return json(Rest(fault.code if fault.code > 100_000 else fault.status, error.message), fault.status)


def refusal(status: int, message: str, path: str, now_s: float) -> Bare:
    """Where there is no envelope: no such path, not this verb, not without credentials."""
    moment = datetime.datetime.fromtimestamp(now_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    return json(_Refusal(moment, status, _PHRASES.get(status, "Error"), message, path), status)


def absent(entry: Entry) -> Bare:
    """A path that this registry does not have, with the reason."""
    if entry.envelope is Envelope.RESULT:
        return json(Result(40001, errors.MESSAGES[40001], entry.note), 501)
    if entry.envelope is Envelope.REST:
        return json(Rest(501, entry.note), 501)
    return Bare(entry.note.encode(), TEXT_TYPE, 501)


def disabled(entry: Entry, setting: str) -> Bare:
    """A path that a setting switched off: 3.x answers so for the older versions, whatever their envelope."""
    return json(Result(40001, errors.MESSAGES[40001], f"{entry.title} is off; {setting} turns it on"), 410)
