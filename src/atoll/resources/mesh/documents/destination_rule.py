"""Istio's ``DestinationRule`` (networking.istio.io/v1): what holds for connections to a host, and its subsets.

Rule: as ``parts``. A subset's policy takes the place of the host's field by field at the top level, and a port's that of
both, as in Istio (``traffic_policy``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import (
    Count,
    Fault,
    HeaderName,
    HostPattern,
    Labels,
    Part,
    Percentage,
    Positive,
    QueryName,
    Seconds,
    Selector,
    one_of,
    repeated,
    wildcards,
)
from atoll.resources.mesh.documents.virtual_service import PortSelector
from atoll.resources.records import NOTHING

Simple = Literal["UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH"]


class RingHash(Part, frozen=True):
    minimumRingSize: Annotated[int, msgspec.Meta(ge=1, le=8_388_608)] = 1024


class Maglev(Part, frozen=True):
    tableSize: Annotated[int, msgspec.Meta(ge=2, le=5_000_011)] = 65_537

    def faults(self) -> Iterator[Fault]:
        if not _is_prime(self.tableSize):
            yield Fault(("tableSize",), f"{self.tableSize} is not prime", "take 65537")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


class HttpCookie(Part, frozen=True):
    """With ``ttl`` the proxy sets the cookie where it is missing; 0: for the browser's session."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    path: str = ""
    ttl: Seconds | None = None


class ConsistentHash(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"minimumRingSize": "write ringHash: {minimumRingSize: ...}"}

    httpHeaderName: HeaderName | None = None
    httpCookie: HttpCookie | None = None
    httpQueryParameterName: QueryName | None = None
    useSourceIp: bool | None = None
    ringHash: RingHash | None = None
    maglev: Maglev | None = None

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("httpHeaderName", "httpCookie", "httpQueryParameterName", "useSourceIp"))
        yield from one_of(self, ("ringHash", "maglev"), required=False)


class Distribute(Part, frozen=True):
    """``from``: a locality ``region/zone/sub_zone``, ``*`` for any; ``to``: localities with their percentage."""

    from_: str = msgspec.field(name="from")
    to: Mapping[str, Percentage]

    def faults(self) -> Iterator[Fault]:
        if sum(self.to.values()) != 100:
            yield Fault(("to",), f"makes {sum(self.to.values()):g} % together", "let it make 100")


class Failover(Part, frozen=True):
    from_: str = msgspec.field(name="from")
    to: str

    def faults(self) -> Iterator[Fault]:
        if self.from_ == self.to:
            yield Fault(("to",), "a region that fails over to itself", "name another region")


class LocalityLb(Part, frozen=True):
    """``enabled`` None: locality counts where outlier detection is configured, as in Istio."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failoverPriority: tuple[str, ...] = ()
    enabled: bool | None = None

    def faults(self) -> Iterator[Fault]:
        if self.distribute and (self.failover or self.failoverPriority):
            yield Fault(("distribute",), "distribute and failover exclude each other", "give one of them")


class Warmup(Part, frozen=True):
    duration: Seconds
    minimumPercent: Percentage | None = None
    aggression: Annotated[float, msgspec.Meta(gt=0)] | None = None


class LoadBalancer(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"warmupDurationSecs": "write warmup: {duration: ...}"}

    simple: Simple | None = None
    consistentHash: ConsistentHash | None = None
    localityLbSetting: LocalityLb | None = None
    warmup: Warmup | None = None

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("simple", "consistentHash"), required=False)


class TcpKeepalive(Part, frozen=True):
    probes: Positive | None = None
    time: Seconds | None = None
    interval: Seconds | None = None


class TcpPool(Part, frozen=True):
    maxConnections: Positive | None = None
    connectTimeout: Seconds | None = None
    tcpKeepalive: TcpKeepalive | None = None
    maxConnectionDuration: Seconds | None = None
    idleTimeout: Seconds | None = None

    def faults(self) -> Iterator[Fault]:
        if self.connectTimeout is not None and self.connectTimeout < 0.001:
            yield Fault(("connectTimeout",), "less than a millisecond", "write 1ms or more")


class HttpPool(Part, frozen=True):
    http1MaxPendingRequests: Positive | None = None
    http2MaxRequests: Positive | None = None
    maxRequestsPerConnection: Count | None = None
    maxRetries: Count | None = None
    idleTimeout: Seconds | None = None
    h2UpgradePolicy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    useClientProtocol: bool = False
    maxConcurrentStreams: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647)] | None = None


class ConnectionPool(Part, frozen=True):
    tcp: TcpPool | None = None
    http: HttpPool | None = None


class OutlierDetection(Part, frozen=True):
    """``minHealthPercent``: below it Envoy sends to unhealthy endpoints as well (its panic threshold)."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "consecutiveErrors": "write consecutive5xxErrors or consecutiveGatewayErrors"
    }

    splitExternalLocalOriginErrors: bool = False
    consecutiveLocalOriginFailures: Count | None = None
    consecutiveGatewayErrors: Count | None = None
    consecutive5xxErrors: Count | None = None
    interval: Seconds | None = None
    baseEjectionTime: Seconds | None = None
    maxEjectionPercent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    minHealthPercent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None

    def faults(self) -> Iterator[Fault]:
        for name in ("interval", "baseEjectionTime"):
            found = getattr(self, name)
            if found is not None and found < 0.001:
                yield Fault((name,), "less than a millisecond", "write 1ms or more")


