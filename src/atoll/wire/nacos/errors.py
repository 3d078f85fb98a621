"""From Atoll's failures to Nacos's codes: the one table, for HTTP (status and ``Result.code``) and for gRPC.

Rule: the reason decides where Nacos has a code of its own for it, the code everywhere else.
Source: Nacos 2.4 and 3.1, ``ErrorCode`` (names of ``Result.code``) and ``NacosException``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from atoll.errors import AtollError, Code, Reason

SUCCESS = 0
BEAT_OK = 10_200
BEAT_UNKNOWN = 20_404

MESSAGES: Mapping[int, str] = {
    0: "success",
    503: "over threshold",
    5031: "cluster capacity reach quota",
    5032: "group capacity reach quota",
    5033: "tenant capacity reach quota",
    5034: "config content size is over limit",
    10000: "parameter missing",
    10001: "access denied",
    10002: "data access error",
    20002: "parameter validate error",
    20003: "MediaType Error",
    20004: "resource not found",
    20005: "resource conflict",
    20010: "gray over max version count",
    20011: "gray rule format invalid",
    21001: "weight error",
    21003: "instance not found",
    21004: "instance error",
    21006: "selector error",
    21007: "service already exist",
    21008: "service not exist",
    21009: "service delete failure",
    21011: "health check still running",
    22000: "illegal namespace",
    22001: "namespace not exist",
    22002: "namespace already exist",
    30000: "server error",
    40000: "API deprecated.",
    40001: "API function disabled.",
    100001: "namespace not exist",
    100002: "metadata invalid",
    100003: "no valid data",
    100004: "parse failed",
    100005: "file empty",
    100006: "nothing selected",
}


class Fault(NamedTuple):
    """``status``: HTTP and ``NacosException`` (gRPC's errorCode). ``code``: of a ``Result``, see ``MESSAGES``."""

    status: int
    code: int


BY_CODE: Mapping[Code, Fault] = {
    Code.INVALID: Fault(400, 20002),
    Code.NOT_FOUND: Fault(404, 20004),
    Code.CONFLICT: Fault(409, 20005),
    Code.DENIED: Fault(403, 10001),
    Code.EXHAUSTED: Fault(500, 30000),
    Code.UNAVAILABLE: Fault(503, 30000),
    Code.UNKNOWN: Fault(500, 10002),
}
BY_REASON: Mapping[Reason, Fault] = {
    Reason.PARAMETER_MISSING: Fault(400, 10000),
    Reason.PARAMETER_INVALID: Fault(400, 20002),
    Reason.NAMESPACE_NOT_FOUND: Fault(404, 22001),
    Reason.NAMESPACE_EXISTS: Fault(500, 22002),
    Reason.SERVICE_NOT_FOUND: Fault(400, 21008),
    Reason.SERVICE_EXISTS: Fault(400, 21007),
    Reason.SERVICE_NOT_EMPTY: Fault(400, 21009),
    Reason.SERVICE_KIND: Fault(400, 21004),
    Reason.SELECTOR_INVALID: Fault(400, 21006),
    Reason.INSTANCE_NOT_FOUND: Fault(404, 21003),
    Reason.HEALTH_CHECKED: Fault(400, 21011),
    Reason.CONFIG_NOT_FOUND: Fault(404, 20004),
    Reason.CONFIG_EXISTS: Fault(409, 20005),
    Reason.CONFIG_CHANGED: Fault(500, 20005),
    Reason.CONTENT_INVALID: Fault(400, 20002),
    Reason.CONTENT_TOO_LARGE: Fault(400, 5034),
    Reason.REQUEST_TOO_LARGE: Fault(400, 5034),
    Reason.CAPACITY_REACHED: Fault(429, 5031),
    Reason.GRAY_RULE_INVALID: Fault(400, 20011),
    Reason.GRAY_TOO_MANY: Fault(400, 20010),
    Reason.RATE_LIMITED: Fault(503, 503),
    Reason.INVALID_CREDENTIALS: Fault(403, 10001),
    Reason.INVALID_TOKEN: Fault(403, 10001),
    Reason.USER_EXISTS: Fault(409, 20005),
    Reason.USER_NOT_FOUND: Fault(400, 20002),
    Reason.IMPORT_INVALID: Fault(400, 100004),
}
_CAPACITY: Mapping[str, int] = {"cluster": 5031, "group": 5032, "namespace": 5033}
_IMPORT: Mapping[str, int] = {
    "namespace": 100001,
    "metadata": 100002,
    "data": 100003,
    "parse": 100004,
    "empty": 100005,
    "selection": 100006,
}


def fault_of(error: AtollError) -> Fault:
    """The status and the code of ``error``."""
    fault = BY_REASON.get(error.reason) or BY_CODE[error.code]
    if error.reason is Reason.CAPACITY_REACHED:
        return fault._replace(code=_CAPACITY.get(str(error.facts.get("scope")), fault.code))
    if error.reason is Reason.IMPORT_INVALID:
        return fault._replace(code=_IMPORT.get(str(error.facts.get("problem")), fault.code))
    if error.reason is Reason.PARAMETER_INVALID and error.facts.get("parameter") == "weight":
        return fault._replace(code=21001)
    return fault
