"""Every HTTP path of Nacos, as one table: routes, permissions, tests and the reference page are made from it.

Rule: nothing is served that is not in ``ENTRIES``, and a path that is served is checked by its own entry, so that no
other spelling of it can be: a path is compared as it came, undecoded.
"""

from __future__ import annotations

from atoll.wire.nacos.catalog import around, v1, v2, v3
from atoll.wire.nacos.catalog.entry import Entry as Entry

ENTRIES: tuple[Entry, ...] = (*v1.ENTRIES, *v2.ENTRIES, *v3.ENTRIES, *around.ENTRIES)
