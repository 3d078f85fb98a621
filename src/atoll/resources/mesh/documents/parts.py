"""What the documents are made of: the forms of their values, and how a part of one tells what is wrong with it.

Rule: a part is a frozen value; ``faults`` looks at nothing but itself and says where, within it, something contradicts
itself. What types and bounds can say is said by annotations, not there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, TypeAlias

import msgspec
import re2

from atoll.resources.records import NOTHING

Path: TypeAlias = tuple[str | int, ...]
"""Names and positions from a document's root to a place in it."""

PATTERN_CHARS_MAX = 1024  # of a regular expression
REGEX_PROGRAM_SIZE_MAX = 100  # of RE2's instructions: what an Envoy takes that nobody told to take more
_REGEX_MEMORY_BYTES_MAX = 4 * 1_048_576


class Fault(msgspec.Struct, frozen=True):
    """``path`` from the part that tells it; ``suggestion``: what would be right, for people. ``at_name``: it is the name of
    the field that is wrong, not its value.
    """

    path: Path
    message: str
    suggestion: str = ""
    at_name: bool = False


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Of a document. ``REFUSED``: fields that its specification has and Atoll has not, with what to do instead."""

    REFUSED: ClassVar[Mapping[str, str]] = NOTHING

    def faults(self) -> Iterator[Fault]:
        """What is wrong within this part, those inside it aside."""
        return iter(())


# ------------------------------------------------------------------------------------------------ forms

DURATION = "duration"
REGEX = "regex"
HOST = "host"
CIDR = "cidr"
HEADER_NAME = "header name"
LITERAL = "literal"
UPPER = "upper"

Seconds = Annotated[float, msgspec.Meta(extra={"form": DURATION})]
"""In a document a duration as Go writes it: ``1.5s``, ``100ms``, ``1h30m``."""

Regex = Annotated[str, msgspec.Meta(min_length=1, max_length=PATTERN_CHARS_MAX, extra={"form": REGEX})]
"""RE2; matched against the whole value."""

HOST_CHARS_MAX = 253
HostPattern = Annotated[str, msgspec.Meta(min_length=1, extra={"form": HOST})]
"""A host, or one with a leading ``*`` label."""

Cidr = Annotated[str, msgspec.Meta(extra={"form": CIDR})]
"""An address, or a network as ``10.0.0.0/8``."""

PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Percentage = Annotated[float, msgspec.Meta(ge=0, le=100)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
COUNT_MAX = 4_294_967_295
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]
Status = Annotated[int, msgspec.Meta(ge=200, le=599)]
HeaderName = Annotated[str, msgspec.Meta(min_length=1, max_length=256, extra={"form": HEADER_NAME})]
QueryName = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
LineText = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00\r\n]*$")]
HeaderText = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00\r\n]*$", extra={"form": LITERAL})]
"""Of a header that is set. It is taken as it stands: what Envoy would replace (``%REQ(X)%``) is refused."""
Labels: TypeAlias = Mapping[str, str]

_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ms|us|µs|ns|h|m|s))+")
_PIECE = re.compile(r"([0-9.]+)(ms|us|µs|ns|h|m|s)")
DURATION_S_MAX = 315_576_000_000.0  # google.protobuf.Duration


def seconds(text: str) -> float:
    """Raises ValueError for what is no duration."""
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration")
    total = sum(float(number) * _UNIT_S[unit] for number, unit in _PIECE.findall(text))
    if total > DURATION_S_MAX:
        raise ValueError(f"{text!r} is longer than a duration can be")
    return total


_HOST = re.compile(
    r"(?:\*|(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*)\.?"
)


_HEADER_NAME = re.compile(r":?[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_header_name(text: str) -> bool:
    """RFC 9110's token, or a pseudo-header of HTTP/2."""
    return _HEADER_NAME.fullmatch(text) is not None


def is_host_pattern(text: str) -> bool:
    """A DNS name, ``*``, or a DNS name behind a first label ``*``."""
    return len(text) <= HOST_CHARS_MAX and _HOST.fullmatch(text) is not None


