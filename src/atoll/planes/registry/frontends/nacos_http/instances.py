"""Instances: registered, kept alive, listed.

Rule: an ephemeral instance is an act in memory; a persistent one is a write to the store. The answer to a beat says
whether the instance is known, and how often to beat.

Source: Nacos 2.4.3, ``InstanceController`` of v1 and v2; 3.1 of v3.
"""

from __future__ import annotations

from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http import answer, shapes
from atoll.planes.registry.frontends.nacos_http.answer import JSON_TYPE, Bare
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.frontends.udp import Poll, UdpPush
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.service.naming import Naming
from atoll.resources.instance import Instance, InstanceId
from atoll.resources.registry_client import Client, ClientKind
from atoll.resources.service import ServiceKey
from atoll.runtime.net import Address
from atoll.wire.nacos import errors, parameters, service_info


class _Beat(msgspec.Struct, rename="camel"):
    """The body of a beat, as clients send it."""

    ip: str
    port: int
    service_name: str = ""
    cluster: str = ""
    weight: float = 1.0
    metadata: dict[str, str] | None = None


_BEATS = msgspec.json.Decoder(_Beat, strict=False)


class Instances:
    """``udp`` tells 1.x clients of changes between their polls."""

    def __init__(self, naming: Naming, udp: UdpPush, doors: Doors) -> None:
        self._naming = naming
        self._udp = udp
        self._doors = doors

    def operations(self) -> dict[str, Operation]:
        return {
            "instance.register": self.register,
            "instance.register.v3": self.register_or_beat,
            "instance.deregister": self.deregister,
            "instance.get": self.get,
            "instance.get.v3": self.get_v3,
            "instance.list": self.list,
            "instance.hosts.v3": self.hosts_v3,
            "instance.beat": self.beat,
            "instance.statuses": self.statuses,
        }

    # ------------------------------------------------------------------------------------- registering

    async def register(self, call: Call) -> str:
        await self._register(call)
        return "ok"

    async def _register(self, call: Call) -> None:
        key, instance = call.service_key(), wanted(call, self._ephemeral(call))
        if instance.ephemeral:
            self._naming.register_beating(key, instance, client_of(call, instance.id))
        else:
            await self._naming.register_persistent(call.actor, key, instance)

    async def register_or_beat(self, call: Call) -> str:
        if not call.flag("heartBeat", False):
            return await self.register(call)
        key, identity = call.service_key(), identity_of(call)
        if not self._naming.beat(key, identity, None, client_of(call, identity)).known:
            raise _unknown(key, identity)
        return "ok"

    async def deregister(self, call: Call) -> str:
        key, identity = call.service_key(), identity_of(call)
        if self._ephemeral(call):
            await self._naming.deregister_beating(key, identity)
        else:
            await self._naming.deregister_persistent(call.actor, key, identity)
        return "ok"

    def _ephemeral(self, call: Call) -> bool:
        return call.flag("ephemeral", self._naming.directory.switches.default_instance_ephemeral)

    def beat(self, call: Call) -> Bare:
        key = call.service_key()
        text = call.text("beat")
        if text:
            identity, body = _beat_body(text)
        else:
            identity, body = identity_of(call), None
        done = self._naming.beat(key, identity, body, client_of(call, identity))
        code = errors.BEAT_OK if done.known else errors.BEAT_UNKNOWN
        light = b"true" if done.light else b"false"
        return Bare(
            b'{"clientBeatInterval":%d,"code":%d,"lightBeatEnabled":%s}' % (done.interval_ms, code, light),
            JSON_TYPE,
        )

    # ---------------------------------------------------------------------------------------- looking up

    def list(self, call: Call) -> Bare:
        key = call.service_key()
        selection = selection_of(call)
        info = self._naming.query(key, selection)
        switches = self._naming.directory.switches
        cache_ms = switches.default_cache_ms
        if call.text("udpPort") and self._pushed_to(call, key, selection):
            cache_ms = switches.push_cache_ms
        head, hosts = shapes.head(info, cache_ms), shapes.hosts_json(info)
        if call.is_result:
            body = b'{"code":0,"message":"success","data":%s}' % service_info.service_info(head, hosts)
        else:
            body = service_info.old_service_info(head, hosts)
        return Bare(body, JSON_TYPE)

    def _pushed_to(self, call: Call, key: ServiceKey, selection: Selection) -> bool:
        port = parameters.port(call.integer("udpPort", 0))
        if port == 0:
            return False
        address = Address(call.peer[0], port)
        return self._udp.subscribe(Poll(address, call.text("app"), agent_of(call), key, selection))

    def hosts_v3(self, call: Call) -> Bare:
        info = self._naming.query(call.service_key(), selection_of(call))
        body = b'{"code":0,"message":"success","data":%s}' % shapes.hosts_json(info)
        return Bare(body, JSON_TYPE)

    def get(self, call: Call) -> Bare:
        key, found = self._one(call)
        what = {
            "serviceName" if call.is_result else "service": key.grouped,
            "ip": found.ip,
            "port": found.port,
            "clusterName": found.cluster,
            "weight": found.weight,
            "healthy": found.healthy,
            "instanceId": shapes.host(key, found).instance_id,
            "metadata": dict(found.metadata),
        }
        return answer.success(call.entry, what)

    def get_v3(self, call: Call) -> Any:
        key, found = self._one(call)
        return shapes.host(key, found)

    def _one(self, call: Call) -> tuple[ServiceKey, Instance]:
        key, identity = call.service_key(), identity_of(call)
        if not call.first("clusterName", "cluster"):
            return key, self._anywhere(key, identity)
        hosts = self._naming.query(key, Selection((identity.cluster,), enabled_only=False)).hosts
        if not hosts:
            text = f"no ips found for cluster {identity.cluster} in service {key.grouped}"
            raise AtollError(Code.NOT_FOUND, text, reason=Reason.INSTANCE_NOT_FOUND)
        return key, _matched(hosts, identity)

    def _anywhere(self, key: ServiceKey, identity: InstanceId) -> Instance:
        hosts = self._naming.query(key, Selection(enabled_only=False)).hosts
        if not hosts:
            text = f"no ips found for cluster {identity.cluster} in service {key.grouped}"
            raise AtollError(Code.NOT_FOUND, text, reason=Reason.INSTANCE_NOT_FOUND)
        return _matched(hosts, identity)

    def statuses(self, call: Call) -> Bare:
        """``key`` is ``namespace##group@@service``."""
        namespace, _, grouped = call.required("key").partition("##")
        group, name = parameters.service(grouped)
        key = ServiceKey(parameters.namespace(namespace), group, name)
        self._doors.require(call, shapes.resource_of(key), "r")
        hosts = self._naming.query(key, Selection(enabled_only=False)).hosts
        return answer.json(
            {"ips": "".join(f"{each.ip}:{each.port}_{_truth(each.healthy)}," for each in hosts)}
        )


