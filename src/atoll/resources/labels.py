"""Labels of an address: what an operator says of a machine, such as its zone (the entity of Nacos' CMDB).

Rule: written by the registry plane alone; selectors of the registry and the mesh's localities read them.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.resources.records import NOTHING, Record


class Labels(Record, frozen=True, kw_only=True):
    """Of one address."""

    address: str
    labels: Mapping[str, str] = NOTHING
