"""What a change of services leaves untouched, and what an empty list of endpoints means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, EmptyEndpoints, world_of
from atoll.resources.mesh.documents.kinds import FORMS, Document, DocumentKey, Kind
from atoll.resources.mesh.services import Endpoint, MeshService, Port

ONE, TWO = Endpoint("127.0.0.1", 4001), Endpoint("127.0.0.1", 4002)
REVIEWS = MeshService("reviews.default.svc.cluster.local", "reviews", "default", endpoints=(ONE,))
RATINGS = MeshService("ratings.default.svc.cluster.local", "ratings", "default", endpoints=(TWO,))
WORLD = world_of({one.host: one for one in (REVIEWS, RATINGS)})


def test_a_change_of_endpoints_keeps_all_faces() -> None:
    more = msgspec.structs.replace(REVIEWS, endpoints=(ONE, TWO))
    changed = WORLD.with_services({more.host: more})
    assert changed.services[more.host].endpoints == (ONE, TWO)
    assert changed.faces is WORLD.faces
    assert changed.services[RATINGS.host] is WORLD.services[RATINGS.host]


def test_what_says_the_same_again_is_the_same_object() -> None:
    again = msgspec.structs.replace(REVIEWS, endpoints=(Endpoint("127.0.0.1", 4001),))
    assert WORLD.with_services({again.host: again}).services[again.host] is WORLD.services[again.host]


def test_the_first_endpoint_behind_a_sidecar_changes_the_face_of_its_service_alone() -> None:
    secured = msgspec.structs.replace(ONE, mutual_tls=True, account="reviewer")
    changed = WORLD.with_services({REVIEWS.host: msgspec.structs.replace(REVIEWS, endpoints=(secured,))})
    face = changed.faces[REVIEWS.host]
    assert (face.mutual_tls, face.accounts) == (True, ("reviewer", "reviews"))
    assert changed.faces[RATINGS.host] is WORLD.faces[RATINGS.host]


def test_an_empty_list_keeps_the_last_endpoints_unless_the_policy_says_empty() -> None:
    empty = msgspec.structs.replace(REVIEWS, endpoints=())
    assert WORLD.with_services({empty.host: empty}).services[empty.host].endpoints == (ONE,)
    believing = WORLD.with_choices(Choices(empty_endpoints=EmptyEndpoints.EMPTY))
    assert believing.with_services({empty.host: empty}).services[empty.host].endpoints == ()


def test_a_service_that_is_gone_is_gone_with_its_face() -> None:
    changed = WORLD.with_services({REVIEWS.host: None, "never.there": None})
    assert set(changed.services) == set(changed.faces) == {RATINGS.host}


def _peers(name: str, spec: Mapping[str, Any], namespace: str = "default") -> Document[Any]:
    parsed = msgspec.convert(spec, FORMS[Kind.PEER_AUTHENTICATION].spec)
    return Document(DocumentKey(Kind.PEER_AUTHENTICATION, namespace, name), parsed, "0badcafe")


def test_where_a_server_turns_tls_off_its_callers_follow() -> None:
    endpoints = (
        msgspec.structs.replace(ONE, mutual_tls=True, labels={"version": "v1"}),
        msgspec.structs.replace(TWO, mutual_tls=True, labels={"version": "v2"}),
        Endpoint("127.0.0.1", 4003),
    )
    service = msgspec.structs.replace(REVIEWS, ports=(Port(80), Port(81)), endpoints=endpoints)
    narrow = _peers("v1", {"selector": {"matchLabels": {"version": "v1"}}, "mtls": {"mode": "DISABLE"}})
    by_port = _peers(
        "v2",
        {
            "selector": {"matchLabels": {"version": "v2"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"81": {"mode": "DISABLE"}},
        },
    )
    world = world_of({service.host: service, RATINGS.host: RATINGS}, policies=Policies([narrow, by_port]))
    assert [one.plain_ports for one in world.services[service.host].endpoints] == [(80, 81), (81,), ()]
    assert world.services[RATINGS.host] is RATINGS
    secure = world.with_policies(world.policies.with_changes({narrow.key: None, by_port.key: None}))
    assert secure.services[service.host] is service


def test_policies_that_are_no_matter_of_tls_leave_services_alone() -> None:
    strict = _peers("mesh", {"mtls": {"mode": "STRICT"}}, "istio-system")
    assert WORLD.with_policies(Policies([strict])).services[REVIEWS.host] is REVIEWS
