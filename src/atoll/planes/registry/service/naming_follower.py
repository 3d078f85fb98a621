"""The directory kept up with the ordered store.

Rule: while the store is away the directory stands still, and is as good as the last revision that it has seen. A record that this release cannot read is left as it was known before, and logged: one
record must not take the others away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from atoll.errors import AtollError
from atoll.planes.registry.model.directory import Directory
from atoll.resources.naming_keys import NAMING
from atoll.resources.service import ServiceKey
from atoll.store.api import KeyValue, Store
from atoll.store.following import Following


class NamingFollower(Following):
    """``on_change`` hears which services look different, after every revision."""

    def __init__(
        self, store: Store, directory: Directory, on_change: Callable[[Iterable[ServiceKey]], None]
    ) -> None:
        super().__init__(store, NAMING, self._take, "naming")
        self._directory = directory
        self._on_change = on_change

    def _take(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        touched = dict.fromkeys(self._directory.reset_stored() if whole else ())
        for kv in kvs:
            try:
                touched.update(dict.fromkeys(self._directory.apply_stored(kv)))
            except AtollError as error:
                self._log.error("a record of naming cannot be read", key=repr(kv.key), why=error.message)
        if touched:
            self._on_change(touched)
