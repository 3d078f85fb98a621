"""Dubbo's provider URLs: what becomes an endpoint, and what is left out."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from atoll.planes.mesh.model.dubbo import service_of
from atoll.resources.mesh.services import Locality, Port, Protocol

URLS: dict[str, tuple[str, list[tuple[str, int, int]]]] = {
    "usual": ("dubbo://10.0.0.1:20880/a.B?version=1", [("10.0.0.1", 20880, 100)]),
    "weighted": ("dubbo://10.0.0.1:20880/a.B?weight=7", [("10.0.0.1", 20880, 7)]),
    "weight of nothing": ("dubbo://10.0.0.1:20880/a.B?weight=0", []),
    "weight that is no number": ("dubbo://10.0.0.1:20880/a.B?weight=much", [("10.0.0.1", 20880, 100)]),
    "disabled": ("dubbo://10.0.0.1:20880/a.B?disabled=true", []),
    "not enabled": ("dubbo://10.0.0.1:20880/a.B?enabled=false", []),
    "a name": ("dubbo://host.example:20880/a.B", [("host.example", 20880, 100)]),
    "IPv6": ("dubbo://[fe80::1]:20880/a.B", [("fe80::1", 20880, 100)]),
    "no port": ("dubbo://10.0.0.1/a.B", []),
    "port out of range": ("dubbo://10.0.0.1:99999/a.B", []),
    "no URL": ("what", []),
    "a broken address": ("dubbo://[10.0.0.1:20880/a.B", []),
}


@pytest.mark.parametrize("name", URLS)
def test_a_provider(name: str) -> None:
    url, wanted = URLS[name]
    service = service_of("a.B", [quote(url, safe="")], "cluster.local")
    number = service.ports[0].number
    assert [(each.address, each.port_of(number), each.weight) for each in service.endpoints] == wanted
    assert service.host == "a.B.default.svc.cluster.local" and service.aliases == ("a.B",)


def test_protocols_are_ports_and_labels_and_zones_are_taken() -> None:
    urls = [
        "tri://10.0.0.1:50051/a.B?zone=z1&region=r1&group=g&retries=3",
        "dubbo://10.0.0.1:20880/a.B",
        "hessian://10.0.0.1:9000/a.B",
    ]
    service = service_of("a.B", [quote(url, safe="") for url in urls], "cluster.local")
    assert service.ports == (
        Port(20880, Protocol.DUBBO),
        Port(20881, Protocol.TCP),
        Port(50051, Protocol.GRPC),
    )
    endpoint = next(each for each in service.endpoints if each.port_of(50051))
    assert endpoint.port_of(20880) == 0
    assert endpoint.locality == Locality("r1", "z1") and endpoint.labels == {"group": "g"}
