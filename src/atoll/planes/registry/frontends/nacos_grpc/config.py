"""Configuration over gRPC: query, publish, remove, listen.

Rule: a client is told only that something changed, never what: it asks again. It is told in its own spelling of the
namespace, and only while it may read the item. Of a batch of listens, those that the client may not read are left
out; if that leaves none, the whole batch is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from atoll.access import grants
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_grpc.connections import Connection
from atoll.planes.registry.frontends.nacos_grpc.dispatch import Asked, Handler, LaterHandler
from atoll.planes.registry.frontends.nacos_grpc.pushes import CONFIG_CHANGED, Message, Outcome
from atoll.planes.registry.service.configs import Configs, Listener
from atoll.planes.registry.service.guard import Guard
from atoll.planes.registry.service.journal import Journal
from atoll.resources.config_item import TYPES, ConfigKey, GrayRule
from atoll.resources.config_views import Changed, Details, Served
from atoll.resources.consumer import Consumer
from atoll.runtime.clock import Clock
from atoll.wire.nacos import answers, parameters, requests
from atoll.wire.nacos.answers import ConfigRef
from atoll.wire.nacos.requests import texts_of

TAG_HEADER = "Vipserver-Tag"
KEYS_KEPT_MAX = 16_384
BODIES_KEPT_MAX = 1_024


@functools.lru_cache(KEYS_KEPT_MAX)
def config_key(tenant: str | None, group: str | None, data_id: str | None) -> ConfigKey:
    """Raises INVALID."""
    return ConfigKey(parameters.namespace(tenant), parameters.group(group), parameters.data_id(data_id or ""))


@functools.lru_cache(KEYS_KEPT_MAX)
def resource(key: ConfigKey) -> grants.Resource:
    return grants.config(key.namespace, key.group, key.data_id)


@functools.lru_cache(KEYS_KEPT_MAX)
def subject(key: ConfigKey) -> str:
    """As the journal names it."""
    return str(resource(key))


@functools.lru_cache(BODIES_KEPT_MAX)
def _changed_body(data_id: str, group: str, tenant: str) -> bytes:
    """One for all who spell the item alike."""
    return answers.encode(answers.ConfigChangeNotifyRequest(data_id, group, tenant))


class ConfigHandlers:
    def __init__(self, configs: Configs, guard: Guard, journal: Journal, clock: Clock) -> None:
        self._configs = configs
        self._guard = guard
        self._journal = journal
        self._clock = clock
        self.now: Mapping[str, Handler] = {
            "ConfigQueryRequest": self.query,
            "ConfigBatchListenRequest": self.listen,
        }
        self.later: Mapping[str, LaterHandler] = {
            "ConfigPublishRequest": self.publish,
            "ConfigRemoveRequest": self.remove,
        }

    def query(self, asked: Asked, request: requests.ConfigQueryRequest) -> bytes:
        key = config_key(request.tenant, request.group, request.data_id)
        asked.require(resource(key), grants.READ)
        if request.tag:
            found = self._configs.gray(key, tag_name(request.tag))
        else:
            found = self._configs.query(key, consumer(asked))
        if found is None:
            return answers.failure(300, "config data not exist")
        self._journal.fetched(asked.connection.id, subject(key), found.md5)
        return answers.encode(_response(found))

    async def publish(self, asked: Asked, request: requests.ConfigPublishRequest) -> bytes:
        key = config_key(request.tenant, request.group, request.data_id)
        asked.require(resource(key), grants.WRITE)
        added = texts_of(request.addition_map)
        actor = asked.actor(added.get("src_user", ""))
        details = _details(added, request.cas_md5 or "")
        try:
            await self._configs.publish(actor, key, request.content or "", details)
        except AtollError as error:
            raise _said_by_the_reference(error) from error
        return answers.SUCCESS

    async def remove(self, asked: Asked, request: requests.ConfigRemoveRequest) -> bytes:
        key = config_key(request.tenant, request.group, request.data_id)
        asked.require(resource(key), grants.WRITE)
        await self._configs.remove(asked.actor(), key, tag_name(request.tag) if request.tag else "")
        return answers.SUCCESS

    # ------------------------------------------------------------------------------------- listening

    def listen(self, asked: Asked, request: requests.ConfigBatchListenRequest) -> bytes:
        contexts = request.config_listen_contexts or ()
        keys = [config_key(each.tenant, each.group, each.data_id) for each in contexts]
        allowed = [asked.guard.allows(asked.principal, resource(key), grants.READ) for key in keys]
        if not any(allowed):
            asked.guard.require_known(asked.principal)
            for key in keys[:1]:
                asked.require(resource(key), grants.READ)
        changed = []
        who = consumer(asked)
        for context, key, may in zip(contexts, keys, allowed, strict=True):
            if not may:
                continue
            if not request.listen:
                self._configs.unlisten(asked.connection.id, key)
                asked.connection.pushes.forget(key)
            elif self._listen(asked.connection, who, key, context):
                changed.append(_ref(context))
        return answers.encode(answers.ConfigChangeBatchListenResponse(changed_configs=changed))

    def _listen(
        self, connection: Connection, who: Consumer, key: ConfigKey, context: requests.ListenContext
    ) -> bool:
        """True: the client has another version than the one that it is to have."""
        ref = _ref(context)

        def body() -> bytes | None:
            if not self._guard.allows(connection.principal, resource(key), grants.READ):
                return None
            return _changed_body(ref.data_id, ref.group, ref.tenant)

        def tell(changed: Changed) -> None:
            def ended(outcome: Outcome) -> None:
                if outcome is Outcome.ACKNOWLEDGED:
                    self._journal.acknowledged(connection.id, subject(key), changed.md5)
                elif outcome is Outcome.FAILED:
                    why = "refused, or not answered in time"
                    self._journal.push_failed(connection.id, subject(key), changed.md5, why)

            connection.pushes.offer(Message(CONFIG_CHANGED, key, body, ended), self._clock.now_s())

        return self._configs.listen(Listener(connection.id, who, context.md5 or "", tell), key)


def consumer(asked: Asked) -> Consumer:
    client = asked.connection.client
    return Consumer(client.address, client.labels, asked.headers.get(TAG_HEADER, ""), client.app)


def tag_name(tag: str) -> str:
    """What the release for a tag is called."""
    return f"tag_{tag}"


def _ref(context: requests.ListenContext) -> ConfigRef:
    return ConfigRef(context.data_id or "", context.group or parameters.DEFAULT_GROUP, context.tenant or "")


def _response(found: Served) -> answers.ConfigQueryResponse:
    response = answers.ConfigQueryResponse(
        content=found.content,
        md5=found.md5,
        last_modified=int(found.modified_s * 1_000),
        encrypted_data_key=found.encrypted_data_key,
        content_type=found.type or "text",
        beta=found.gray_kind == "beta",
    )
    if found.gray_kind == "tag":
        response.tag = found.gray_expr
    return response


def _details(added: Mapping[str, str], cas_md5: str) -> Details:
    kind = added.get("type", "")
    tags = tuple(tag.strip() for tag in added.get("config_tags", "").split(",") if tag.strip())
    return Details(
        type=kind if kind in TYPES else "",
        tags=tags or None,
        app_name=added.get("appName", ""),
        desc=added.get("desc", ""),
        use=added.get("use", ""),
        effect=added.get("effect", ""),
        schema=added.get("schema") or None,
        encrypted_data_key=added.get("encryptedDataKey", ""),
        cas_md5=cas_md5,
        gray=_gray(added),
    )


def _gray(added: Mapping[str, str]) -> GrayRule | None:
    """A release for some addresses beats one for a tag, as in the reference."""
    if added.get("betaIps"):
        return GrayRule("beta", added["betaIps"])
    if added.get("tag"):
        return GrayRule("tag", added["tag"])
    return None


def _said_by_the_reference(error: AtollError) -> AtollError:
    if error.reason is not Reason.CONFIG_CHANGED:
        return error
    message = f"Cas publish fail, server md5 may have changed. {error.message}"
    return AtollError(Code.CONFLICT, message, reason=Reason.CONFIG_CHANGED, facts=error.facts)
