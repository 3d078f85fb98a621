"""How much configuration there may be. Every limit has a setting; 0 is no limit where the comment says so."""

from __future__ import annotations

import msgspec

from atoll.resources.config_item import CONTENT_BYTES_MAX


class ConfigLimits(msgspec.Struct, frozen=True):
    """``check``: refuse what does not parse as its type. ``require_namespace``: publish into known namespaces only."""

    content_bytes_max: int = CONTENT_BYTES_MAX
    items_max: int = 0  # in the cluster; 0: no limit
    namespace_items_max: int = 0  # where a namespace has no quota of its own; 0: no limit
    group_items_max: int = 0  # likewise for a group over all namespaces; 0: no limit
    gray_releases_max: int = 10  # of one item
    history_s_max: float = 30 * 86_400.0
    history_entries_max: int = 1_000  # of one item
    listens_max: int = 1_000_000  # (client, item) pairs on a node
    client_listens_max: int = 10_000
    patterns_max: int = 20  # fuzzy watches of a client
    pattern_matches_max: int = 500  # items that one pattern tells of
    import_entries_max: int = 10_000
    rollouts_open_max: int = 100
    check: bool = True
    require_namespace: bool = False
