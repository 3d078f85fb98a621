"""Every type of message that Nacos's gRPC knows, as one table: dispatch, permissions, tests and the reference page
are made from it.

Rule: a type that is not here does not exist (302); one that is here and is absent or another server's is answered
with what its row says. The response's name follows the request's but where the reference has it otherwise.

Source: Nacos 2.4 and 3.1, the payload registries (``META-INF/services/com.alibaba.nacos.api.remote.Payload``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from atoll.wire.nacos import requests
from atoll.wire.nacos.catalog.entry import (
    CONFIG_R,
    CONFIG_W,
    EACH,
    NAMING_R,
    NAMING_W,
    OPEN,
    Permit,
    Status,
)
from atoll.wire.nacos.requests import Request

NO_AI = (
    "no registry of AI tools, agents or prompts here; the ability flags mcp and agent are not announced, "
    "and whoever asks all the same is answered 501"
)
NO_INNER = "between servers of the reference; Atoll's nodes have a protocol and a port of their own, so refused (502)"
NEVER_USED = "no client sends it and the reference has no handler for it either (302)"


class Way(enum.Enum):
    """Who sends it, and on which of the two methods."""

    UNARY = "client, unary"
    STREAM = "client, first on the stream"
    PUSH = "server, on the stream"
    CLUSTER = "server to server"


class GrpcType(NamedTuple):
    """``body`` is what the request is read as; ``response`` the type that answers it, empty where nothing does.
    ``permit``: of the resource that the body names. ``point``: the rate limit that it counts for.
    """

    name: str
    module: str
    way: Way
    response: str
    body: type[Request] | None = None
    permit: Permit = EACH
    point: str = ""
    status: Status = Status.WORKS
    note: str = ""

    def absent(self, why: str) -> GrpcType:
        return self._replace(status=Status.ABSENT, note=why)

    def differs(self, how: str) -> GrpcType:
        return self._replace(status=Status.DIFFERS, note=how)


def _unary(module: str, body: type[Request], permit: Permit, point: str = "", response: str = "") -> GrpcType:
    name = body.__name__
    return GrpcType(name, module, Way.UNARY, response or _response(name), body, permit, point)


def _push(module: str, name: str, response: str | None = None) -> GrpcType:
    return GrpcType(name, module, Way.PUSH, _response(name) if response is None else response)


def _response(name: str) -> str:
    return name.removesuffix("Request") + "Response"


_INTERNAL = (
    _unary("internal", requests.ServerCheckRequest, OPEN),
    _unary("internal", requests.HealthCheckRequest, OPEN, "HealthCheck"),
    GrpcType(
        "ConnectionSetupRequest", "internal", Way.STREAM, "", requests.ConnectionSetupRequest, permit=OPEN
    ),
    _push("internal", "SetupAckRequest", ""),
    _push("internal", "ClientDetectionRequest"),
    _push("internal", "ConnectResetRequest"),
    GrpcType("PushAckRequest", "internal", Way.UNARY, "").absent(NEVER_USED),
)
_CONFIG = (
    _unary("config", requests.ConfigQueryRequest, CONFIG_R, "ConfigQuery"),
    _unary("config", requests.ConfigPublishRequest, CONFIG_W, "ConfigPublish"),
    _unary("config", requests.ConfigRemoveRequest, CONFIG_W, "ConfigRemove"),
    _unary(
        "config",
        requests.ConfigBatchListenRequest,
        CONFIG_R,
        "ConfigListen",
        "ConfigChangeBatchListenResponse",
    ).differs("items that the client may not read are left out; refused (403) if that leaves none"),
    _unary("config", requests.ConfigFuzzyWatchRequest, CONFIG_R, "ConfigFuzzyWatch"),
    _push("config", "ConfigChangeNotifyRequest"),
    _push("config", "ClientConfigMetricRequest"),
    _push("config", "ConfigFuzzyWatchSyncRequest"),
    _push("config", "ConfigFuzzyWatchChangeNotifyRequest"),
)
_NAMING = (
    _unary("naming", requests.InstanceRequest, NAMING_W, "RemoteNamingInstanceRegisterDeregister"),
    GrpcType(
        "PersistentInstanceRequest",
        "naming",
        Way.UNARY,
        "InstanceResponse",
        requests.InstanceRequest,
        NAMING_W,
        "RemoteNamingInstanceRegisterDeregister",
    ),
    _unary("naming", requests.BatchInstanceRequest, NAMING_W, "RemoteNamingInstanceBatchRegister"),
    _unary("naming", requests.SubscribeServiceRequest, NAMING_R, "RemoteNamingServiceSubscribeUnSubscribe"),
    _unary(
        "naming",
        requests.ServiceQueryRequest,
        NAMING_R,
        "RemoteNamingServiceQuery",
        "QueryServiceResponse",
    ),
    _unary("naming", requests.ServiceListRequest, NAMING_R, "RemoteNamingServiceListQuery").differs(
        "lists only services that the client may read"
    ),
    _unary("naming", requests.NamingFuzzyWatchRequest, NAMING_R, "RemoteNamingFuzzyWatch"),
    _push("naming", "NotifySubscriberRequest"),
    _push("naming", "NamingFuzzyWatchSyncRequest"),
    _push("naming", "NamingFuzzyWatchChangeNotifyRequest"),
)
_LOCK = (
    _unary("lock", requests.LockOperationRequest, EACH).differs(
        "held for at least the time asked for, in whole seconds; given back only from the address that it was got from"
    ),
)
_AI = tuple(
    GrpcType(name, "ai", Way.UNARY, _response(name)).absent(NO_AI)
    for name in (
        "QueryMcpServerRequest",
        "ReleaseMcpServerRequest",
        "McpServerEndpointRequest",
        "QueryAgentCardRequest",
        "ReleaseAgentCardRequest",
        "AgentEndpointRequest",
        "QueryPromptRequest",
    )
)
_CLUSTER = tuple(
    GrpcType(name, module, Way.CLUSTER, _response(name)).absent(NO_INNER)
    for module, name in (
        ("internal", "ServerLoaderInfoRequest"),
        ("internal", "ServerReloadRequest"),
        ("internal", "MemberReportRequest"),
        ("config", "ConfigChangeClusterSyncRequest"),
        ("naming", "DistroDataRequest"),
    )
)

TYPES: Mapping[str, GrpcType] = {
    entry.name: entry for entry in (*_INTERNAL, *_CONFIG, *_NAMING, *_LOCK, *_AI, *_CLUSTER)
}
"""By the name that ``metadata.type`` has."""
