"""The settings of a node: one table, one precedence, and for each value where it came from.

Rule: defaults < configuration file (TOML) < environment (``ATOLL_*``) < flags, decided here and nowhere else; pure,
so that file, environment and flags are arguments. A setting is declared once, as a field of ``Settings``; its name
in the file (``store.url``), in the environment (``ATOLL_STORE_URL``), its flag (``--store-url``) and its line in the
reference follow from that.

An unknown name in a file is refused, with its place and a suggestion. An unknown ``ATOLL_`` name in the environment
is only reported: container platforms inject names of their own making (a Kubernetes service named ``atoll`` puts
``ATOLL_PORT`` into every pod of its namespace).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from atoll.errors import AtollError, Code
from atoll.runtime.disk import default_data_folder
from atoll.runtime.logs import FORMATS, LEVELS
from atoll.runtime.net import Address, parse_address

SECTIONS = ("store", "listen", "tls", "nodes", "registry", "mesh", "log")
ENVIRONMENT_PREFIX = "ATOLL_"
ENVIRONMENT_OTHER = (
    "ATOLL_CONFIG",
    "ATOLL_API_TOKEN",
    "ATOLL_URL",
    "ATOLL_XDS",
)  # read by the command line itself
LEAD_PREFIX = "ATOLL_LEAD_"  # these and the next are set by `atoll lead` for its program
ENVIRONMENT_OF_LEAD = ("ATOLL_TERM", "ATOLL_TOKEN", "ATOLL_DEADLINE", "ATOLL_KEY")
ENVIRONMENT_OF_SIDECAR = (  # and these by `atoll sidecar` for its application
    "ATOLL_SERVICE",
    "ATOLL_NAMESPACE",
    "ATOLL_SIDECAR",
    "ATOLL_SIDECAR_MARK",
    "ATOLL_HTTP_OUT",
    "ATOLL_HTTP_OUT_SOCKET",
    "ATOLL_APP_PORT",
    "ATOLL_APP_PORTS",
    "ATOLL_APP_SOCKET",
)
OTHERS_PREFIXES = (LEAD_PREFIX, "ATOLL_OUT_")
PORT_MAX = 65_535


def _setting(default: Any, shape: str, text: str, choices: tuple[str, ...] = ()) -> Any:
    metadata = {"shape": shape, "text": text, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Every setting of a node, resolved. Declared in the order in which people meet them."""

    data: Path = _setting(default_data_folder(), "DIR", "Folder of this node's data; made with mode 0700.")
    port_offset: int = _setting(0, "N", "Added to the port of every address.")
    auth: bool = _setting(False, "", "Ask every client for credentials.")
    insecure: bool = _setting(
        False, "", "Allow listening beyond loopback without TLS and credentials; the network must be trusted."
    )
    stop_within_s: float = _setting(10.0, "S", "Seconds that a graceful stop may take.")
    store_url: str = _setting(
        "sqlite:",
        "URL",
        "Where the data is: sqlite:PATH (sqlite: alone is store.db in the data folder), memory:, or "
        "etcd://HOST:PORT,HOST:PORT for a cluster.",
    )
    store_quota_bytes: int = _setting(
        2_147_483_648, "BYTES", "Size at which the embedded store refuses writes."
    )
    store_compact_after_s: float = _setting(
        3600.0, "S", "Age at which history is forgotten; 0 keeps all of it."
    )
    store_compact_cluster: bool = _setting(
        False,
        "",
        "Let one node forget an etcd cluster's history at that age, where the cluster does not itself.",
    )
    store_user: str = _setting("", "NAME", "User name at an etcd cluster.")
    store_password_file: str = _setting("", "FILE", "File with that user's password.")
    store_ca: str = _setting("", "FILE", "Certificates that may sign an etcd cluster's certificate (PEM).")
    store_certificate: str = _setting("", "FILE", "Own certificate for an etcd cluster (PEM).")
    store_key: str = _setting("", "FILE", "Key of that certificate (PEM).")
    listen_api: Address = _setting(
        Address("127.0.0.1", 7070), "HOST:PORT", "Address of HTTP API, console, metrics and health."
    )
    listen_etcd: Address = _setting(Address("127.0.0.1", 2379), "HOST:PORT", "Address of the etcd v3 API.")
    listen_nacos: Address = _setting(
        Address("127.0.0.1", 8848), "HOST:PORT", "Address of the Nacos API, HTTP and gRPC."
    )
    listen_nacos_grpc: Address = _setting(
        Address("127.0.0.1", 9848),
        "HOST:PORT",
        "The same once more: Nacos clients expect gRPC 1,000 above the port that they are given.",
    )
    listen_nodes: Address = _setting(
        Address("127.0.0.1", 9849),
        "HOST:PORT",
        "Address for other nodes; opened where the store is a cluster.",
    )
    listen_xds: Address = _setting(
        Address("127.0.0.1", 15010),
        "HOST:PORT",
        "Address of xDS, for Envoy and gRPC; clients need a certificate of the mesh.",
    )
    tls_certificate: str = _setting("", "FILE", "Certificate chain of this node's listeners (PEM).")
    tls_key: str = _setting("", "FILE", "Key of that certificate (PEM).")
    tls_client_ca: str = _setting("", "FILE", "Ask clients for a certificate signed by one of these (PEM).")
    nodes_address: str = _setting(
        "", "HOST:PORT", "Where other nodes reach this one, if not at the address of listen.nodes."
    )
    nodes_certificate: str = _setting("", "FILE", "This node's certificate for other nodes, both ways (PEM).")
    nodes_key: str = _setting("", "FILE", "Key of that certificate (PEM).")
    nodes_ca: str = _setting("", "FILE", "Certificates that may sign a node's certificate (PEM).")
    registry_rate_limits: str = _setting(
        "",
        "RULES",
        "Rate limits of Nacos clients, such as ConfigQuery=100, ConfigPublish=600/m:monitor.",
    )
    registry_connections_max: int = _setting(-1, "N", "Connections of Nacos clients over gRPC; -1: no limit.")
    registry_connections_per_address_max: int = _setting(-1, "N", "The same from one address; -1: no limit.")
    registry_nacos_http_client: bool = _setting(
        True, "", "Answer applications over Nacos's HTTP API v1 and v2 (v3 always answers)."
    )
    registry_nacos_http_admin: bool = _setting(
        True, "", "Answer administration tools over Nacos's HTTP API v1 and v2; Nacos 3 does not."
    )
    registry_nacos_http_console: bool = _setting(
        True, "", "Answer web consoles over Nacos's HTTP API v1 and v2; Nacos 3 does not."
    )
    registry_nacos_strict: bool = _setting(
        False, "", "Choose instances exactly as Nacos does, its slips with the protect threshold included."
    )
    registry_config_check: bool = _setting(
        True, "", "Refuse a configuration that does not parse as its type, unless it is forced."
    )
    registry_config_namespaces: bool = _setting(
        False, "", "Publish configuration only into namespaces that were created."
    )
    registry_config_items_max: int = _setting(0, "N", "Configuration items in the cluster; 0: no limit.")
    registry_config_history_s: float = _setting(
        2_592_000.0, "S", "How long what a configuration was before is kept; 30 days."
    )
    registry_override_kept_s: float = _setting(
        600.0, "S", "How long an operator's word on an instance outlives the instance; at least 60."
    )
    registry_token_ttl_s: float = _setting(18_000.0, "S", "How long a login token of the registry lives.")
    registry_journal_days: float = _setting(
        7.0, "DAYS", "Age at which this node forgets what it saw, for explain and topology."
    )
    registry_journal_bytes: int = _setting(
        1_073_741_824, "BYTES", "Size at which it forgets the oldest of it earlier."
    )
    registry_audit_entries: int = _setting(
        100_000,
        "N",
        "Entries of the audit log kept in the store; older ones go to files in the leader's data folder.",
    )
    registry_audit_days: float = _setting(90.0, "DAYS", "Age at which they go there earlier.")
    mesh_domain: str = _setting("cluster.local", "DOMAIN", "What the names of services end with.")
    mesh_trust_domain: str = _setting(
        "cluster.local",
        "DOMAIN",
        "What the mesh's SPIFFE ids begin with: spiffe://DOMAIN/ns/NAMESPACE/sa/SERVICE.",
    )
    mesh_root_namespace: str = _setting(
        "istio-system", "NAMESPACE", "Where policy documents concern the whole mesh."
    )
    mesh_empty_endpoints: str = _setting(
        "keep-last",
        "POLICY",
        "What clients get of a service whose source lists no endpoint any more: the last list, or an empty one.",
        ("keep-last", "empty"),
    )
    mesh_unknown: str = _setting(
        "registry-only",
        "POLICY",
        "Where intercepted traffic to no service of the mesh goes: nowhere, or on to where it was dialled.",
        ("registry-only", "allow-any"),
    )
    mesh_scope: str = _setting(
        "all",
        "WHEN",
        "When a sidecar is told of the services in its scope: of all at once, or of each when it is first called.",
        ("all", "called"),
    )
    mesh_access_log: str = _setting(
        "/dev/stdout",
        "FILE",
        "Where proxies write their access logs, on their own machines; empty: nowhere.",
    )
    mesh_otlp: str = _setting(
        "",
        "HOST:PORT",
        "OpenTelemetry collector (OTLP over gRPC) to which proxies send traces and access logs; empty: none.",
    )
    mesh_trace_percent: float = _setting(
        1.0,
        "PERCENT",
        "Share of the requests that are traced, unless a caller or a Telemetry document decides.",
    )
    mesh_services_file: str = _setting("", "FILE", "Services that no registry knows (YAML).")
    mesh_zookeeper: str = _setting(
        "",
        "HOST:PORT",
        "A ZooKeeper with Dubbo services, HOST:PORT[,HOST:PORT...][/ROOT]; /dubbo without a root.",
    )
    mesh_xds_names: str = _setting(
        "",
        "NAME,NAME",
        "Host names and addresses under which xDS is reached, besides the one that it listens on: gRPC checks them.",
    )
    mesh_socket: str = _setting(
        "",
        "PATH",
        "Unix socket where workloads of this machine enrol, known by their uid; empty: mesh.sock in the data folder, "
        "which only the node's own user and root reach.",
    )
    mesh_certificate_ttl_s: float = _setting(
        86_400.0, "S", "How long a workload's certificate lives; it is renewed at half of that."
    )
    mesh_offline_root: bool = _setting(
        False, "", "Wait for a root that an operator keeps offline, instead of making one."
    )
    mesh_insecure_xds: bool = _setting(
        False, "", "Serve xDS without certificates: clients are believed who they say they are."
    )
    log_level: str = _setting("info", "LEVEL", "Least level that is logged.", tuple(LEVELS))
    log_format: str = _setting("text", "FORMAT", "Shape of a log line.", FORMATS)

    def address(self, name: str) -> Address:
        """The listening address of the setting ``name`` with the port offset added; port 0 stays 0."""
        address: Address = getattr(self, name)
        return Address(address.host, address.port and address.port + self.port_offset)


