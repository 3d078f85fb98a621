"""What a Nacos server sends over gRPC: responses to requests, and the bodies of what it pushes.

Rule: ``resultCode``, ``errorCode`` and ``success`` are always there (clients read one or another of them), and
nothing is ever null (the Python client cannot read a null text): what is not said is left out.

Source: Nacos 2.4 and 3.1, packages ``api.*.remote.response`` and ``api.*.remote.request`` (of the pushes).
Irregular names are theirs: a service is answered in a QueryServiceResponse, a persistent instance in an
InstanceResponse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

Said: TypeAlias = str | UnsetType
"""A text that may be left out."""

OK = 200
FAIL = 500

ENCODER = msgspec.json.Encoder()


class Response(msgspec.Struct, rename="camel", kw_only=True):
    """``success`` is ``result_code == 200``."""

    result_code: int = OK
    error_code: int = 0
    success: bool = True
    message: Said = UNSET


def failure(error_code: int, message: str) -> bytes:
    """The body of any response that says no."""
    return ENCODER.encode(Response(result_code=FAIL, error_code=error_code, success=False, message=message))


SUCCESS = ENCODER.encode(Response())


# --------------------------------------------------------------------------------------------- connections


class ServerCheckResponse(Response):
    connection_id: str
    support_ability_negotiation: bool = True


class SetupAckRequest(msgspec.Struct, rename="camel", kw_only=True):
    ability_table: Mapping[str, bool]
    module: str = "internal"


class ConnectResetRequest(msgspec.Struct, rename="camel", kw_only=True):
    """An empty address recommends nobody: the client takes the next of its own list."""

    server_ip: str = ""
    server_port: str = ""
    connection_id: str = ""
    module: str = "internal"


class ClientDetectionRequest(msgspec.Struct, rename="camel"):
    module: str = "internal"


# ------------------------------------------------------------------------------------------ configuration


class ConfigQueryResponse(Response):
    """``tag`` only where a release for a tag was chosen: the Python client takes it for a boolean."""

    content: str
    md5: str
    last_modified: int
    encrypted_data_key: str = ""
    content_type: str = "text"
    beta: bool = False
    tag: Said = UNSET


class ConfigRef(msgspec.Struct, rename="camel"):
    """``tenant`` is spelled as the client spelled it."""

    data_id: str
    group: str
    tenant: str = ""


class ConfigChangeBatchListenResponse(Response):
    changed_configs: Sequence[ConfigRef] = ()


class ConfigChangeNotifyRequest(msgspec.Struct, rename="camel"):
    data_id: str
    group: str
    tenant: str = ""
    module: str = "config"


class MetricsKey(msgspec.Struct, rename="camel"):
    type: str
    key: str


class ClientConfigMetricRequest(msgspec.Struct, rename="camel"):
    metrics_keys: Sequence[MetricsKey]
    module: str = "config"


class ConfigFuzzyWatchContext(msgspec.Struct, rename="camel"):
    group_key: str
    changed_type: str


class ConfigFuzzyWatchSyncRequest(msgspec.Struct, rename="camel"):
    group_key_pattern: str
    contexts: Sequence[ConfigFuzzyWatchContext]
    sync_type: str
    total_batch: int
    current_batch: int
    module: str = "config"


class ConfigFuzzyWatchChangeNotifyRequest(msgspec.Struct, rename="camel"):
    group_key: str
    change_type: str
    module: str = "config"


# ------------------------------------------------------------------------------------------------- naming


class TypedResponse(Response):
    """InstanceResponse and BatchInstanceResponse."""

    type: str


class ServiceInfoResponse(Response):
    """QueryServiceResponse and SubscribeServiceResponse; ``service_info`` is its JSON."""

    service_info: msgspec.Raw


class ServiceListResponse(Response):
    count: int
    service_names: Sequence[str]


class NotifySubscriberRequest(msgspec.Struct, rename="camel"):
    """Without the ``requestId``, which each subscriber's copy gets in front."""

    namespace: str
    service_name: str
    group_name: str
    service_info: msgspec.Raw
    module: str = "naming"


class NamingFuzzyWatchContext(msgspec.Struct, rename="camel"):
    service_key: str
    changed_type: str


class NamingFuzzyWatchSyncRequest(msgspec.Struct, rename="camel"):
    group_key_pattern: str
    contexts: Sequence[NamingFuzzyWatchContext]
    sync_type: str
    total_batch: int
    current_batch: int
    module: str = "naming"


class NamingFuzzyWatchChangeNotifyRequest(msgspec.Struct, rename="camel"):
    service_key: str
    changed_type: str
    sync_type: str = "FUZZY_WATCH_RESOURCE_CHANGED"
    module: str = "naming"


# --------------------------------------------------------------------------------------------------- lock


class LockOperationResponse(Response):
    result: bool


def encode(value: Any) -> bytes:
    return ENCODER.encode(value)
