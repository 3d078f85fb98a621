"""What an operator chose for the registry plane. The host reads it from the settings ``registry.*``.

Rule: every field has a default that suits one machine, and its unit in its name.
"""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """``rate_limits``: ``POINT=COUNT[/s|/m|/h][:monitor|:intercept]``, separated by commas. -1: no limit."""

    rate_limits: str = ""
    connections_max: int = -1
    connections_per_address_max: int = -1
