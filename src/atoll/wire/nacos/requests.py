"""What Nacos clients send over gRPC, as the JSON bodies of their requests and acknowledgements.

Rule: a field's absence, its null and its empty text mean the same to the reference, so every text may be None here
and its reader decides the default. Fields that this file does not name are ignored, ``headers`` in a body among
them. As in the reference (Jackson), numbers and booleans may come as texts, and values of maps of texts as scalars.

Source: Nacos 2.4 and 3.1, packages ``api.*.remote.request`` and ``api.lock``. Names are theirs in camel case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

Text: TypeAlias = str | None
Scalar: TypeAlias = str | int | float | bool | None
Texts: TypeAlias = dict[str, Scalar] | None


class BodyFault(Exception):
    """A body that is not what its type needs; the text says where."""


class Request(msgspec.Struct, rename="camel", gc=False):
    """``request_id`` and ``module`` of a request mean nothing to a server, so only acknowledgements have one."""


# --------------------------------------------------------------------------------------------- connections


class ServerCheckRequest(Request):
    pass


class HealthCheckRequest(Request):
    pass


class ConnectionSetupRequest(Request):
    """``ability_table`` decides whether the client waits for a SetupAckRequest."""

    client_version: Text = None
    tenant: Text = None
    labels: Texts = None
    ability_table: dict[str, bool] | None = None


class Acknowledgement(Request):
    """Any response of a client to a push. ``success`` may be missing; ``result_code`` decides."""

    request_id: Text = None
    result_code: int = 200
    error_code: int = 0
    message: Text = None
    metrics: dict[str, Any] | None = None  # ClientConfigMetricResponse's

    @property
    def succeeded(self) -> bool:
        return self.result_code == 200 and self.error_code == 0


# ------------------------------------------------------------------------------------------ configuration


class ConfigQueryRequest(Request):
    data_id: Text = None
    group: Text = None
    tenant: Text = None
    tag: Text = None


class ConfigPublishRequest(Request):
    """``addition_map``: tag, appName, type, src_user, betaIps, encryptedDataKey, config_tags, desc, use, effect,
    schema; an empty text is an absent one.
    """

    data_id: Text = None
    group: Text = None
    tenant: Text = None
    content: Text = None
    cas_md5: Text = None
    addition_map: Texts = None


class ConfigRemoveRequest(Request):
    data_id: Text = None
    group: Text = None
    tenant: Text = None
    tag: Text = None


class ListenContext(Request):
    data_id: Text = None
    group: Text = None
    tenant: Text = None
    md5: Text = None


class ConfigBatchListenRequest(Request):
    """``config_listen_contexts`` only: clients fill the key at the top with nothing."""

    listen: bool = True
    config_listen_contexts: list[ListenContext] | None = None


class ConfigFuzzyWatchRequest(Request):
    group_key_pattern: Text = None
    received_group_keys: list[str] | None = None
    watch_type: Text = None
    initializing: bool = False


# ------------------------------------------------------------------------------------------------- naming


class InstanceBody(Request):
    """``instance_id`` and ``service_name`` are the server's to fill."""

    ip: Text = None
    port: int = 0
    weight: float = 1.0
    healthy: bool = True
    enabled: bool = True
    ephemeral: bool = True
    cluster_name: Text = None
    metadata: Texts = None


class InstanceRequest(Request):
    """PersistentInstanceRequest has the same body."""

    namespace: Text = None
    service_name: Text = None
    group_name: Text = None
    type: Text = None
    instance: InstanceBody | None = None


class BatchInstanceRequest(Request):
    namespace: Text = None
    service_name: Text = None
    group_name: Text = None
    type: Text = None
    instances: list[InstanceBody] | None = None


class SubscribeServiceRequest(Request):
    namespace: Text = None
    service_name: Text = None
    group_name: Text = None
    clusters: Text = None
    subscribe: bool = False


class ServiceQueryRequest(Request):
    """``health_only`` is the Python client's spelling of ``healthy_only``."""

    namespace: Text = None
    service_name: Text = None
    group_name: Text = None
    cluster: Text = None
    healthy_only: bool | None = None
    health_only: bool | None = None


class ServiceListRequest(Request):
    namespace: Text = None
    group_name: Text = None
    page_no: int | None = None
    page_size: int | None = None
    selector: Any = None  # a text or an object, by version; services are listed whatever it says


class NamingFuzzyWatchRequest(Request):
    namespace: Text = None
    group_key_pattern: Text = None
    received_group_keys: list[str] | None = None
    watch_type: Text = None
    initializing: bool = False


# --------------------------------------------------------------------------------------------------- lock


class LockInstance(Request):
    """``expired_time``: milliseconds, below 0 for the server's default. ``params.owner`` may name a holder."""

    key: Text = None
    expired_time: int | None = None
    lock_type: Text = None
    params: dict[str, Any] | None = None


class LockOperationRequest(Request):
    lock_instance: LockInstance | None = None
    lock_operation_enum: Text = None


class Body:
    """Reads the bodies of one class."""

    __slots__ = ("_decode", "of")

    def __init__(self, of: type[Request]) -> None:
        self.of = of
        self._decode = msgspec.json.Decoder(of, strict=False).decode

    def read(self, data: bytes) -> Any:
        """An empty body is an object without fields. Raises ``BodyFault``."""
        try:
            return self._decode(data or b"{}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BodyFault(f"the body is no {self.of.__name__}: {error}") from error


def text_of(value: Scalar) -> str:
    """A scalar of a map of texts, as Jackson writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return msgspec.json.encode(value).decode()


def texts_of(values: Texts) -> Mapping[str, str]:
    """What is null is absent."""
    if not values:
        return {}
    return {key: text_of(value) for key, value in values.items() if value is not None}
