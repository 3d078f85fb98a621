"""Which instances a consumer is given: clusters, enabled, selector, health, and the protect threshold.

Rule: the order of nacos-wire 5.4. Two of upstream's slips are put right unless ``strict``: with ``healthy_only`` the
threshold protects as well (it would be of no use to those who ask for the healthy alone), and a threshold of 0 never
protects (upstream hands out a dead service as healthy as soon as it has a record).

Source: the order of Nacos 2.4.3 for the strict form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from atoll.planes.registry.model import selectors
from atoll.planes.registry.model.naming import Hosts, Selection
from atoll.resources.instance import Instance
from atoll.resources.service import Service

LabelsOf: TypeAlias = Callable[[str], Mapping[str, str]]
"""The labels that an operator gave to an address (an IP)."""


def select(
    instances: Sequence[Instance],
    service: Service | None,
    wanted: Selection,
    labels_of: LabelsOf,
    strict: bool = False,
) -> Hosts:
    """``instances`` with operators' overrides applied; ``service`` None: the service has no record."""
    asked = [each for each in instances if _asked(each, wanted)]
    if strict:
        return _strict(asked, service, wanted, labels_of)
    if service is not None:
        asked = selectors.choose(service.selector, asked, wanted, labels_of)
        if reached(asked, service.protect_threshold):
            return Hosts(tuple(_shown_healthy(asked)), True)
    return Hosts(tuple(_healthy(asked) if wanted.healthy_only else asked))


def reached(instances: Sequence[Instance], threshold: float) -> bool:
    """Whether so few are healthy that the unhealthy have to serve as well."""
    healthy = sum(each.healthy for each in instances)
    return threshold > 0 and healthy < len(instances) and healthy <= threshold * len(instances)


def _strict(asked: list[Instance], service: Service | None, wanted: Selection, labels_of: LabelsOf) -> Hosts:
    """As upstream does it, slips included: for clients that came to depend on them."""
    hosts = _healthy(asked) if wanted.healthy_only else asked
    if service is None:
        return Hosts(tuple(hosts))
    hosts = selectors.choose(service.selector, hosts, wanted, labels_of)
    healthy = len(_healthy(hosts))
    if hosts and healthy / len(hosts) <= max(service.protect_threshold, 0.0):
        return Hosts(tuple(_shown_healthy(hosts)), True)
    return Hosts(tuple(hosts))


def _asked(instance: Instance, wanted: Selection) -> bool:
    if wanted.clusters and instance.cluster not in wanted.clusters:
        return False
    return instance.enabled or not wanted.enabled_only


def _healthy(instances: Iterable[Instance]) -> list[Instance]:
    return [each for each in instances if each.healthy]


def _shown_healthy(instances: Iterable[Instance]) -> list[Instance]:
    return [each if each.healthy else replace(each, healthy=True) for each in instances]