class ClientTls(Part, frozen=True):
    """Files are those of the machine where the proxy runs; ``credentialName`` is a secret that its agent serves."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
    clientCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""
    credentialName: str = ""
    subjectAltNames: tuple[str, ...] = ()
    sni: str = ""
    insecureSkipVerify: bool | None = None
    caCrl: str = ""

    def faults(self) -> Iterator[Fault]:
        files = [
            name for name in ("clientCertificate", "privateKey", "caCertificates") if getattr(self, name)
        ]
        if self.mode in ("DISABLE", "ISTIO_MUTUAL"):
            for name in (*files, *(["credentialName"] if self.credentialName else [])):
                yield Fault((name,), f"mode {self.mode} takes no certificates from here", "leave it out")
        elif self.mode == "MUTUAL" and not self.credentialName:
            for name in ("clientCertificate", "privateKey"):
                if not getattr(self, name):
                    yield Fault((), f"mode MUTUAL needs {name}", "give the files, or credentialName")
        elif self.credentialName and files:
            yield Fault((files[0],), "credentialName and files exclude each other", "give one of them")


class RetryBudget(Part, frozen=True):
    """Retries under way are at most ``percent`` of all requests under way, and never less than the minimum."""

    percent: Percentage = 20.0
    minRetryConcurrency: Count = 3


class PortPolicy(Part, frozen=True):
    port: PortSelector
    loadBalancer: LoadBalancer | None = None
    connectionPool: ConnectionPool | None = None
    outlierDetection: OutlierDetection | None = None
    tls: ClientTls | None = None


class TrafficPolicy(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "tunnel": "let the application speak to the tunnel's proxy itself",
        "proxyProtocol": "the mesh's identity tells the client; there is no PROXY header upstream",
    }

    loadBalancer: LoadBalancer | None = None
    connectionPool: ConnectionPool | None = None
    outlierDetection: OutlierDetection | None = None
    tls: ClientTls | None = None
    portLevelSettings: tuple[PortPolicy, ...] = ()
    retryBudget: RetryBudget | None = None

    def faults(self) -> Iterator[Fault]:
        numbers = (str(each.port.number) for each in self.portLevelSettings)
        yield from repeated(numbers, ("portLevelSettings",), "port")


class Subset(Part, frozen=True):
    name: Annotated[
        str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
    ]
    labels: Labels = NOTHING
    trafficPolicy: TrafficPolicy | None = None

    def faults(self) -> Iterator[Fault]:
        yield from wildcards(self.labels, ("labels",))


class DestinationRule(Part, frozen=True):
    host: HostPattern
    trafficPolicy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    exportTo: tuple[str, ...] = ()
    workloadSelector: Selector | None = None

    def faults(self) -> Iterator[Fault]:
        yield from repeated((each.name for each in self.subsets), ("subsets",), "name")
        if "*" in self.host and self.subsets:
            yield Fault(("subsets",), f"subsets of the wildcard host {self.host}", "name one host")

    def subset(self, name: str) -> Subset | None:
        return next((each for each in self.subsets if each.name == name), None)

    def traffic_policy(self, port: int, subset: str = "") -> TrafficPolicy:
        """What holds for ``port`` of ``subset`` (empty: of the host), the parts put together."""
        found = _over(TrafficPolicy(), self.trafficPolicy, port)
        inner = self.subset(subset) if subset else None
        return _over(found, inner.trafficPolicy if inner is not None else None, port)


def _over(outer: TrafficPolicy, inner: TrafficPolicy | None, port: int) -> TrafficPolicy:
    """``inner`` field by field over ``outer``; the settings of a port take the place of all that a port can say."""
    if inner is None:
        return outer
    for each in inner.portLevelSettings:
        if each.port.number == port:
            found = {name: getattr(each, name) for name in _OF_PORT}
            break
    else:
        found = {name: getattr(inner, name) or getattr(outer, name) for name in _OF_PORT}
    return TrafficPolicy(retryBudget=inner.retryBudget or outer.retryBudget, **found)


_OF_PORT = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
