"""Where configuration lies in the store.

Rule: what every node keeps in memory lies under ``CONFIGS`` and is followed; history and the chunks of large contents
lie elsewhere and are read when somebody asks. Names have no ``/`` in them (``resources.config_item``), so that the
parts of a key can be told apart.
"""

from __future__ import annotations

from atoll.resources.config_item import ConfigKey
from atoll.store.api import RESERVED_PREFIX

CONFIGS = RESERVED_PREFIX + b"registry/config/"
ITEMS = CONFIGS + b"item/"
GRAYS = CONFIGS + b"gray/"
ROLLOUTS = CONFIGS + b"rollout/"
CAPACITIES = CONFIGS + b"capacity/"
COUNTS = CONFIGS + b"count/"
NAMESPACES = CONFIGS + b"namespace/"
HISTORY = RESERVED_PREFIX + b"registry/config-history/"
CHUNKS = RESERVED_PREFIX + b"registry/config-chunk/"


def _path(key: ConfigKey) -> bytes:
    return f"{key.namespace}/{key.group}/{key.data_id}".encode()


def item(key: ConfigKey) -> bytes:
    return ITEMS + _path(key)


def grays(key: ConfigKey) -> bytes:
    """The prefix of all gray releases of ``key``."""
    return GRAYS + _path(key) + b"/"


def gray(key: ConfigKey, name: str) -> bytes:
    return grays(key) + name.encode()


def rollout(key: ConfigKey) -> bytes:
    return ROLLOUTS + _path(key)


def histories(key: ConfigKey) -> bytes:
    """The prefix of the history of ``key``, in the order of its entries' ids."""
    return HISTORY + _path(key) + b"/"


def history(key: ConfigKey, entry_id: int, chunks_id: str = "") -> bytes:
    """The name of its chunks is in the key, so that a sweep of chunks need not read all of history."""
    place = histories(key) + b"%016x" % entry_id
    return place + b"+" + chunks_id.encode() if chunks_id else place


def parse_history(place: bytes) -> tuple[ConfigKey, int, str]:
    """Item, id of the entry, name of its chunks or empty."""
    key, rest = parse(place[len(HISTORY) :])
    number, _, chunks_id = rest.partition("+")
    return key, int(number, 16), chunks_id


def capacity(scope: str, name: str) -> bytes:
    return CAPACITIES + f"{scope}/{name}".encode()


def count(scope: str, name: str) -> bytes:
    """Bumped by whoever adds an item where a quota holds, so that two of them cannot pass it together."""
    return COUNTS + f"{scope}/{name}".encode()


def chunks(chunks_id: str) -> bytes:
    return CHUNKS + chunks_id.encode() + b"/"


def chunk(chunks_id: str, number: int) -> bytes:
    return chunks(chunks_id) + b"%04d" % number


def namespace(name: str) -> bytes:
    return NAMESPACES + name.encode()


def parse(path: bytes) -> tuple[ConfigKey, str]:
    """The item's key, and what follows it, of what comes after a prefix above."""
    space, group, data_id, *rest = path.decode().split("/")
    return ConfigKey(space, group, data_id), "/".join(rest)
