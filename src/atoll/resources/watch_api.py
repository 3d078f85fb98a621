"""Following configurations and services over one long-lived answer of Atoll's own API. Never stored.

Rule: what is told is always the whole newest state of one thing, never a difference, so that a message that is left
out because a newer one exists is no loss. A line with nothing in it says that the node is alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from atoll.resources.naming_api import Hosts
from atoll.resources.records import NOTHING
from atoll.resources.service import DEFAULT_GROUP

FOLLOWED_MAX = 1_000  # configurations, and as many services, of one stream
ALIVE_EVERY_S = 5.0


class ConfigFollowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``md5``: of what the client has; it is told at once if that is not what it should have. Empty: nothing."""

    data_id: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    md5: str = ""


class ServiceFollowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    clusters: str = ""
    healthy_only: bool = False


class WatchOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``client``: what this application is called over reconnects (a percentage falls on it by this name; empty: its
    address and ``app``). ``labels`` and ``tag`` decide which gray release it gets.
    """

    configs: Annotated[tuple[ConfigFollowed, ...], msgspec.Meta(max_length=FOLLOWED_MAX)] = ()
    services: Annotated[tuple[ServiceFollowed, ...], msgspec.Meta(max_length=FOLLOWED_MAX)] = ()
    client: str = ""
    app: str = ""
    tag: str = ""
    labels: Mapping[str, str] = NOTHING


class ConfigTold(msgspec.Struct, frozen=True):
    """One configuration as the client should have it. ``content`` None: there is none."""

    namespace: str
    group: str
    data_id: str
    content: str | None = None
    md5: str = ""
    type: str = "text"
    encrypted_data_key: str = ""
    gray_name: str = ""
    stale: bool = False


class ServiceTold(msgspec.Struct, frozen=True):
    """``of``: what was asked for, word by word."""

    of: ServiceFollowed
    hosts: Hosts


class Told(msgspec.Struct, frozen=True):
    """One line of the stream. ``at_s``: Unix time of the node."""

    at_s: float
    config: ConfigTold | None = None
    service: ServiceTold | None = None
