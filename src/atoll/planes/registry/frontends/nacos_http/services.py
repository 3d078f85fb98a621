"""Services and their clusters: made, changed, listed, looked at.

Rule: a service that only instances made looks like one with the defaults of a record; a list shows those that have a
record or an instance.

Source: Nacos 2.4.3, ``ServiceController`` of v1 and v2, ``CatalogController``, ``ClusterController``; 3.1 of v3.
"""

from __future__ import annotations

import fnmatch
from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http import answer, shapes
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.model.naming import ServiceDetail
from atoll.planes.registry.model.naming_decisions import ServiceChange
from atoll.planes.registry.service.naming import Naming
from atoll.resources.service import Cluster, HealthChecker, Selector, Service, ServiceKey
from atoll.wire.nacos import parameters

SELECTORS = ("label", "none")
LIST_SIZE = 20


class Services:
    def __init__(self, naming: Naming) -> None:
        self._naming = naming

    def operations(self) -> dict[str, Operation]:
        return {
            "service.create": self.create,
            "service.update": self.update,
            "service.delete": self.delete,
            "service.get": self.get,
            "service.detail": self.detail,
            "service.detail.v3": self.detail,
            "service.list": self.names,
            "service.list.v3": self.summaries_v3,
            "service.names": self.all_names,
            "service.selectors": self.selectors,
            "cluster.update": self.update_cluster,
            "catalog.services": self.summaries,
            "catalog.service": self.catalog,
            "catalog.instances": self.instances,
            "catalog.instances.v2": self.instances_v2,
        }

    # ------------------------------------------------------------------------------------------- writing

    async def create(self, call: Call) -> str:
        wanted = _change(call)
        record = Service(
            key=call.service_key(),
            ephemeral=wanted.ephemeral,
            protect_threshold=wanted.protect_threshold or 0.0,
            selector=wanted.selector or Selector(),
            metadata=wanted.metadata or {},
        )
        await self._naming.create_service(call.actor, record)
        return "ok"

    async def update(self, call: Call) -> str:
        if not call.is_result:
            call.required("protectThreshold")
        await self._naming.update_service(call.actor, call.service_key(), _change(call))
        return "ok"

    async def delete(self, call: Call) -> str:
        await self._naming.delete_service(call.actor, call.service_key())
        return "ok"

    async def update_cluster(self, call: Call) -> str:
        text = call.text("healthChecker")
        cluster = Cluster(
            name=parameters.cluster(call.required("clusterName")),
            checker=_checker(text) if text else HealthChecker(),
            check_port=parameters.port(parameters.integer("checkPort", call.required("checkPort"))),
            use_instance_port=call.flag("useInstancePort4Check", call.flag("useInstancePortForCheck", True)),
            metadata=_metadata(call) or {},
        )
        await self._naming.update_cluster(call.actor, call.service_key(), cluster)
        return "ok"

    # ------------------------------------------------------------------------------------------- one

    def get(self, call: Call) -> Any:
        found = self._naming.service(call.service_key())
        record = found.service
        return {
            "namespaceId": record.key.namespace,
            "groupName": record.key.group,
            "name": record.key.name,
            "protectThreshold": record.protect_threshold,
            "metadata": dict(record.metadata),
            "selector": shapes.selector(record.selector),
            "clusters": [
                {"name": name, "healthChecker": shapes.checker(each.checker), "metadata": dict(each.metadata)}
                for name, each in _clusters(found).items()
            ],
        }

    def detail(self, call: Call) -> Any:
        found = self._naming.service(call.service_key())
        record = found.service
        clusters = {name: _cluster(each) for name, each in _clusters(found).items()}
        if "/v3/" in call.path:
            for each in found.instances:
                clusters[each.cluster]["hosts"].append(shapes.host(record.key, each))
            space = {"namespaceId": record.key.namespace}
        else:
            space = {"namespace": record.key.namespace}
        return {
            **space,
            "serviceName": record.key.name,
            "groupName": record.key.group,
            "clusterMap": clusters,
            "metadata": dict(record.metadata),
            "protectThreshold": record.protect_threshold,
            "selector": shapes.selector(record.selector),
            "ephemeral": found.ephemeral,
        }

    def catalog(self, call: Call) -> Any:
        found = self._catalogued(call.service_key())
        record = found.service
        service = {
            "name": record.key.name,
            "groupName": record.key.group,
            "protectThreshold": record.protect_threshold,
            "selector": shapes.selector(record.selector),
            "metadata": dict(record.metadata),
        }
        clusters = [shapes.cluster(record.key.grouped, each) for each in _clusters(found).values()]
        return {"service": service, "clusters": clusters}

    def instances(self, call: Call) -> Any:
        found = self._catalogued(call.service_key())
        wanted = parameters.clusters(call.text("clusterName"))
        hosts = [each for each in found.instances if not wanted or each.cluster in wanted]
        number, size = call.page(100)
        key = found.service.key
        shown = [shapes.host(key, each) for each in shapes.slice_of(hosts, number, size)]
        return {"list": shown, "count": len(hosts)}

    def instances_v2(self, call: Call) -> Any:
        found = self._catalogued(call.service_key())
        wanted = parameters.clusters(call.text("clusterName"))
        healthy, enabled = call.flag("healthyOnly", False), call.flag("enabledOnly", False)
        hosts = [
            each
            for each in found.instances
            if (not wanted or each.cluster in wanted)
            and (each.healthy or not healthy)
            and (each.enabled or not enabled)
        ]
        number, size = call.page(100)
        key = found.service.key
        shown = [shapes.host(key, each) for each in shapes.slice_of(hosts, number, size)]
        return {"instances": shown, "count": len(hosts)}

    def _catalogued(self, key: ServiceKey) -> ServiceDetail:
        try:
            return self._naming.service(key)
        except AtollError as error:
            if error.reason is not Reason.SERVICE_NOT_FOUND:
                raise
            text = f"service {key.grouped} is not found!"
            raise AtollError(Code.NOT_FOUND, text, facts=error.facts) from error

    # ------------------------------------------------------------------------------------------- lists

    def names(self, call: Call) -> Any:
        names = [key.name for key in self._naming.services(call.namespace, call.group)]
        number, size = call.page(LIST_SIZE)
        shown = shapes.slice_of(names, number, size)
        return {"count": len(names), "services" if call.is_result else "doms": shown}

    def all_names(self, call: Call) -> Any:
        found: dict[str, list[str]] = {}
        wanted = call.text("expr")
        for key in self._naming.services(call.namespace):
            if wanted in key.name:
                found.setdefault(key.namespace, []).append(key.grouped)
        count = sum(map(len, found.values()))
        return {"META-INF/services": found, "services": found, "count": count}

    def summaries(self, call: Call) -> Any:
        keys = self._matching(call)
        number, size = call.page(LIST_SIZE)
        if call.flag("withInstances", False):
            return [self._with_instances(key) for key in shapes.slice_of(keys, number, size)]
        if call.flag("hasIpCount", False):
            keys = [key for key in keys if self._naming.summary(key).instances]
        return {
            "count": len(keys),
            "serviceList": [self._summary(key) for key in shapes.slice_of(keys, number, size)],
        }

    def summaries_v3(self, call: Call) -> Any:
        keys = self._matching(call)
        if call.flag("ignoreEmptyService", False):
            keys = [key for key in keys if self._naming.summary(key).instances]
        number, size = call.page(100)
        chosen = shapes.slice_of(keys, number, size)
        if call.flag("withInstances", False):
            return shapes.page(number, size, len(keys), [self._with_instances(key) for key in chosen])
        return shapes.page(number, size, len(keys), [self._summary(key) for key in chosen])

    def _matching(self, call: Call) -> list[ServiceKey]:
        """Names are matched in part, or as patterns with ``*``."""
        name, group = call.first("serviceNameParam", "serviceName"), call.first("groupNameParam", "groupName")
        keys = self._naming.services(call.namespace)
        return [key for key in keys if _like(key.name, name) and _like(key.group, group)]

    def _summary(self, key: ServiceKey) -> dict[str, Any]:
        each = self._naming.summary(key)
        return {
            "name": key.name,
            "groupName": key.group,
            "clusterCount": each.clusters,
            "ipCount": each.instances,
            "healthyInstanceCount": each.healthy,
            "triggerFlag": "true" if each.protected else "false",
        }

    def _with_instances(self, key: ServiceKey) -> dict[str, Any]:
        found = self._naming.service(key)
        clusters: dict[str, Any] = {name: {"hosts": []} for name in _clusters(found)}
        for each in found.instances:
            clusters[each.cluster]["hosts"].append(
                {
                    "ip": each.ip,
                    "port": each.port,
                    "valid": each.healthy,
                    "marked": False,
                    "metadata": dict(each.metadata),
                    "enabled": each.enabled,
                    "weight": each.weight,
                }
            )
        return {
            "serviceName": key.name,
            "groupName": key.group,
            "clusterMap": clusters,
            "metadata": dict(found.service.metadata),
        }

    def selectors(self, call: Call) -> Any:
        return answer.Rest(data=list(SELECTORS)) if not call.is_result else list(SELECTORS)


