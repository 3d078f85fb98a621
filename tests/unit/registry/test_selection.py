"""Which instances a consumer is given: every combination of what the decision looks at, and upstream's slips apart."""

from __future__ import annotations

import itertools

import pytest

from atoll.errors import AtollError, Reason
from atoll.planes.registry.model import selectors
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.policy import selection
from atoll.resources.instance import Instance
from atoll.resources.service import Selector, Service
from tests.unit.registry.naming_kit import KEY, at

HEALTH = list(itertools.product([True, False], repeat=3))
THRESHOLDS = [0.0, 0.34, 0.5, 0.67, 1.0]
SERVICES: list[float | None] = [None, *THRESHOLDS]  # None: no record


def no_labels(address: str) -> dict[str, str]:
    return {}


def chosen(
    instances: list[Instance], service: Service | None, wanted: Selection, strict: bool = False
) -> tuple[list[int], bool]:
    """The ports, those shown unhealthy negative, and whether protection was reached."""
    found = selection.select(instances, service, wanted, no_labels, strict)
    return [each.port if each.healthy else -each.port for each in found.hosts], found.protected


@pytest.mark.parametrize("threshold", SERVICES, ids=str)
@pytest.mark.parametrize("healthy_only", [True, False], ids=["healthy-only", "all"])
@pytest.mark.parametrize("healthy", HEALTH, ids=lambda row: "".join("hu"[not each] for each in row))
def test_the_threshold_protects_the_few_that_are_healthy(
    healthy: tuple[bool, ...], healthy_only: bool, threshold: float | None
) -> None:
    instances = [at(port, healthy=alive) for port, alive in enumerate(healthy, 1)]
    service = None if threshold is None else Service(key=KEY, protect_threshold=threshold)
    alive = [port for port, each in enumerate(healthy, 1) if each]
    if threshold and not all(healthy) and len(alive) <= threshold * 3:
        expected = ([1, 2, 3], True)
    elif healthy_only:
        expected = (alive, False)
    else:
        expected = ([port if each else -port for port, each in enumerate(healthy, 1)], False)
    assert chosen(instances, service, Selection(healthy_only=healthy_only)) == expected


@pytest.mark.parametrize("threshold", SERVICES, ids=str)
@pytest.mark.parametrize("healthy_only", [True, False], ids=["healthy-only", "all"])
@pytest.mark.parametrize("healthy", HEALTH, ids=lambda row: "".join("hu"[not each] for each in row))
def test_the_strict_form_has_the_slips_of_upstream(
    healthy: tuple[bool, ...], healthy_only: bool, threshold: float | None
) -> None:
    instances = [at(port, healthy=alive) for port, alive in enumerate(healthy, 1)]
    service = None if threshold is None else Service(key=KEY, protect_threshold=threshold)
    hosts = [each for each in instances if each.healthy or not healthy_only]
    count = sum(each.healthy for each in hosts)
    if threshold is not None and hosts and count / len(hosts) <= threshold:
        expected = ([each.port for each in hosts], True)
    else:
        expected = ([each.port if each.healthy else -each.port for each in hosts], False)
    assert chosen(instances, service, Selection(healthy_only=healthy_only), strict=True) == expected


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "ours"])
@pytest.mark.parametrize("enabled_only", [True, False], ids=["enabled", "all"])
@pytest.mark.parametrize("clusters", ["", "a", "b", "a,b", " b , a ,", "c"])
def test_clusters_and_enabled_are_asked_for_first(clusters: str, enabled_only: bool, strict: bool) -> None:
    instances = [
        at(port, cluster=cluster, enabled=enabled)
        for port, (cluster, enabled) in enumerate(itertools.product("ab", [True, False]), 1)
    ]
    asked = Selection.of_text(clusters)
    wanted = Selection(asked.clusters, enabled_only=enabled_only)
    names = {name.strip() for name in clusters.split(",")} - {""}
    expected = [
        each.port
        for each in instances
        if (each.cluster in names or not names) and (each.enabled or not enabled_only)
    ]
    assert chosen(instances, Service(key=KEY, protect_threshold=0.5), wanted, strict) == (expected, False)


