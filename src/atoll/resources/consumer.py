"""Who asks for configuration, as far as the answer depends on it. Never stored.

Rule: what the rule of a gray release may look at is here, and nothing else; a frontend fills it from its protocol.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING

IDENTITY_LABEL = "atoll.client"


class Consumer(msgspec.Struct, frozen=True, gc=False):
    """``address``: IP without port. ``labels``: what the client said of itself. ``tag``: of the header ``Vipserver-Tag``."""

    address: str = ""
    labels: Mapping[str, str] = NOTHING
    tag: str = ""
    app: str = ""

    @property
    def identity(self) -> str:
        """What stays the same over reconnects; by it a percentage falls on a client or not."""
        return self.labels.get(IDENTITY_LABEL) or f"{self.address}/{self.app}"


NOBODY = Consumer()
