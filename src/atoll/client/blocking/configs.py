# Generated from src/atoll/client/configs.py by `python3 dev.py generate`; edit that file instead.
"""Configuration over the node's API, typed. For applications there is ``atoll.client.registry``."""

from __future__ import annotations

from atoll.client.blocking.node import Client
from atoll.resources.config_api import (
    CloneOrder,
    ConfigAsked,
    ConfigPage,
    ConfigRemoval,
    ConfigsAsked,
    ConfigShown,
    EntryAsked,
    EntryShown,
    ExportAsked,
    HistoryAsked,
    HistoryShown,
    ImportAsked,
    Listening,
    MysqlOrder,
    MysqlTaken,
    PublishOrder,
    Removed,
    RollbackOrder,
    RolloutMove,
    RolloutOrder,
    RolloutShown,
    ServedAsked,
)
from atoll.resources.config_views import Imported, Preview, Published
from atoll.resources.watch_api import ConfigTold


class Configs:
    """The configuration part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def every(self, asked: ConfigsAsked) -> ConfigPage:
        return self._client.get("/v1/configs", ConfigPage, asked)

    def one(self, asked: ConfigAsked) -> ConfigShown:
        """As an editor sees it."""
        return self._client.get("/v1/config", ConfigShown, asked)

    def served(self, asked: ServedAsked) -> ConfigTold:
        """As a consumer gets it."""
        return self._client.get("/v1/config/served", ConfigTold, asked)

    def publish(self, order: PublishOrder) -> Published:
        return self._client.post("/v1/config", order, Published)

    def preview(self, order: PublishOrder) -> Preview:
        return self._client.post("/v1/config/preview", order, Preview)

    def remove(self, asked: ConfigRemoval) -> Removed:
        return self._client.send("DELETE", "/v1/config", None, Removed, asked)

    def listeners(self, asked: ConfigAsked) -> Listening:
        return self._client.get("/v1/config/listeners", Listening, asked)

    def history(self, asked: HistoryAsked) -> HistoryShown:
        return self._client.get("/v1/config/history", HistoryShown, asked)

    def entry(self, asked: EntryAsked) -> EntryShown:
        return self._client.get("/v1/config/entry", EntryShown, asked)

    def rollback(self, order: RollbackOrder) -> Published:
        return self._client.post("/v1/config/rollback", order, Published)

    def rollouts(self) -> list[RolloutShown]:
        """Those that are under way."""
        return self._client.get("/v1/rollouts", list[RolloutShown])

    def rollout(self, asked: ConfigAsked) -> RolloutShown:
        return self._client.get("/v1/rollout", RolloutShown, asked)

    def start_rollout(self, order: RolloutOrder) -> RolloutShown:
        return self._client.post("/v1/rollout", order, RolloutShown)

    def move_rollout(self, move: RolloutMove) -> RolloutShown:
        return self._client.post("/v1/rollout/move", move, RolloutShown)

    def export(self, asked: ExportAsked) -> bytes:
        """A zip archive in Nacos's layout."""
        return self._client.whole("/v1/configs/export", asked)

    def take_archive(self, archive: bytes, asked: ImportAsked) -> Imported:
        return self._client.post("/v1/configs/import", archive, Imported, asked)

    def clone(self, order: CloneOrder) -> Imported:
        return self._client.post("/v1/configs/clone", order, Imported)

    def take_mysql(self, order: MysqlOrder) -> MysqlTaken:
        return self._client.post("/v1/configs/import-mysql", order, MysqlTaken)
