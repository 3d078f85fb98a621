"""Configuration in and out over the registry's own API: archives, copies, a Nacos database.

Rule: every item that goes out or comes in is asked for by its own name. A Nacos database is read by the node, so only
an administrator may say which.
"""

from __future__ import annotations

import msgspec

from atoll.access import grants
from atoll.planes.registry.frontends.rest.door import Call, Door, administering, get, known, post
from atoll.planes.registry.policy.config_search import find
from atoll.planes.registry.service.accounts import Accounts, Permission, RoleOf
from atoll.planes.registry.service.config_transfer import copy_of
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.namespaces import Namespaces
from atoll.resources import namespace
from atoll.resources.config_api import CloneOrder, ExportAsked, ImportAsked, MysqlOrder, MysqlTaken
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import Imported, Search
from atoll.runtime.http_api import Endpoint, Text
from atoll.runtime.mysql_client import MysqlServer
from atoll.wire.nacos.config_zip import ARCHIVE_BYTES_MAX

ZIP_TYPE = "application/zip"


class TransfersApi:
    def __init__(self, configs: Configs, namespaces: Namespaces, accounts: Accounts, door: Door) -> None:
        self._configs = configs
        self._namespaces = namespaces
        self._accounts = accounts
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        take = post("/v1/configs/import", "Take an archive in.", self.take, Imported, bytes)
        mysql = post(
            "/v1/configs/import-mysql", "Take a Nacos database over.", self.mysql, MysqlTaken, MysqlOrder
        )
        declared = [
            (known, get("/v1/configs/export", "An archive.", self.export, Text, ExportAsked)),
            (known, msgspec.structs.replace(take, query=ImportAsked, body_bytes_max=ARCHIVE_BYTES_MAX)),
            (known, post("/v1/configs/clone", "Copy to a namespace.", self.clone, Imported, CloneOrder)),
            (administering, mysql),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    async def export(self, call: Call) -> Text:
        asked: ExportAsked = call.fields
        search = Search(
            namespace=asked.namespace,
            group=asked.group,
            data_id=asked.data_id,
            app_name=asked.app,
            blur=True,
        )
        found = find(self._configs.view.items(), search)
        for item in found:
            self._require(call, item.key, "r")
        return Text(self._configs.transfer.pack(found), ZIP_TYPE)

    async def take(self, call: Call) -> Imported:
        asked: ImportAsked = call.fields

        def may(key: ConfigKey) -> None:
            self._require(call, key, "w")

        space = namespace.canonical(asked.namespace)
        return await self._configs.transfer.take_zip(call.actor, space, call.body, asked.policy, may)

    async def clone(self, call: Call) -> Imported:
        order: CloneOrder = call.body
        search = Search(namespace=order.source, group=order.group)
        found = find(self._configs.view.items(), search)
        chosen = [each for each in found if not order.data_ids or each.key.data_id in order.data_ids]
        copies = [copy_of(each, order.target) for each in chosen]
        for item, key in copies:
            self._require(call, item.key, "r")
            self._require(call, key, "w")
        return await self._configs.transfer.clone(call.actor, copies, order.policy)

    async def mysql(self, call: Call) -> MysqlTaken:
        """Namespaces first, then configuration, then accounts; what is there already of the first and last stays."""
        order: MysqlOrder = call.body
        server = MysqlServer(order.host, order.port, order.user, order.password, order.database)
        found = await self._configs.transfer.read_database(server)
        made = []
        for space in found.namespaces:
            if not self._namespaces.exists(space.id):
                made.append((await self._namespaces.create(call.actor, space)).id)
        taken = await self._configs.transfer.take(call.actor, found.items, order.policy)
        shown = MysqlTaken(taken, tuple(made), left_out=found.left_out)
        if not order.accounts:
            return shown
        accounts = await self._accounts.take_over(
            call.actor,
            found.users,
            [RoleOf(role, user) for user, role in found.roles],
            [Permission(*each) for each in found.permissions],
        )
        return msgspec.structs.replace(
            shown,
            users=accounts.users,
            roles=accounts.roles,
            rights=accounts.permissions,
            left_out=(*shown.left_out, *accounts.left_out),
        )

    def _require(self, call: Call, key: ConfigKey, action: str) -> None:
        resource = grants.config(key.namespace, key.group, key.data_id)
        self._door.guard.require(call.principal, resource, action)
