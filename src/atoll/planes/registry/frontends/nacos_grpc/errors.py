"""Atoll's failures as Nacos's error codes over gRPC.

Rule: what went wrong with a request is said in the response's own class, with resultCode 500 and the code; only what
went wrong with the connection or the message is an ErrorResponse, because clients take one as a reason to connect again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from atoll.errors import AtollError, Code, Reason
from atoll.wire.grpc.status import Status
from atoll.wire.nacos import answers
from atoll.wire.nacos.answers import FAIL
from atoll.wire.nacos.errors import fault_of
from atoll.wire.nacos.payload import Envelope

INVALID_SERVER_STATUS = 300
UNREGISTERED = 301
NO_HANDLER = 302
NOT_IMPLEMENTED = 501
BAD_GATEWAY = 502
OVER_THRESHOLD = 503
SERVER_ERROR = 500

Failure: TypeAlias = Callable[[int, str], bytes]
"""Error code and message to the body of one response class."""

_ERROR_RESPONSE = Envelope("ErrorResponse")


def error_response(error_code: int, message: str) -> bytes:
    """A whole payload."""
    return _ERROR_RESPONSE.around(answers.failure(error_code, message))


def code_of(error: AtollError) -> int:
    """503 means "you ask too much" here, so what is away for now is a server error."""
    if error.reason is Reason.RATE_LIMITED:
        return OVER_THRESHOLD
    code = fault_of(error).status
    return SERVER_ERROR if error.code is Code.UNAVAILABLE or code == OVER_THRESHOLD else code


def _no_services(error_code: int, message: str) -> bytes:
    """The Python client cannot read a list without its two fields, failed or not."""
    return answers.encode(
        answers.ServiceListResponse(
            result_code=FAIL,
            error_code=error_code,
            success=False,
            message=message,
            count=0,
            service_names=(),
        )
    )


FAILURES: Mapping[str, Failure] = {"ServiceListResponse": _no_services}
"""Response classes that cannot do without fields of their own; ``answers.failure`` for all others."""


def status_of(error: AtollError) -> tuple[Status, str]:
    """For calls that have no response class: streams."""
    return _STATUS.get(error.code, Status.UNKNOWN), error.message


_STATUS: Mapping[Code, Status] = {
    Code.INVALID: Status.INVALID_ARGUMENT,
    Code.NOT_FOUND: Status.NOT_FOUND,
    Code.CONFLICT: Status.ABORTED,
    Code.DENIED: Status.PERMISSION_DENIED,
    Code.EXHAUSTED: Status.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: Status.UNAVAILABLE,
}
