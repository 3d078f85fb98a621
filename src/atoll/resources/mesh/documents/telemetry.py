"""Istio's ``Telemetry`` (telemetry.istio.io/v1): access logs and traces of workloads.

Rule: as ``parts``. A workload's takes the place of its namespace's, that of the mesh's, for logs and for traces apart.
Providers are the mesh's own settings: ``envoy`` (the access log), ``otel`` (OpenTelemetry); without any: what is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import Fault, Part, Percentage, Selector, TargetRef, one_of
from atoll.resources.records import NOTHING

PROVIDERS = ("envoy", "otel")
Side = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]


class SideSelector(Part, frozen=True):
    mode: Side = "CLIENT_AND_SERVER"


class ProviderRef(Part, frozen=True):
    name: str

    def faults(self) -> Iterator[Fault]:
        if self.name not in PROVIDERS:
            yield Fault(("name",), f"there is no provider {self.name!r}", f"one of {', '.join(PROVIDERS)}")


class LiteralTag(Part, frozen=True):
    value: Annotated[str, msgspec.Meta(min_length=1)]


class NamedTag(Part, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    defaultValue: str = ""


class CustomTag(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"formatter": "write literal, environment or header"}

    literal: LiteralTag | None = None
    environment: NamedTag | None = None
    header: NamedTag | None = None

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("literal", "environment", "header"))


class Tracing(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "useRequestIdForTraceSampling": "it is always so",
        "enableIstioTags": "tags of the mesh are always set",
        "disableContextPropagation": "the context always goes on, as the application needs it",
    }

    match: SideSelector = SideSelector()
    providers: tuple[ProviderRef, ...] = ()
    randomSamplingPercentage: Percentage | None = None
    disableSpanReporting: bool | None = None
    customTags: Mapping[str, CustomTag] = NOTHING


class LogFilter(Part, frozen=True):
    """``expression``: comparisons of ``response.code`` and ``response.duration`` (ms) with numbers, ``&&`` and ``||``
    between them (``&&`` binds closer): what Envoy's own filters say without an interpreter of CEL.
    """

    expression: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]

    def faults(self) -> Iterator[Fault]:
        for part in re.split(r"&&|\|\|", self.expression):
            if not COMPARISON.fullmatch(part.strip()):
                yield Fault(
                    ("expression",), f"{part.strip()!r} is not understood", "write response.code >= 400, say"
                )


COMPARISON = re.compile(
    r"(?P<what>response\.code|response\.duration) *(?P<how>>=|<=|==|>|<|!=) *(?P<number>[0-9]{1,9})"
)


class AccessLogging(Part, frozen=True):
    match: SideSelector = SideSelector()
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


class Telemetry(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "metrics": "metrics are those of the proxy, by listener, route and cluster; select them where they are scraped",
        "targetRef": "write targetRefs: [...]",
    }

    selector: Selector | None = None
    targetRefs: tuple[TargetRef, ...] = ()
    tracing: tuple[Tracing, ...] = ()
    accessLogging: tuple[AccessLogging, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if self.selector is not None and self.targetRefs:
            yield Fault(("targetRefs",), "selector and targetRefs exclude each other", "give one of them")
