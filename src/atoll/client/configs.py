"""Configuration over the node's API, typed. For applications there is ``atoll.client.registry``."""

from __future__ import annotations

from atoll.client.node import Client
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

    async def every(self, asked: ConfigsAsked) -> ConfigPage:
        return await self._client.get("/v1/configs", ConfigPage, asked)

    async def one(self, asked: ConfigAsked) -> ConfigShown:
        """As an editor sees it."""
        return await self._client.get("/v1/config", ConfigShown, asked)

    async def served(self, asked: ServedAsked) -> ConfigTold:
        """As a consumer gets it."""
        return await self._client.get("/v1/config/served", ConfigTold, asked)

    async def publish(self, order: PublishOrder) -> Published:
        return await self._client.post("/v1/config", order, Published)

    async def preview(self, order: PublishOrder) -> Preview:
        return await self._client.post("/v1/config/preview", order, Preview)

    async def remove(self, asked: ConfigRemoval) -> Removed:
        return await self._client.send("DELETE", "/v1/config", None, Removed, asked)

    async def listeners(self, asked: ConfigAsked) -> Listening:
        return await self._client.get("/v1/config/listeners", Listening, asked)

    async def history(self, asked: HistoryAsked) -> HistoryShown:
        return await self._client.get("/v1/config/history", HistoryShown, asked)

    async def entry(self, asked: EntryAsked) -> EntryShown:
        return await self._client.get("/v1/config/entry", EntryShown, asked)

    async def rollback(self, order: RollbackOrder) -> Published:
        return await self._client.post("/v1/config/rollback", order, Published)

    async def rollouts(self) -> list[RolloutShown]:
        """Those that are under way."""
        return await self._client.get("/v1/rollouts", list[RolloutShown])

    async def rollout(self, asked: ConfigAsked) -> RolloutShown:
        return await self._client.get("/v1/rollout", RolloutShown, asked)

    async def start_rollout(self, order: RolloutOrder) -> RolloutShown:
        return await self._client.post("/v1/rollout", order, RolloutShown)

    async def move_rollout(self, move: RolloutMove) -> RolloutShown:
        return await self._client.post("/v1/rollout/move", move, RolloutShown)

    async def export(self, asked: ExportAsked) -> bytes:
        """A zip archive in Nacos's layout."""
        return await self._client.whole("/v1/configs/export", asked)

    async def take_archive(self, archive: bytes, asked: ImportAsked) -> Imported:
        return await self._client.post("/v1/configs/import", archive, Imported, asked)

    async def clone(self, order: CloneOrder) -> Imported:
        return await self._client.post("/v1/configs/clone", order, Imported)

    async def take_mysql(self, order: MysqlOrder) -> MysqlTaken:
        return await self._client.post("/v1/configs/import-mysql", order, MysqlTaken)
