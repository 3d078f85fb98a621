"""What a proxy tells of the traffic that it saw: access logs and traces.

Rule: a proxy sends what it saw straight to where it is kept; nothing on a request's way waits for it (no Mixer).
"""

from __future__ import annotations

from typing import Any

import msgspec


class Observed(msgspec.Struct, frozen=True):
    """``access_logs``: ``AccessLog`` messages. ``tracing``: of the HTTP connection manager, None: no traces."""

    access_logs: tuple[Any, ...] = ()
    tracing: Any = None


NOT_OBSERVED = Observed()
