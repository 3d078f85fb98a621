"""Who listens to which item on this node, and whom a change concerns.

Rule: a listener is told when the version that *it* is served became another one than the one it was last told of, and
never otherwise: not when a gray release for others changed, not when the same content was published again. What it was
told counts as had: a change back is told, too. What has no listener costs nothing.

Telling is the caller's: ``changed`` returns whom to tell what. ``tell`` is carried, never called here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_view import Entry
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import Changed
from atoll.resources.consumer import Consumer

Tell = Callable[[Changed], None]


class Listener:
    """One client's interest in one item. ``md5``: what it has, as far as is known here."""

    __slots__ = ("client", "consumer", "gray_name", "md5", "tell")

    def __init__(self, client: str, consumer: Consumer, md5: str, tell: Tell) -> None:
        self.client = client
        self.consumer = consumer
        self.md5 = md5
        self.gray_name = ""
        self.tell = tell


class Listeners:
    """All listeners of a node, by item and by client."""

    def __init__(self, limits: ConfigLimits) -> None:
        self._limits = limits
        self._by_key: dict[ConfigKey, dict[str, Listener]] = {}
        self._by_client: dict[str, dict[ConfigKey, Listener]] = {}
        self.count = 0

    def add(self, key: ConfigKey, listener: Listener) -> None:
        """Replaces what the client listened to under ``key``. Raises EXHAUSTED / RATE_LIMITED past a limit."""
        mine = self._by_client.get(listener.client, {})
        if key not in mine:
            self._require_room(len(mine))
            self.count += 1
        self._by_client.setdefault(listener.client, mine)[key] = listener
        self._by_key.setdefault(key, {})[listener.client] = listener

    def remove(self, client: str, key: ConfigKey) -> None:
        mine = self._by_client.get(client, {})
        if mine.pop(key, None) is None:
            return
        self.count -= 1
        there = self._by_key[key]
        del there[client]
        if not there:
            del self._by_key[key]
        if not mine:
            del self._by_client[client]

    def remove_client(self, client: str) -> None:
        for key in list(self._by_client.get(client, ())):
            self.remove(client, key)

    def of_key(self, key: ConfigKey) -> list[Listener]:
        return list(self._by_key.get(key, {}).values())

    def of_client(self, client: str) -> dict[ConfigKey, Listener]:
        return dict(self._by_client.get(client, {}))

    def clients(self) -> Iterable[str]:
        return self._by_client.keys()

    def changed(self, key: ConfigKey, entry: Entry, revision: int) -> list[tuple[Listener, Changed]]:
        """Whom to tell what, now that ``key`` is what ``entry`` says. They count as told from here on."""
        there = self._by_key.get(key)
        if not there:
            return []
        told: dict[tuple[str, str], Changed] = {}
        found = []
        for listener in there.values():
            served = entry.served(listener.consumer)
            md5 = served.md5 if served is not None else ""
            name = str(getattr(served, "name", ""))
            listener.gray_name = name
            if listener.md5 == md5:
                continue
            listener.md5 = md5
            change = told.get((md5, name))
            if change is None:
                change = told[md5, name] = Changed(key, md5, name, revision)
            found.append((listener, change))
        return found

    def _require_room(self, mine: int) -> None:
        if mine >= self._limits.client_listens_max:
            raise _too_many(f"a client listens to {mine} items", self._limits.client_listens_max)
        if self.count >= self._limits.listens_max:
            raise _too_many(f"the node's clients listen to {self.count} items", self._limits.listens_max)


def _too_many(what: str, allowed: int) -> AtollError:
    return AtollError(
        Code.EXHAUSTED,
        f"{what}; at most {allowed} are allowed: listen to fewer, or ask another node",
        reason=Reason.RATE_LIMITED,
        retry_after_s=1.0,
        facts={"point": "ConfigListen"},
    )
