"""Documents from YAML and back: what ``kubectl`` users write is read as they mean it, everything that is wrong is told.

Rule: ``read`` gives each document of a text typed, and all problems with their places; a text with a problem that is an
error is not to be applied. Stored and shown is the ``content``: kind, name, labels, annotations and spec as they were
written, in canonical JSON, without what a Kubernetes API server adds (``status``, ``uid``, ``managedFields`` ...).
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import yaml

from atoll.errors import AtollError, Code, Reason
from atoll.resources.mesh import hosts
from atoll.resources.mesh.documents import decoding
from atoll.resources.mesh.documents.authorization_policy import DRY_RUN
from atoll.resources.mesh.documents.kinds import FORMS, Document, DocumentKey, Form, Kind
from atoll.resources.mesh.documents.parts import Fault, Path
from atoll.resources.mesh.documents.yaml_tree import Place, Tree, YamlFault
from atoll.resources.mesh.documents.yaml_tree import read as read_yaml

FORMAT = 1
CONTENT_BYTES_MAX = 262_144  # of one document, as it is stored
LABELS_MAX = 64
ANNOTATIONS_BYTES_MAX = 65_536

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9A-Z_]([a-z0-9A-Z_-]{0,62})")
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA = ("name", "namespace", "labels", "annotations")
_METADATA_OF_SERVERS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "finalizers",
    "ownerReferences",
    "selfLink",
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

REFUSED_KINDS: Mapping[str, str] = {
    "EnvoyFilter": "say it with the other kinds; a rate limit with LocalRateLimit",
    "WasmPlugin": "there are no plugins in the proxies",
    "ProxyConfig": "set it where the sidecar is started (`atoll sidecar --help`)",
    "WorkloadEntry": "register the workload in the registry, or list it in a ServiceEntry",
    "WorkloadGroup": "register the workloads in the registry",
    "TCPRoute": "write a VirtualService with tcp",
    "TLSRoute": "write a VirtualService with tls",
    "UDPRoute": "UDP is not proxied",
    "ReferenceGrant": "none is needed: a route may lead to another namespace",
    "GatewayClass": "there is one, which needs no document",
    "BackendTLSPolicy": "write a DestinationRule with tls",
    "Service": "services come from the registry, or write a ServiceEntry",
    "Deployment": "run the workload with `atoll sidecar --service NAME -- PROGRAM`",
    "Namespace": "namespaces are the registry's (`atoll namespace`)",
}


class Severity(enum.StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True):
    """``file``: as it was called when it was given; ``line`` and ``column`` from 1, 0 where nobody knows. ``document``:
    ``Kind/namespace/name``, empty where it is not known. ``path``: of the field, as ``spec.http[0].route``.
    """

    message: str
    suggestion: str = ""
    severity: Severity = Severity.ERROR
    file: str = ""
    line: int = 0
    column: int = 0
    document: str = ""
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file or self.document
        inside = f"{self.path}: " if self.path else ""
        advice = f"; {self.suggestion}" if self.suggestion else ""
        return f"{place}: {self.severity}: {inside}{self.message}{advice}"


class Source(msgspec.Struct, frozen=True):
    """Where a document that was read stands; finds the place of a path in it."""

    file: str
    tree: Tree
    at: Path = ()  # of the document in its tree: in a List, its item

    def problem(self, fault: Fault, key: DocumentKey | None, severity: Severity = Severity.ERROR) -> Problem:
        path = (*self.at, *fault.path)
        place = self.tree.name_place(path) if fault.at_name else self.tree.place(path)
        return Problem(
            fault.message,
            fault.suggestion,
            severity,
            self.file,
            place.line,
            place.column,
            "" if key is None else str(key),
            path_text(fault.path),
        )


class Read(msgspec.Struct, frozen=True):
    """A document with its canonical content, and where it was read."""

    document: Document[Any]
    content: bytes
    source: Source

    @property
    def key(self) -> DocumentKey:
        return self.document.key


class Reading(msgspec.Struct, frozen=True):
    documents: tuple[Read, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(each for each in self.problems if each.severity is Severity.ERROR)


def path_text(path: Path) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w<>-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def read(text: str, file: str = "", namespace: str = hosts.DEFAULT_NAMESPACE) -> Reading:
    """All documents of ``text``. ``namespace``: of documents that name none."""
    documents: list[Read] = []
    problems: list[Problem] = []
    try:
        for tree in read_yaml(text):
            for source in _each(Source(file, tree)):
                _read_one(source, namespace, documents, problems)
    except YamlFault as fault:
        place = fault.place
        problems.append(
            Problem(fault.message, fault.suggestion, file=file, line=place.line, column=place.column)
        )
    problems += _twice(documents)
    return Reading(tuple(documents), tuple(sorted(problems, key=lambda each: (each.line, each.column))))


def _each(source: Source) -> Iterator[Source]:
    """The document itself, or those in it where it is a list of them."""
    value = _within(source)
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list):
        for number in range(len(value["items"])):
            yield from _each(msgspec.structs.replace(source, at=(*source.at, "items", number)))
    else:
        yield source


def _within(source: Source) -> Any:
    value = source.tree.value
    for step in source.at:
        value = value[step]
    return value


def _read_one(source: Source, namespace: str, documents: list[Read], problems: list[Problem]) -> None:
    value = _within(source)
    if value is None:
        return
    if not isinstance(value, dict):
        fault = Fault((), "is no document", "write apiVersion, kind, metadata and spec")
        problems.append(source.problem(fault, None))
        return
    kind, faults = _kind(value)
    if kind is None:
        problems += [source.problem(each, None) for each in faults]
        return
    head, faults = _head(value, kind, namespace)
    given = value.get("spec")
    spec, inner = decoding.decode(FORMS[kind].spec, {} if given is None else given)
    faults += [msgspec.structs.replace(each, path=("spec", *each.path)) for each in inner]
    problems += [source.problem(each, head.key if head is not None else None) for each in faults]
    if faults or head is None or spec is None:
        return
    content = encode(head.key, head.labels, head.annotations, value.get("spec") or {})
    if len(content) > CONTENT_BYTES_MAX:
        fault = Fault((), f"has {len(content)} bytes; at most {CONTENT_BYTES_MAX} are taken", "split it")
        problems.append(source.problem(fault, head.key))
        return
    document = Document(head.key, spec, hash8_of(content), head.labels, head.annotations)
    documents.append(Read(document, content, source))


def _twice(documents: Iterable[Read]) -> Iterator[Problem]:
    seen: dict[DocumentKey, Read] = {}
    for each in documents:
        first = seen.setdefault(each.key, each)
        if first is not each:
            line = first.source.tree.place(first.source.at).line
            where = f"{first.source.file}:{line}" if first.source.file else f"line {line}"
            fault = Fault((), f"{each.key} is there twice, first at {where}", "take one of them out")
            yield each.source.problem(fault, each.key)


# ------------------------------------------------------------------------------------------------ heads


class _Head(msgspec.Struct, frozen=True):
    key: DocumentKey
    labels: dict[str, str]
    annotations: dict[str, str]


def _kind(value: Mapping[str, Any]) -> tuple[Kind | None, list[Fault]]:
    kind, version = value.get("kind"), value.get("apiVersion")
    for name, given in (("apiVersion", version), ("kind", kind)):
        if not isinstance(given, str) or not given:
            return None, [Fault((name,) if name in value else (), f"{name} is missing", f"write {name}: ...")]
    named = [(each, form) for each, form in FORMS.items() if form.name == kind]
    if not named:
        known = [form.name for form in FORMS.values()]
        advice = REFUSED_KINDS.get(str(kind)) or decoding.near(str(kind), known)
        return None, [Fault(("kind",), f"{kind} is not supported", advice)]
    for each, form in named:
        if version in form.api_versions:
            return each, []
    every = [version for _, form in named for version in form.api_versions]
    return None, [
        Fault(("apiVersion",), f"there is no {kind} in {version}", decoding.near(str(version), every))
    ]


def _head(value: Mapping[str, Any], kind: Kind, namespace: str) -> tuple[_Head | None, list[Fault]]:
    faults = [
        Fault((name,), f"there is no field {name!r} here", decoding.near(name, _TOP), at_name=True)
        for name in value
        if name not in _TOP
    ]
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return None, [*faults, Fault((), "metadata is missing", "write metadata: {name: ...}")]
    faults += _metadata_faults(metadata)
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problem = "has no name" if name is None else f"{str(name)[:60]!r} is no name"
        path: Path = ("metadata",) if name is None else ("metadata", "name")
        return None, [
            *faults,
            Fault(path, problem, "lower-case letters, digits, - and ., as in reviews-route"),
        ]
    space = metadata.get("namespace") or namespace
    if not isinstance(space, str) or not _NAMESPACE.fullmatch(space):
        return None, [
            *faults,
            Fault(("metadata", "namespace"), f"{str(space)[:60]!r} is no namespace", "as in default"),
        ]
    labels, annotations = ({**(metadata.get(each) or {})} for each in ("labels", "annotations"))
    annotations.pop(_LAST_APPLIED, None)
    faults += list(_annotation_faults(kind, annotations))
    return _Head(DocumentKey(kind, hosts.namespace_of(space), name), labels, annotations), faults


def _metadata_faults(metadata: Mapping[str, Any]) -> list[Fault]:
    faults = []
    for name, value in metadata.items():
        path = ("metadata", name)
        if name == "generateName":
            faults.append(Fault(path, "generateName is not supported", "write name", at_name=True))
        elif name not in _METADATA and name not in _METADATA_OF_SERVERS:
            faults.append(
                Fault(path, f"there is no field {name!r} here", decoding.near(name, _METADATA), at_name=True)
            )
        elif name in ("labels", "annotations") and value is not None:
            if not isinstance(value, dict):
                faults.append(Fault(path, "is no mapping", "write NAME: VALUE"))
                metadata = {**metadata, name: None}
                continue
            faults += [
                Fault((*path, each), f"{inner!r} is no text", f'write "{inner}" in quotes')
                for each, inner in value.items()
                if not isinstance(inner, str)
            ]
            if len(value) > LABELS_MAX or len(str(value)) > ANNOTATIONS_BYTES_MAX:
                faults.append(Fault(path, f"more than {LABELS_MAX}, or too long", "take some out"))
    return faults


def _annotation_faults(kind: Kind, annotations: Mapping[str, str]) -> Iterator[Fault]:
    """Istio's annotations change what a document means."""
    for name, value in annotations.items():
        group = name.partition("/")[0]
        path: Path = ("metadata", "annotations", name)
        if name == DRY_RUN and kind is Kind.AUTHORIZATION_POLICY:
            if value not in ("true", "false"):
                yield Fault(path, f"{value!r} is neither true nor false", 'write "true"')
        elif group == "istio.io" or group.endswith(".istio.io"):
            yield Fault(path, f"the annotation {name} is not supported", "take it out", at_name=True)


