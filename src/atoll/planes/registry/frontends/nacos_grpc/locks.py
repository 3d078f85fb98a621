"""Distributed locks over gRPC.

Rule: whether the lock was got is an answer, not a failure.
Source: Nacos 3.0, ``LockOperationRequest``; the times are its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_grpc.dispatch import Asked, LaterHandler
from atoll.planes.registry.service.locks import Locks
from atoll.wire.nacos import answers, parameters, requests

MUTEX = "NACOS_LOCK"
HELD_MS_DEFAULT = 30_000
HELD_MS_MAX = 1_800_000


class LockHandlers:
    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self.later: Mapping[str, LaterHandler] = {"LockOperationRequest": self.operate}

    async def operate(self, asked: Asked, request: requests.LockOperationRequest) -> bytes:
        asked.guard.require_known(asked.principal)
        lock = request.lock_instance
        if lock is None or not lock.key:
            raise parameters.missing("lockInstance.key")
        if (lock.lock_type or MUTEX) != MUTEX:
            raise parameters.invalid("lockType", f"lock type {lock.lock_type!r} is none; expected {MUTEX}")
        holder = asked.connection.client.address
        if request.lock_operation_enum == "ACQUIRE":
            result = await self._locks.acquire(lock.key, holder, _held_s(lock.expired_time))
        elif request.lock_operation_enum == "RELEASE":
            result = await self._locks.release(lock.key, holder)
        else:
            raise AtollError(
                Code.INVALID,
                f"operation {request.lock_operation_enum!r} is not for clients; expected ACQUIRE or RELEASE",
                reason=Reason.PARAMETER_INVALID,
                facts={"parameter": "lockOperationEnum"},
            )
        return answers.encode(answers.LockOperationResponse(result=result))


def _held_s(expired_ms: int | None) -> float:
    if expired_ms is None or expired_ms < 0:
        expired_ms = HELD_MS_DEFAULT
    return min(expired_ms, HELD_MS_MAX) / 1_000
