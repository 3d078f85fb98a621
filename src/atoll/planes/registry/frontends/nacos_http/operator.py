"""The switches of naming, its figures, and Prometheus's discovery of what is registered.

Rule: a switch is one record in the store that every node obeys; figures are of the node that is asked, but for services
and instances, which are the same everywhere.

Source: Nacos 2.4.3, ``OperatorController``, module ``nacos-prometheus`` (Prometheus HTTP SD format).
"""

from __future__ import annotations

import re
from typing import Any

from atoll.access.grants import READ
from atoll.planes.registry.frontends.nacos_http import answer, shapes
from atoll.planes.registry.frontends.nacos_http.answer import Bare
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.frontends.udp import UdpPush
from atoll.planes.registry.model.switches import CheckTimes, Switches
from atoll.planes.registry.service.registry import Registry
from atoll.resources.instance import Instance
from atoll.resources.registry_client import ClientKind
from atoll.resources.service import ServiceKey

_LABEL = re.compile(r"[^a-zA-Z0-9_]")


class Operator:
    def __init__(self, registry: Registry, udp: UdpPush, doors: Doors) -> None:
        self._registry = registry
        self._naming = registry.naming
        self._udp = udp
        self._doors = doors

    def operations(self) -> dict[str, Operation]:
        return {
            "switches.get": self.switches,
            "switches.put": self.set_switch,
            "naming.metrics": self.metrics,
            "naming.pushes": self.pushes,
            "naming.responsible": self.responsible,
            "cmdb.label": self.label,
            "prometheus.all": self.targets,
            "prometheus.namespace": self.targets_of_namespace,
            "prometheus.service": self.targets_of_service,
        }

    # ----------------------------------------------------------------------------------------- switches

    def switches(self, call: Call) -> Any:
        return _switches(self._naming.directory.switches)

    async def set_switch(self, call: Call) -> str:
        await self._naming.set_switch(call.actor, call.required("entry"), call.required("value"))
        return "ok"

    def label(self, call: Call) -> Any:
        """What the CMDB says of an address."""
        found = self._naming.directory.labels_of(call.required("entry")).get(call.required("label"), "")
        return answer.Bare(found.encode())

    # ------------------------------------------------------------------------------------------ figures

    def metrics(self, call: Call) -> Any:
        switched = self._naming.directory.switches.overridden_server_status
        status = switched or "UP"
        if call.flag("onlyStatus", True):
            return {"status": status}
        states = self._naming.directory.services.values()
        kinds = [known.client.kind for known in self._naming.clients]
        persistent = sum(len(state.persistent) for state in states)
        return {
            "status": status,
            "serviceCount": sum(1 for state in states if state.exists),
            "instanceCount": sum(len(state.live) + len(state.persistent) for state in states),
            "subscribeCount": self._subscriptions(),
            "responsibleInstanceCount": sum(known.count() for known in self._naming.clients),
            "clientCount": len(kinds) + persistent,
            "connectionBasedClientCount": kinds.count(ClientKind.CONNECTION),
            "ephemeralIpPortClientCount": kinds.count(ClientKind.BEAT),
            "persistentIpPortClientCount": persistent,
            "responsibleClientCount": len(kinds),
        }

    def pushes(self, call: Call) -> Any:
        return {"udpSubscribers": self._udp.subscribers, "subscribeCount": self._subscriptions()}

    def _subscriptions(self) -> int:
        """Of this node's clients."""
        return sum(len(self._naming.pushes.of_client(each.client.id)) for each in self._naming.clients)

    def responsible(self, call: Call) -> Any:
        address = f"{call.text('ip')}:{call.text('port')}"
        return {"responsibleServer": self._registry.peers.node_id, "client": address}

    # --------------------------------------------------------------------------------------- prometheus

    def targets(self, call: Call) -> Bare:
        """Only what the asker may read."""
        spaces = sorted({key.namespace for key in self._naming.directory.services})
        return answer.json([each for space in spaces for each in self._targets(call, space)])

    def targets_of_namespace(self, call: Call) -> Bare:
        return answer.json(self._targets(call, call.namespace))

    def targets_of_service(self, call: Call) -> Bare:
        wanted = call.required("service")
        return answer.json(self._targets(call, call.namespace, wanted))

    def _targets(self, call: Call, namespace: str, name: str = "") -> list[dict[str, Any]]:
        guard = self._doors.guard
        found: list[dict[str, Any]] = []
        for key in self._naming.services(namespace):
            if name not in ("", key.name, key.grouped):
                continue
            if guard.allows(call.principal, shapes.resource_of(key), READ):
                found += [_target(key, each) for each in self._naming.service(key).instances]
        return found


def _target(key: ServiceKey, each: Instance) -> dict[str, Any]:
    labels = {
        "__meta_clusterName": each.cluster,
        "__meta_serviceName": key.grouped,
        "__meta_namespaceId": key.namespace,
        **{f"__meta_{_LABEL.sub('_', name)}": value for name, value in each.metadata.items()},
    }
    host = f"[{each.ip}]" if ":" in each.ip else each.ip
    return {"targets": [f"{host}:{each.port}"], "labels": labels}


def _switches(found: Switches) -> dict[str, Any]:
    """Every field that Nacos's SwitchDomain has; what means nothing here is shown as it was set, or as it is there."""
    versions = {f"push{name}Version": found.push_versions.get(name.lower(), "0.1.0") for name in _LANGUAGES}
    return {
        "name": "00-00---000-NACOS_SWITCH_DOMAIN-000---00-00",
        "masters": None,
        "adWeightMap": {},
        "defaultPushCacheMillis": found.push_cache_ms,
        "clientBeatInterval": found.client_beat_interval_ms,
        "defaultCacheMillis": found.default_cache_ms,
        "distroThreshold": found.distro_threshold,
        "healthCheckEnabled": found.health_check_enabled,
        "autoChangeHealthCheckEnabled": found.auto_change_health_check_enabled,
        "distroEnabled": found.distro_enabled,
        "enableStandalone": True,
        "pushEnabled": found.push_enabled,
        "checkTimes": found.check_times,
        "httpHealthParams": _times(found.http),
        "tcpHealthParams": _times(found.tcp),
        "mysqlHealthParams": _times(found.mysql),
        "incrementalList": [],
        "serverStatusSynchronizationPeriodMillis": 2_000,
        "serviceStatusSynchronizationPeriodMillis": 5_000,
        "disableAddIP": found.disable_add_ip,
        "sendBeatOnly": found.send_beat_only,
        "lightBeatEnabled": found.light_beat_enabled,
        "doubleWriteEnabled": False,
        "limitedUrlMap": dict(found.limited_urls),
        "distroServerExpiredMillis": 10_000,
        **versions,
        "overriddenServerStatus": found.overridden_server_status or None,
        "defaultInstanceEphemeral": found.default_instance_ephemeral,
        "healthCheckWhiteList": [],
        "checksum": None,
        **found.other,
    }


_LANGUAGES = ("Java", "Go", "Python", "C", "CSharp")


def _times(found: CheckTimes) -> dict[str, Any]:
    return {"max": found.max_ms, "min": found.min_ms, "factor": found.factor}