def _like(text: str, wanted: str) -> bool:
    return not wanted or fnmatch.fnmatchcase(text, wanted if "*" in wanted else f"*{wanted}*")


def _clusters(found: ServiceDetail) -> dict[str, Cluster]:
    """Those with a record, and those that an instance names."""
    names = {*found.service.clusters, *(each.cluster for each in found.instances)}
    return {name: found.service.cluster(name) for name in sorted(names)}


def _cluster(each: Cluster) -> dict[str, Any]:
    return {
        "clusterName": each.name,
        "healthChecker": shapes.checker(each.checker),
        "healthyCheckPort": each.check_port,
        "useInstancePortForCheck": each.use_instance_port,
        "metadata": dict(each.metadata),
        "hosts": [],
    }


def _change(call: Call) -> ServiceChange:
    threshold, chosen, kind = call.text("protectThreshold"), call.text("selector"), call.text("ephemeral")
    return ServiceChange(
        ephemeral=parameters.boolean(kind) if kind else None,
        protect_threshold=parameters.number("protectThreshold", threshold) if threshold else None,
        selector=_selector(chosen) if chosen else None,
        metadata=_metadata(call),
    )


def _metadata(call: Call) -> dict[str, str] | None:
    text = call.fields.get("metadata")
    return None if text is None else parameters.metadata_text(text)


class _SelectorText(msgspec.Struct):
    type: str = "none"
    expression: str = ""


def _selector(text: str) -> Selector:
    try:
        found = msgspec.json.decode(text, type=_SelectorText)
    except msgspec.MsgspecError as error:
        message = f"selector {text[:80]!r} is no selector: {error}"
        raise AtollError(Code.INVALID, message, reason=Reason.SELECTOR_INVALID) from error
    return Selector(found.type or "none", found.expression)


class _CheckerText(msgspec.Struct, rename="camel"):
    type: str = "TCP"
    path: str = ""
    headers: str = ""
    expected_response_code: int = 200
    user: str | None = None
    pwd: str | None = None
    cmd: str | None = None


def _checker(text: str) -> HealthChecker:
    try:
        found = msgspec.json.decode(text, type=_CheckerText, strict=False)
    except msgspec.MsgspecError as error:
        raise parameters.invalid("healthChecker", f"healthChecker {text[:80]!r}: {error}") from error
    return HealthChecker(
        found.type.upper(),
        found.path,
        found.headers,
        found.expected_response_code,
        found.user or "",
        found.pwd or "",
        found.cmd or "",
    )
