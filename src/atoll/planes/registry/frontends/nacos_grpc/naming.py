"""Naming over gRPC: registering, subscribing, looking up.

Rule: what a client names is checked by the rules of ``wire.nacos.parameters``, then permission is asked for, then the
service acts. A subscriber is told in its own spelling of the namespace, and only while it may read the service.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from atoll.access import grants
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_grpc import rendering
from atoll.planes.registry.frontends.nacos_grpc.connections import Connection
from atoll.planes.registry.frontends.nacos_grpc.dispatch import Asked, Handler, LaterHandler
from atoll.planes.registry.frontends.nacos_grpc.pushes import NOTIFY_SUBSCRIBER, Message, Outcome
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.service.guard import Guard
from atoll.planes.registry.service.naming import Naming
from atoll.planes.registry.service.pushes import Push
from atoll.resources.instance import Instance
from atoll.resources.service import ServiceKey
from atoll.runtime.clock import Clock
from atoll.wire.nacos import answers, parameters, requests
from atoll.wire.nacos.requests import InstanceBody, texts_of

REGISTER = "registerInstance"
DEREGISTER = "deregisterInstance"
BATCH_REGISTER = "batchRegisterInstance"
PAGE_SIZE_DEFAULT = 10
PAGE_SIZE_MAX = 100_000
KEYS_KEPT_MAX = 16_384

_DONE: Mapping[str, bytes] = {
    kind: answers.encode(answers.TypedResponse(type=kind)) for kind in (REGISTER, DEREGISTER, BATCH_REGISTER)
}


@functools.lru_cache(KEYS_KEPT_MAX)
def service_key(namespace: str | None, group: str | None, name: str | None) -> ServiceKey:
    """Raises INVALID."""
    own_group, own_name = parameters.service(name or "", group)
    return ServiceKey(parameters.namespace(namespace), own_group, own_name)


@functools.lru_cache(KEYS_KEPT_MAX)
def resource(key: ServiceKey) -> grants.Resource:
    return grants.service(key.namespace, key.group, key.name)


class NamingHandlers:
    def __init__(self, naming: Naming, guard: Guard, clock: Clock) -> None:
        self._naming = naming
        self._guard = guard
        self._clock = clock
        self.now: Mapping[str, Handler] = {
            "InstanceRequest": self.instance,
            "BatchInstanceRequest": self.batch,
            "SubscribeServiceRequest": self.subscribe,
            "ServiceQueryRequest": self.query,
            "ServiceListRequest": self.services,
        }
        self.later: Mapping[str, LaterHandler] = {"PersistentInstanceRequest": self.persistent}

    # ----------------------------------------------------------------------------------- registering

    def instance(self, asked: Asked, request: requests.InstanceRequest) -> bytes:
        key = self._key(asked, request)
        if request.type == REGISTER:
            self._naming.register(asked.connection.id, key, (_instance(request.instance, ephemeral=True),))
        elif request.type == DEREGISTER:
            self._naming.register(asked.connection.id, key, ())
        else:
            raise _unsupported(request.type)
        return _DONE[request.type]

    def batch(self, asked: Asked, request: requests.BatchInstanceRequest) -> bytes:
        key = self._key(asked, request)
        if request.type != BATCH_REGISTER:
            raise _unsupported(request.type)
        wanted = [_instance(each, ephemeral=True) for each in request.instances or ()]
        self._naming.register(asked.connection.id, key, wanted)
        return _DONE[BATCH_REGISTER]

    async def persistent(self, asked: Asked, request: requests.InstanceRequest) -> bytes:
        key = self._key(asked, request)
        instance = _instance(request.instance, ephemeral=False)
        if request.type == REGISTER:
            await self._naming.register_persistent(asked.actor(), key, instance)
        elif request.type == DEREGISTER:
            await self._naming.deregister_persistent(asked.actor(), key, instance.id)
        else:
            raise _unsupported(request.type)
        return _DONE[request.type]

    def _key(
        self, asked: Asked, request: requests.InstanceRequest | requests.BatchInstanceRequest
    ) -> ServiceKey:
        key = service_key(request.namespace, request.group_name, request.service_name)
        asked.require(resource(key), grants.WRITE)
        return key

    # ------------------------------------------------------------------------------------ looking up

    def query(self, asked: Asked, request: requests.ServiceQueryRequest) -> bytes:
        key = service_key(request.namespace, request.group_name, request.service_name)
        asked.require(resource(key), grants.READ)
        clusters = request.cluster or ""
        wanted = _selection(asked.connection, clusters, bool(request.healthy_only or request.health_only))
        info = self._naming.query(key, wanted)
        raw = msgspec.Raw(rendering.info_json(info, clusters))
        return answers.encode(answers.ServiceInfoResponse(service_info=raw))

    def services(self, asked: Asked, request: requests.ServiceListRequest) -> bytes:
        """Every service of the group that the client may read."""
        namespace, group = parameters.namespace(request.namespace), parameters.group(request.group_name)
        asked.guard.require_known(asked.principal)
        found = [
            key.name
            for key in self._naming.services(namespace, group)
            if asked.guard.allows(asked.principal, resource(key), grants.READ)
        ]
        size = min(max(_or(request.page_size, PAGE_SIZE_DEFAULT), 1), PAGE_SIZE_MAX)
        first = (max(_or(request.page_no, 1), 1) - 1) * size
        names = found[first : first + size]
        return answers.encode(answers.ServiceListResponse(count=len(found), service_names=names))

    # ----------------------------------------------------------------------------------- subscribing

    def subscribe(self, asked: Asked, request: requests.SubscribeServiceRequest) -> bytes:
        key = service_key(request.namespace, request.group_name, request.service_name)
        asked.require(resource(key), grants.READ)
        connection, clusters = asked.connection, request.clusters or ""
        wanted = _selection(connection, clusters)
        if request.subscribe:
            subscriber = _Subscriber(self, connection, request.namespace or "", clusters)
            info = self._naming.subscribe(connection.id, key, wanted, subscriber.push)
        else:
            self._naming.unsubscribe(connection.id, key, wanted)
            info = self._naming.query(key, wanted)
        raw = msgspec.Raw(rendering.info_json(info, clusters))
        return answers.encode(answers.ServiceInfoResponse(service_info=raw))

    def now_s(self) -> float:
        return self._clock.now_s()

    def may_read(self, connection: Connection, key: ServiceKey) -> bool:
        return self._guard.allows(connection.principal, resource(key), grants.READ)


class _Subscriber:
    """One subscription of one client, in its own words."""

    __slots__ = ("_clusters", "_connection", "_handlers", "_namespace")

    def __init__(
        self, handlers: NamingHandlers, connection: Connection, namespace: str, clusters: str
    ) -> None:
        self._handlers = handlers
        self._connection = connection
        self._namespace = namespace
        self._clusters = clusters

    def push(self, push: Push) -> None:
        def body() -> bytes | None:
            if not self._handlers.may_read(self._connection, push.key):
                return None
            return rendering.push_body(push.info, self._namespace, self._clusters)

        def ended(outcome: Outcome) -> None:
            if outcome is Outcome.ACKNOWLEDGED:
                push.acknowledged()
            elif outcome is Outcome.FAILED:
                push.failed()
            else:
                push.abandoned()

        message = Message(NOTIFY_SUBSCRIBER, (push.key, self._clusters), body, ended)
        self._connection.pushes.offer(message, self._handlers.now_s())


def _selection(connection: Connection, clusters: str, healthy_only: bool = False) -> Selection:
    client = connection.client
    return Selection(
        parameters.clusters(clusters), healthy_only, address=client.address, labels=client.labels
    )


def _instance(body: InstanceBody | None, *, ephemeral: bool) -> Instance:
    """Raises INVALID."""
    if body is None:
        raise parameters.missing("instance")
    if body.ephemeral is not ephemeral:
        kind, other = ("InstanceRequest", "true") if ephemeral else ("PersistentInstanceRequest", "false")
        raise parameters.invalid("ephemeral", f"ephemeral of the instance in {kind} must be {other}")
    return Instance(
        ip=parameters.ip(body.ip or ""),
        port=parameters.port(body.port),
        cluster=parameters.cluster(body.cluster_name),
        weight=parameters.weight(body.weight),
        healthy=body.healthy,
        enabled=body.enabled,
        ephemeral=ephemeral,
        metadata=parameters.metadata(texts_of(body.metadata)),
    )


def _unsupported(kind: str | None) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"Unsupported request type {kind}; expected {REGISTER}, {DEREGISTER} or, in a batch, {BATCH_REGISTER}",
        reason=Reason.PARAMETER_INVALID,
        facts={"parameter": "type"},
    )


def _or(number: int | None, default: int) -> int:
    return default if number is None else number
