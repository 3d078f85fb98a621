"""What an operator chose for the registry plane. The host reads it from the settings ``registry.*``.

Rule: every field has a default that suits one machine, and its unit in its name.
"""

from __future__ import annotations

import msgspec


class HttpCompatibility(msgspec.Struct, frozen=True):
    """Whether the HTTP API v1 and v2 of Nacos answer applications, administration tools and the web console; 3.x
    turns the last two away. v3 always answers.
    """

    client: bool = True
    admin: bool = True
    console: bool = True


class ConfigChoices(msgspec.Struct, frozen=True):
    """``check``: refuse what does not parse as its type. ``require_namespace``: publish into known namespaces only.
    ``items_max``: in the cluster, 0: no limit. ``history_s_max``: how long what was before is kept.
    """

    check: bool = True
    require_namespace: bool = False
    items_max: int = 0
    history_s_max: float = 30 * 86_400.0


class Settings(msgspec.Struct, frozen=True):
    """``rate_limits``: ``POINT=COUNT[/s|/m|/h][:monitor|:intercept]``, separated by commas. -1: no limit.
    ``strict``: choose instances as Nacos does, slips included. ``override_kept_s``: how long an operator's word on an
    instance outlives the instance; Nacos keeps it for 60 s.
    """

    rate_limits: str = ""
    connections_max: int = -1
    connections_per_address_max: int = -1
    http: HttpCompatibility = HttpCompatibility()
    configs: ConfigChoices = ConfigChoices()
    strict: bool = False
    override_kept_s: float = 600.0
    token_ttl_s: float = 18_000.0
    journal_days: float = 7.0
    journal_bytes: int = 1_073_741_824
    audit_entries: int = 100_000
    audit_days: float = 90.0
