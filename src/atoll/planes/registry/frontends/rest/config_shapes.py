"""From what the plane keeps to what its API shows.

Rule: nothing is decided here, and nothing that is only for the store (chunks, unknown fields) is shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.resources.config_api import (
    ConfigShown,
    ConfigSummary,
    EntryShown,
    GrayShown,
    RolloutShown,
)
from atoll.resources.config_item import ConfigItem, ConfigKey, GrayRelease, HistoryEntry
from atoll.resources.config_views import Served
from atoll.resources.records import NOTHING
from atoll.resources.rollout import Rollout
from atoll.resources.watch_api import ConfigTold


def summary(item: ConfigItem) -> ConfigSummary:
    return ConfigSummary(
        key=item.key,
        id=item.id,
        md5=item.md5,
        type=item.type,
        size_bytes=item.size_bytes,
        modified_s=item.modified_s,
        user=item.user,
        app=item.app_name,
        desc=item.desc,
        tags=item.tags,
    )


def shown(key: ConfigKey, item: ConfigItem | None, grays: tuple[GrayRelease, ...]) -> ConfigShown:
    releases = tuple(
        GrayShown(each.name, each.rule, each.content, each.md5, each.type, each.modified_s, each.user)
        for each in grays
    )
    if item is None:
        return ConfigShown(key, False, grays=releases)
    return ConfigShown(
        key=key,
        there=True,
        id=item.id,
        content=item.content,
        md5=item.md5,
        type=item.type,
        encrypted_data_key=item.encrypted_data_key,
        app=item.app_name,
        desc=item.desc,
        use=item.use,
        effect=item.effect,
        schema=item.schema,
        tags=item.tags,
        created_s=item.created_s,
        modified_s=item.modified_s,
        created_by=item.created_by,
        user=item.user,
        address=item.address,
        grays=releases,
    )


def entry(found: HistoryEntry, with_content: bool = False) -> EntryShown:
    return EntryShown(
        id=found.id,
        op=found.op,
        md5=found.md5,
        md5_after=found.md5_after,
        at_s=found.modified_s,
        user=found.user,
        address=found.address,
        gray_name=found.gray_name,
        type=found.type,
        content=found.content if with_content else None,
    )


def rollout(found: Rollout) -> RolloutShown:
    return RolloutShown(
        key=found.key,
        id=found.id,
        state=found.state,
        percent=found.percent,
        step=found.step,
        plan=found.plan,
        md5=found.md5,
        started_s=found.started_s,
        step_since_s=found.step_since_s,
        ended_s=found.ended_s,
        user=found.user,
        decisions=found.decisions,
    )


def labels_of(text: str) -> Mapping[str, str]:
    """``a=1,b=2`` as labels; a part without ``=`` is none."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): value.strip() for name, _, value in pairs} or NOTHING


def told(key: ConfigKey, spelled: str, served: Served | None) -> ConfigTold:
    """What a consumer gets; ``spelled`` is its own spelling of the namespace."""
    if served is None:
        return ConfigTold(spelled, key.group, key.data_id)
    return ConfigTold(
        namespace=spelled,
        group=key.group,
        data_id=key.data_id,
        content=served.content,
        md5=served.md5,
        type=served.type,
        encrypted_data_key=served.encrypted_data_key,
        gray_name=served.gray_name,
        stale=served.stale,
    )
