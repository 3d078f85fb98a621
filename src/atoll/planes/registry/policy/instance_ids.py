"""Ids of instances that asked for one of their own, by ``preserved.instance.id.generator=snowflake``.

Rule: an id is drawn once and stays with its instance however often it registers. 41 bits of milliseconds, 10 of the node
and 12 of a count within the millisecond, as Twitter's Snowflake has them and Nacos after it; time that goes back is
waited out by counting on from the newest millisecond seen.

Doubt: two nodes whose ids fall on the same 10 bits could draw the same id in the same millisecond; the service's name in
front of it makes them differ unless it is the same service, too.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from atoll.resources.instance import ID_GENERATOR, Instance
from atoll.resources.service import ServiceKey

SNOWFLAKE: Final = "snowflake"
EPOCH_MS: Final = 1_288_834_974_657  # Snowflake's own
_NODE_BITS: Final = 10
_COUNT_BITS: Final = 12


class InstanceIds:
    """Of one node."""

    def __init__(self, node: str) -> None:
        self._node = zlib.crc32(node.encode()) % (1 << _NODE_BITS)
        self._newest_ms = 0
        self._count = 0

    def draw(self, now_ms: int) -> int:
        if now_ms > self._newest_ms:
            self._newest_ms, self._count = now_ms, 0
        else:
            self._count += 1
            if self._count >> _COUNT_BITS:
                self._newest_ms, self._count = self._newest_ms + 1, 0
        head = (self._newest_ms - EPOCH_MS) << _NODE_BITS | self._node
        return head << _COUNT_BITS | self._count

    def named(self, key: ServiceKey, instance: Instance, before: Instance | None, now_ms: int) -> Instance:
        """``instance`` with the id that it asked for: the one that it had ``before``, or a new one."""
        if instance.metadata.get(ID_GENERATOR) != SNOWFLAKE:
            return instance
        known = before.instance_id if before is not None else ""
        text = known or f"{self.draw(now_ms)}#{instance.cluster}#{key.grouped}"
        return msgspec.structs.replace(instance, instance_id=text)