class Declared(NamedTuple):
    """One setting as people see it."""

    field: str
    name: str  # in the file
    variable: str
    flag: str
    kind: type
    default: Any
    shape: str
    text: str
    choices: tuple[str, ...]


class Value(NamedTuple):
    """A resolved value and where it came from."""

    declared: Declared
    value: Any
    source: str


def shown(value: Value) -> str:
    """The value as text, fit to be shown: a password inside a URL is masked."""
    if isinstance(value.value, bool):
        return str(value.value).lower()
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", str(value.value))


def _declare() -> dict[str, Declared]:
    kinds = typing.get_type_hints(Settings)
    declared = {}
    for field in dataclasses.fields(Settings):
        section, _, rest = field.name.partition("_")
        name = f"{section}.{rest}" if section in SECTIONS else field.name
        variable = ENVIRONMENT_PREFIX + field.name.upper()
        flag = "--" + field.name.replace("_", "-")
        facts = field.metadata
        declared[field.name] = Declared(
            field.name, name, variable, flag, kinds[field.name], field.default, *facts.values()
        )
    return declared


DECLARED = _declare()
LISTENS = tuple(field for field in DECLARED if field.startswith("listen_"))
_BY_NAME = {declared.name: declared for declared in DECLARED.values()}
_BY_VARIABLE = {declared.variable: declared for declared in DECLARED.values()}