# ---------------------------------------------------------------------------------------------- content


def encode(key: DocumentKey, labels: Mapping[str, str], annotations: Mapping[str, str], spec: Any) -> bytes:
    """The canonical content: equal documents give equal bytes."""
    form = FORMS[key.kind]
    metadata: dict[str, Any] = {"name": key.name, "namespace": key.namespace}
    if labels:
        metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    content = {"apiVersion": form.api_versions[0], "kind": form.name, "metadata": metadata, "spec": spec}
    return msgspec.json.encode(content, order="sorted")


def hash8_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=4).hexdigest()


def decode(content: bytes, created: int = 0, revision: int = 0) -> Document[Any]:
    """Of a canonical content. Raises INVALID / CORRUPT for what is none, or is of a newer release."""
    try:
        value = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AtollError(Code.INVALID, f"not a stored document: {error}", reason=Reason.CORRUPT) from error
    kind, faults = _kind(value)
    head, more = _head(value, kind, hosts.DEFAULT_NAMESPACE) if kind is not None else (None, [])
    if kind is None or head is None:
        first = [*faults, *more][0]
        raise AtollError(Code.INVALID, f"not a stored document: {first.message}", reason=Reason.CORRUPT)
    spec, inner = decoding.decode(FORMS[kind].spec, value.get("spec"))
    if spec is None:
        where = path_text(inner[0].path)
        text = f"{head.key} was stored by another release: {where}: {inner[0].message}"
        raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT)
    return Document(head.key, spec, hash8_of(content), head.labels, head.annotations, created, revision)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(contents: Iterable[bytes]) -> str:
    """For people: several documents, names in the order in which they are usually written."""
    documents = []
    for content in contents:
        value = msgspec.json.decode(content)
        documents.append({name: value[name] for name in _TOP if name in value})
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def form_of(text: str) -> Kind | None:
    """A kind by any of its names: ``VirtualService``, ``virtualservices``, ``vs``, and with its group behind a dot."""
    lowered = text.lower()
    for kind, form in FORMS.items():
        names = {form.name.lower(), form.plural, form.plural.removesuffix("s"), form.short} - {""}
        full = {f"{form.name.lower()}.{form.group}", f"{form.plural}.{form.group}", kind.value.lower()}
        if lowered in names | full:
            return kind
    return None


__all__ = ["Form", "Place", "Problem", "Read", "Reading", "Severity", "Source"]