def _matched(hosts: tuple[Instance, ...], identity: InstanceId) -> Instance:
    for each in hosts:
        if (each.ip, each.port) == (identity.ip, identity.port):
            return each
    raise AtollError(Code.NOT_FOUND, "no matched ip found!", reason=Reason.INSTANCE_NOT_FOUND)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _unknown(key: ServiceKey, identity: InstanceId) -> AtollError:
    text = f"{key.grouped} has no instance {identity}; register it"
    return AtollError(Code.NOT_FOUND, text, reason=Reason.INSTANCE_NOT_FOUND)


def identity_of(call: Call) -> InstanceId:
    cluster = parameters.cluster(call.first("clusterName", "cluster"))
    port = parameters.port(parameters.integer("port", call.required("port")))
    return InstanceId(cluster, parameters.ip(call.required("ip")), port)


def wanted(call: Call, ephemeral: bool) -> Instance:
    """The instance that a registration asks for."""
    cluster, ip, port = identity_of(call)
    weight = call.text("weight")
    metadata = call.text("metadata")
    return Instance(
        ip,
        port,
        cluster,
        parameters.weight(parameters.number("weight", weight)) if weight else 1.0,
        call.flag("healthy", True),
        parameters.boolean(call.first("enabled", "enable") or "true"),
        ephemeral,
        parameters.metadata(parameters.metadata_text(metadata)) if metadata else {},
    )


def client_of(call: Call, identity: InstanceId) -> Client:
    """Who stands behind an instance that beats."""
    return Client(
        f"{identity.ip}:{identity.port}#true",
        ClientKind.BEAT,
        call.peer[0],
        call.peer[1],
        call.text("app"),
        agent_of(call),
        user=call.principal.name,
    )


def agent_of(call: Call) -> str:
    return call.header(b"user-agent") or call.header(b"client-version")


def selection_of(call: Call) -> Selection:
    clusters = parameters.clusters(call.first("clusters", "clusterName", "cluster"))
    address = call.text("clientIP") or call.peer[0]
    return Selection(clusters, call.flag("healthyOnly", False), True, address)


def _beat_body(text: str) -> tuple[InstanceId, Instance]:
    try:
        beat = _BEATS.decode(text)
    except msgspec.MsgspecError as error:
        raise parameters.invalid("beat", f"Param 'beat' is no beat: {error}") from error
    identity = InstanceId(
        parameters.cluster(beat.cluster), parameters.ip(beat.ip), parameters.port(beat.port)
    )
    metadata = parameters.metadata(beat.metadata or {})
    weight = parameters.weight(beat.weight)
    body = Instance(identity.ip, identity.port, identity.cluster, weight, metadata=metadata)
    return identity, body