class Resolved(NamedTuple):
    """The settings, each value's source, and remarks that are no errors."""

    settings: Settings
    values: tuple[Value, ...]
    remarks: tuple[str, ...]


def resolve(
    file: tuple[str, str] | None, environment: Mapping[str, str], flags: Mapping[str, str | bool]
) -> Resolved:
    """Apply the precedence. ``file`` is (name, text); ``flags`` maps field names to what was given.

    Raises INVALID naming the place of the first wrong name or value.
    """
    chosen = {name: Value(declared, declared.default, "default") for name, declared in DECLARED.items()}
    if file is not None:
        chosen |= _from_file(*file)
    from_environment, remarks = _from_environment(environment)
    chosen |= from_environment
    for field, given in flags.items():
        declared = DECLARED[field]
        chosen[field] = Value(
            declared, _parse(declared, given, f"flag {declared.flag}"), f"flag {declared.flag}"
        )
    settings = Settings(**{field: value.value for field, value in chosen.items()})
    _check(settings)
    return Resolved(settings, tuple(chosen[field] for field in DECLARED), tuple(remarks))


def _from_file(file_name: str, text: str) -> dict[str, Value]:
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AtollError(Code.INVALID, f"{file_name}: not TOML: {error}") from error
    chosen = {}
    for name, given in _flatten(parsed):
        place = f"{file_name}:{_line_of(text, name)}"
        declared = _BY_NAME.get(name)
        if declared is None:
            raise AtollError(Code.INVALID, f"{place}: unknown setting {name!r}{_suggest(name, _BY_NAME)}")
        chosen[declared.field] = Value(declared, _parse(declared, given, place), f"file {place}")
    return chosen


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    chosen, remarks = {}, []
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in (
            *ENVIRONMENT_OTHER,
            *ENVIRONMENT_OF_LEAD,
            *ENVIRONMENT_OF_SIDECAR,
        ):
            continue
        declared = _BY_VARIABLE.get(variable)
        source = f"environment {variable}"
        if declared is not None:
            chosen[declared.field] = Value(declared, _parse(declared, environment[variable], source), source)
        elif not variable.startswith(OTHERS_PREFIXES):
            remarks.append(f"{source}: not a setting{_suggest(variable, _BY_VARIABLE)}; ignored")
    return chosen, remarks