def regex_problem(text: str) -> str:
    """Why Envoy would not take ``text`` as a regular expression; empty if it does."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES_MAX
    try:
        size: int = re2.compile(text, options=options).programsize
    except re2.error as error:
        said = error.args[0] if error.args else ""
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    if size > REGEX_PROGRAM_SIZE_MAX:
        return f"it takes {size} steps, of which Envoy allows {REGEX_PROGRAM_SIZE_MAX}"
    return ""


def substitution_problem(regex: str, text: str) -> str:
    """Why ``text`` cannot take the place of what ``regex`` matched; empty if it can. RE2's rule: ``\\0`` to ``\\9``."""
    options = re2.Options()
    options.log_errors = False
    try:
        groups: int = re2.compile(regex, options=options).groups
    except re2.error:
        return ""  # told of the expression itself
    for found in re.finditer(r"\\(.|$)", text, re.DOTALL):
        what = found.group(1)
        if what.isdigit() and int(what) > groups:
            return f"\\{what} stands for a group that the expression does not have"
        if not what.isdigit() and what != "\\":
            return "a backslash stands before a digit or another backslash"
    return ""


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------- parts of many kinds


class StringMatch(Part, frozen=True):
    """Exactly one of its fields, or none where presence is what is asked for."""

    exact: str | None = None
    prefix: str | None = None
    regex: Regex | None = None

    @property
    def is_presence(self) -> bool:
        return self.exact is None and self.prefix is None and self.regex is None

    def faults(self) -> Iterator[Fault]:
        given = [name for name in ("exact", "prefix", "regex") if getattr(self, name) is not None]
        if len(given) > 1:
            yield Fault((given[1],), f"{' and '.join(given)} together", "give one of them")
        if self.prefix == "":
            yield Fault(("prefix",), "an empty prefix matches everything", "leave the match out")


class Selector(Part, frozen=True):
    """The workloads of a namespace that have all these labels."""

    matchLabels: Labels = NOTHING

    def selects(self, labels: Labels) -> bool:
        return all(labels.get(name) == value for name, value in self.matchLabels.items())

    def faults(self) -> Iterator[Fault]:
        yield from wildcards(self.matchLabels, ("matchLabels",))


class WorkloadSelector(Part, frozen=True):
    """The same in the kinds of Istio's networking API."""

    labels: Labels = NOTHING

    def selects(self, labels: Labels) -> bool:
        return all(labels.get(name) == value for name, value in self.labels.items())

    def faults(self) -> Iterator[Fault]:
        yield from wildcards(self.labels, ("labels",))


class TargetRef(Part, frozen=True):
    """What a policy is attached to: a ``Gateway`` of the Gateway API, or a ``Service``, of its own namespace."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""

    def faults(self) -> Iterator[Fault]:
        if (self.group, self.kind) not in (("gateway.networking.k8s.io", "Gateway"), ("", "Service")):
            yield Fault(
                ("kind",),
                f"cannot be attached to {self.kind!r} of group {self.group!r}",
                "attach it to a Gateway of gateway.networking.k8s.io or to a Service",
            )


def wildcards(labels: Labels, path: Path) -> Iterator[Fault]:
    for name, value in labels.items():
        if "*" in name or "*" in value:
            yield Fault((*path, name), "labels are compared as they are, without wildcards", "name the value")


def repeated(names: Iterable[str], path: Path, field: str) -> Iterator[Fault]:
    """Of a list at ``path`` whose items are named by ``field``: a name that stands there twice."""
    seen: dict[str, int] = {}
    for position, name in enumerate(names):
        if name and name in seen:
            yield Fault(
                (*path, position, field) if field else (*path, position),
                f"{name!r} is there already, as number {seen[name] + 1}",
                "give each a name of its own",
            )
        seen.setdefault(name, position)


def one_of(part: Part, names: Iterable[str], required: bool = True) -> Iterator[Fault]:
    """At most one of these fields is set; with ``required`` exactly one."""
    every = tuple(names)
    given = [name for name in every if getattr(part, name) not in (None, ())]
    if len(given) > 1:
        yield Fault((given[1],), f"{' and '.join(given)} exclude each other", "give one of them")
    if required and not given:
        yield Fault((), f"has none of {', '.join(every)}", "give one of them")
