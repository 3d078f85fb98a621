"""Services: their names, and what an operator fixed about one of them, as it is stored.

Rule: the record is written by the registry plane alone, and only when somebody asks for it: a service to which
instances were registered without one exists as long as it has instances, with the defaults of this record. The mesh
reads ``ServiceKey``, ``Service`` and ``resources.instance.Instance``.

A namespace in a key is canonical: never empty, ``public`` for the default. Names: the limits of Nacos 2.3 and later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources import namespace as namespaces
from atoll.resources import records
from atoll.resources.records import NOTHING, Record

DEFAULT_GROUP = "DEFAULT_GROUP"
DEFAULT_CLUSTER = "DEFAULT"

GROUP_CHARS_MAX = 128
NAME_CHARS_MAX = 512
CLUSTER_CHARS_MAX = 64
METADATA_CHARS_MAX = 1024  # all keys and values together
CLUSTERS_MAX = 256  # with a record of their own, a service
PORT_MAX = 65_535

_GROUP = re.compile(r"[a-zA-Z0-9\-_:.]+")
_NAME = re.compile(r"(?!@)(?:(?!@@)[^\u4e00-\u9fa5\s\x00])+")
_CLUSTER = re.compile(r"[0-9a-zA-Z\-_]+")


class ServiceKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """The name of one service, canonical. Make it with ``key_of`` where the parts come from outside."""

    namespace: str
    group: str
    name: str

    @property
    def grouped(self) -> str:
        """``group@@name``, as Nacos' protocols write it."""
        return f"{self.group}@@{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.group}/{self.name}"


class HealthChecker(msgspec.Struct, frozen=True):
    """How persistent instances are probed. ``kind``: TCP, HTTP, MYSQL or NONE; the rest belongs to one kind each."""

    kind: str = "TCP"
    path: str = ""  # HTTP
    headers: str = ""  # HTTP: "K:V|K2:V2"
    expected_response_code: int = 200  # HTTP
    user: str = ""  # MYSQL
    password: str = ""  # MYSQL
    command: str = ""  # MYSQL


class Cluster(msgspec.Struct, frozen=True):
    """One cluster of a service. ``check_port`` is probed instead of the instance's own where ``use_instance_port``
    is False.
    """

    name: str = DEFAULT_CLUSTER
    checker: HealthChecker = HealthChecker()
    check_port: int = 80
    use_instance_port: bool = True
    metadata: Mapping[str, str] = NOTHING


class Selector(msgspec.Struct, frozen=True):
    """Which instances a consumer is given. ``kind``: ``none``; ``label`` (``expression`` compares labels of consumer
    and provider, ``CONSUMER.label.A = PROVIDER.label.A & ...``); ``nearby`` (``expression`` lists labels from near to
    far, ``zone,region``).
    """

    kind: str = "none"
    expression: str = ""


class Service(Record, frozen=True, kw_only=True):
    """``ephemeral`` None: the first instance decides. ``protect_threshold``: at or below this share of healthy
    instances (0 to 1) the unhealthy ones are handed out as well; 0: never.
    """

    key: ServiceKey
    ephemeral: bool | None = None
    protect_threshold: float = 0.0
    selector: Selector = Selector()
    metadata: Mapping[str, str] = NOTHING
    clusters: Mapping[str, Cluster] = NOTHING

    def cluster(self, name: str) -> Cluster:
        """What is known of that cluster: its record, or the defaults."""
        return self.clusters.get(name) or Cluster(name)


def key_of(namespace: str | None, group: str | None, name: str) -> ServiceKey:
    """The key of a service named from outside; ``group@@name`` in ``name`` beats ``group``. Raises INVALID."""
    if "@@" in name:
        group, _, name = name.partition("@@")
    key = ServiceKey(namespaces.require_id(namespaces.canonical(namespace)), group or DEFAULT_GROUP, name)
    require("groupName", key.group, _GROUP, GROUP_CHARS_MAX)
    require("serviceName", key.name, _NAME, NAME_CHARS_MAX)
    return key


def check_cluster(name: str) -> None:
    """Raises INVALID for what cannot be the name of a cluster."""
    require("clusterName", name, _CLUSTER, CLUSTER_CHARS_MAX)


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raises INVALID for more than ``METADATA_CHARS_MAX`` characters in all."""
    chars = sum(len(name) + len(value) for name, value in metadata.items())
    if chars > METADATA_CHARS_MAX:
        raise invalid("metadata", f"has {chars} characters, at most {METADATA_CHARS_MAX} are allowed")


def check(service: Service) -> None:
    """Raises INVALID for a service record that cannot be stored."""
    if not 0 <= service.protect_threshold <= 1:
        raise invalid("protectThreshold", f"is {service.protect_threshold:g}, it must be from 0 to 1")
    check_metadata(service.metadata)
    if len(service.clusters) > CLUSTERS_MAX:
        raise invalid("clusters", f"are {len(service.clusters)}, at most {CLUSTERS_MAX} are allowed")
    for name, cluster in service.clusters.items():
        check_cluster(name)
        check_metadata(cluster.metadata)
        if cluster.checker.kind not in CHECKERS:
            raise invalid("healthChecker", f"is {cluster.checker.kind!r}, known are {', '.join(CHECKERS)}")
        if not 0 <= cluster.check_port <= PORT_MAX:
            raise invalid("checkPort", f"is {cluster.check_port}, it must be from 0 to {PORT_MAX}")


CHECKERS = ("TCP", "HTTP", "MYSQL", "NONE")


def invalid(parameter: str, problem: str) -> AtollError:
    """The error for one wrong parameter, by the name that Nacos' protocols give it."""
    text = f"{parameter} {problem}"
    return AtollError(Code.INVALID, text, reason=Reason.PARAMETER_INVALID, facts={"parameter": parameter})


def require(parameter: str, value: str, shape: re.Pattern[str], chars_max: int) -> None:
    """Raises INVALID unless ``value`` has 1 to ``chars_max`` characters of ``shape``."""
    if not value:
        text = f"{parameter} is empty, it must have 1 to {chars_max} characters"
        facts = {"parameter": parameter}
        raise AtollError(Code.INVALID, text, reason=Reason.PARAMETER_MISSING, facts=facts)
    if len(value) > chars_max:
        raise invalid(parameter, f"has {len(value)} characters, at most {chars_max} are allowed")
    if not shape.fullmatch(value):
        raise invalid(parameter, f"{value!r} has characters that are not allowed; expected {shape.pattern}")


def encode(service: Service) -> bytes:
    return records.encode(service)


def decode(data: bytes, revision: int = 0) -> Service:
    """Raises INVALID (CORRUPT or NEWER_FORMAT)."""
    return records.decode(Service, data, revision)
