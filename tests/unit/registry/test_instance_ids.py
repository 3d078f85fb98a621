"""Ids that instances ask for."""

from __future__ import annotations

from atoll.planes.registry.policy.instance_ids import EPOCH_MS, InstanceIds
from atoll.resources.instance import Instance
from atoll.resources.service import ServiceKey

KEY = ServiceKey("public", "G", "s")
NOW_MS = 1_795_000_000_000
ASKS = {"preserved.instance.id.generator": "snowflake"}


def test_ids_grow_and_are_never_the_same() -> None:
    ids = InstanceIds("n1")
    drawn = [ids.draw(NOW_MS) for _ in range(10_000)] + [ids.draw(NOW_MS - 5), ids.draw(NOW_MS + 100)]
    assert drawn == sorted(set(drawn))
    assert drawn[0] >> 22 == NOW_MS - EPOCH_MS
    assert drawn[-1] < 2**63


def test_nodes_draw_different_ones() -> None:
    assert InstanceIds("n1").draw(NOW_MS) != InstanceIds("n2").draw(NOW_MS)


def test_who_does_not_ask_keeps_the_usual_id() -> None:
    plain = Instance("10.0.0.1", 80, metadata={"a": "b"})
    assert InstanceIds("n1").named(KEY, plain, None, NOW_MS) is plain


def test_an_id_stays_with_its_instance() -> None:
    ids = InstanceIds("n1")
    first = ids.named(KEY, Instance("10.0.0.1", 80, metadata=ASKS), None, NOW_MS)
    number, _, rest = first.instance_id.partition("#")
    assert (int(number) > 0, rest) == (True, "DEFAULT#G@@s")
    again = ids.named(KEY, Instance("10.0.0.1", 80, weight=2.0, metadata=ASKS), first, NOW_MS + 1)
    assert again.instance_id == first.instance_id
    other = ids.named(KEY, Instance("10.0.0.2", 80, metadata=ASKS), None, NOW_MS + 1)
    assert other.instance_id != first.instance_id
