"""Who an xDS client may say that it is: its certificate decides, its node.id must agree."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code
from atoll.planes.mesh.policy.identities import Workload, parse_spiffe_id, require_node

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"


def test_a_node_that_names_its_own_service_is_let_in() -> None:
    found = require_node(REVIEWS, "sidecar~reviews.default~7f", "cluster.local")
    assert found == Workload("cluster.local", "default", "reviews")
    assert found.spiffe_id == REVIEWS


@pytest.mark.parametrize(
    ("spiffe_id", "node_id", "named"),
    [
        ("", "sidecar~reviews.default~7f", "no certificate"),
        (REVIEWS, "sidecar~ratings.default~7f", "ratings.default"),
        (REVIEWS, "sidecar~reviews.other~7f", "reviews.other"),
        (REVIEWS, "reviews", "is not KIND~SERVICE.NAMESPACE~INSTANCE"),
        (REVIEWS, "sidecar~reviews.default.svc~7f", "speaks of reviews.default.svc"),
        (REVIEWS.replace("cluster.local", "elsewhere"), "sidecar~reviews.default~7f", "elsewhere"),
        ("spiffe://cluster.local/reviews", "sidecar~reviews.default~7f", "is not a workload's identity"),
        (REVIEWS + "/more", "sidecar~reviews.default~7f", "is not a workload's identity"),
    ],
)
def test_any_other_node_is_denied_with_what_differs(spiffe_id: str, node_id: str, named: str) -> None:
    with pytest.raises(AtollError, match=named) as raised:
        require_node(spiffe_id, node_id, "cluster.local")
    assert raised.value.code is Code.DENIED


def test_an_identity_has_one_spelling() -> None:
    for text in (
        "spiffe://Cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/ns/a/sa/b",
        "spiffe://c/ns/a/sa/",
    ):
        with pytest.raises(AtollError):
            parse_spiffe_id(text)