def _flatten(parsed: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in parsed.items():
        if isinstance(value, dict):
            pairs += [(f"{key}.{inner}", given) for inner, given in value.items()]
        else:
            pairs.append((key, value))
    return pairs


def _line_of(text: str, name: str) -> int:
    """The line of the setting ``name``; of its section where the key is written in a way of its own."""
    section, key = name.split(".", 1) if "." in name else ("", name)
    inside = not section
    fallback = 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if header:
            inside = header[1] == section
            fallback = number if inside else fallback
        elif (inside and re.match(rf"\s*{re.escape(key)}\s*=", line)) or re.match(
            rf"\s*{re.escape(name)}\s*=", line
        ):
            return number
    return fallback


def _suggest(name: str, known: Mapping[str, Declared]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _parse(declared: Declared, given: Any, place: str) -> Any:
    """``given`` (text, or a TOML value) as the setting's type. Raises INVALID with place and expectation."""
    reader, expected = _READERS[declared.kind]
    try:
        value = reader(given)
    except (ValueError, TypeError) as error:
        raise AtollError(
            Code.INVALID, f"{place}: {declared.name} must be {expected}, not {given!r}"
        ) from error
    except AtollError as error:
        raise AtollError(error.code, f"{place}: {declared.name}: {error.message}") from error
    if declared.choices and value not in declared.choices:
        message = f"{place}: {declared.name} must be one of {', '.join(declared.choices)}, not {given!r}"
        raise AtollError(Code.INVALID, message)
    return value


def _read_bool(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        _read_text(given).lower()
    ]


def _read_int(given: Any) -> int:
    if isinstance(given, bool | float):
        raise ValueError(given)
    return int(given)


def _read_float(given: Any) -> float:
    if isinstance(given, bool):
        raise ValueError(given)
    value = float(given)
    if not 0 <= value < float("inf"):
        raise ValueError(given)
    return value


def _read_text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(given)
    return given


def _read_path(given: Any) -> Path:
    text = _read_text(given)
    if not text:
        raise ValueError(given)
    return Path(text).expanduser().absolute()


def _wrong_key(reader: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def read(given: Any) -> bool:
        try:
            return reader(given)
        except KeyError as error:
            raise ValueError(given) from error

    return read


_READERS: dict[type, tuple[Callable[[Any], Any], str]] = {
    bool: (_wrong_key(_read_bool), "true or false"),
    int: (_read_int, "a whole number"),
    float: (_read_float, "a number of at least 0"),
    str: (_read_text, "text"),
    Path: (_read_path, "a path"),
    Address: (lambda given: parse_address(_read_text(given)), "HOST:PORT"),
}


def _check(settings: Settings) -> None:
    """What holds between settings."""
    for section, needed in (("tls", ("certificate", "key")), ("nodes", ("certificate", "key", "ca"))):
        given = [bool(getattr(settings, f"{section}_{part}")) for part in needed]
        if any(given) and not all(given):
            names = " and ".join(f"{section}.{part}" for part in needed)
            raise AtollError(Code.INVALID, f"{names} need each other; give all or none")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise AtollError(Code.INVALID, "tls.client_ca needs tls.certificate and tls.key")
    if settings.store_quota_bytes <= 0:
        raise AtollError(Code.INVALID, f"store.quota_bytes must be above 0, not {settings.store_quota_bytes}")
    for field in LISTENS:
        port = settings.address(field).port
        if not 0 <= port <= PORT_MAX:
            name = DECLARED[field].name
            raise AtollError(
                Code.INVALID, f"{name} with port_offset gives port {port}; expected 0 to {PORT_MAX}"
            )
        check_listening(settings, field)


def check_listening(settings: Settings, field: str) -> None:
    """The rule for listening: beyond loopback only with TLS and credentials, or ``--insecure``."""
    address = settings.address(field)
    guarded = bool(settings.auth and settings.tls_certificate)
    needed = "--auth with --tls-certificate and --tls-key"
    if field == "listen_nodes":  # nodes trust each other's certificates, and nothing else
        guarded = bool(settings.nodes_certificate)
        needed = "--nodes-certificate, --nodes-key and --nodes-ca"
    elif field == "listen_xds":  # clients of the mesh bring its certificates
        guarded = not settings.mesh_insecure_xds
        needed = "mesh.insecure_xds to be off"
    if address.is_loopback or settings.insecure or guarded:
        return
    raise AtollError(
        Code.DENIED,
        f"{DECLARED[field].name} = {address} is reachable by other machines; that needs {needed}, "
        f"or --insecure if everyone on that network may do everything",
    )