def test_disabled_instances_count_nothing_towards_the_threshold() -> None:
    instances = [at(1), at(2, healthy=False), at(3, enabled=False), at(4, enabled=False)]
    assert chosen(instances, Service(key=KEY, protect_threshold=0.5), Selection()) == ([1, 2], True)
    assert chosen(instances, Service(key=KEY, protect_threshold=0.4), Selection()) == ([1, -2], False)


ZONED = [
    at(1, metadata={"zone": "a", "region": "r1"}),
    at(2, metadata={"zone": "b", "region": "r1"}),
    at(3, metadata={"zone": "c", "region": "r2"}),
    at(4),
]
NEAR = {
    "same zone": ({"zone": "a", "region": "r1"}, [1]),
    "zone away, same region": ({"zone": "x", "region": "r1"}, [1, 2]),
    "no zone, same region": ({"region": "r2"}, [3]),
    "nothing shared": ({"zone": "x", "region": "x"}, [1, 2, 3, 4]),
    "no labels": ({}, [1, 2, 3, 4]),
}


@pytest.mark.parametrize(("labels", "ports"), NEAR.values(), ids=NEAR)
def test_the_nearest_that_has_a_healthy_instance_serves(labels: dict[str, str], ports: list[int]) -> None:
    service = Service(key=KEY, selector=Selector("nearby"))
    assert chosen(ZONED, service, Selection(labels=labels)) == (ports, False)


def test_a_zone_without_a_healthy_instance_is_passed_over() -> None:
    dead = [at(1, healthy=False, metadata={"zone": "a"}), at(2, metadata={"zone": "b"})]
    service = Service(key=KEY, selector=Selector("nearby", "zone"))
    assert chosen(dead, service, Selection(labels={"zone": "a"})) == ([-1, 2], False)


def test_labels_of_an_operator_win_over_those_of_clients_and_instances() -> None:
    fixed = {"10.0.0.1": {"zone": "z"}, "10.9.9.9": {"zone": "z"}}
    service = Service(key=KEY, selector=Selector("label", "CONSUMER.label.zone = PROVIDER.label.zone"))
    wanted = Selection(address="10.9.9.9", labels={"zone": "a"})
    found = selection.select(ZONED, service, wanted, lambda address: fixed.get(address, {}))
    assert [each.port for each in found.hosts] == [1, 2, 3, 4]
    assert chosen(ZONED, service, wanted) == ([1], False)


EXPRESSIONS = {
    "": (),
    "CONSUMER.label.a=PROVIDER.label.a": ("a",),
    "CONSUMER.label.a = PROVIDER.label.a & CONSUMER.label.b=PROVIDER.label.b": ("a", "b"),
    "CONSUMER.label.a=PROVIDER.label.b": None,
    "PROVIDER.label.a=CONSUMER.label.a": None,
    "a=b": None,
    "&".join(f"CONSUMER.label.{n}=PROVIDER.label.{n}" for n in range(17)): None,
}


@pytest.mark.parametrize(("expression", "labels"), EXPRESSIONS.items(), ids=lambda each: str(each)[:40])
def test_expressions_are_read_or_refused(expression: str, labels: tuple[str, ...] | None) -> None:
    if labels is not None:
        assert selectors.labels_in(Selector("label", expression)) == labels
        return
    with pytest.raises(AtollError) as caught:
        selectors.labels_in(Selector("label", expression))
    assert caught.value.reason is Reason.SELECTOR_INVALID


def test_an_unknown_kind_of_selector_is_refused_by_name() -> None:
    with pytest.raises(AtollError, match="label, nearby, none"):
        selectors.labels_in(Selector("random"))
