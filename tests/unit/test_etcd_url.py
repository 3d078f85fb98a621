"""The text form of an etcd address."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code
from atoll.store import etcd_url
from atoll.store.etcd_url import EtcdAddress


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("etcd://a", EtcdAddress(("a:2379",))),
        ("etcd://a:1,b:2,a:1/", EtcdAddress(("a:1", "b:2"))),
        ("etcd://[::1],[fe80::1]:99", EtcdAddress(("[::1]:2379", "[fe80::1]:99"))),
        ("etcd://u:p%40s%2Fs@a:1", EtcdAddress(("a:1",), user="u", password="p@s/s")),
        ("etcd://u:p@ss@a:1", EtcdAddress(("a:1",), user="u", password="p@ss")),
        ("etcd://a:1?tls=true", EtcdAddress(("a:1",), tls=True)),
        (
            "etcd://a:1?ca=/x%20y/ca.pem&cert=c&key=k",
            EtcdAddress(("a:1",), tls=True, ca="/x y/ca.pem", cert="c", key="k"),
        ),
    ],
)
def test_an_address_is_read(url: str, address: EtcdAddress) -> None:
    assert etcd_url.parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a:1", "must begin with etcd://"),
        ("etcd://", "a host is empty"),
        ("etcd://a:1,,b:2", "a host is empty"),
        ("etcd://a:port", "after 'a' there must be a port"),
        ("etcd://a:0", "after 'a' there must be a port"),
        ("etcd://a:65536", "from 1 to 65535"),
        ("etcd://a:٣", "from 1 to 65535"),
        ("etcd://::1:2379", "write an IPv6 address as"),
        ("etcd://user@a:1", "a user, a colon and a password"),
        ("etcd://:secret@a:1", "a user, a colon and a password"),
        ("etcd://a:1/path", "it has a path"),
        ("etcd://a:1?cafile=x", "no option 'cafile', only ca, cert, key, tls"),
        ("etcd://a:1?ca=", "'ca' is empty"),
        ("etcd://a:1?cert=x", "go together"),
        ("etcd://a:1?tls=yes", "must be true or false"),
        ("etcd://a:1?tls=false&ca=x", "contradicts"),
        ("etcd://" + ",".join(f"h{n}:1" for n in range(17)), "at most 16"),
    ],
)
def test_a_mistake_is_named(url: str, says: str) -> None:
    with pytest.raises(AtollError, match=says) as refused:
        etcd_url.parse(url)
    assert refused.value.code is Code.INVALID


@pytest.mark.parametrize(
    "url",
    [
        "etcd://u:secret@a:port",
        "etcd://u:secret@a:1?x=y",
        "etcd://:secret@a:1",
        "u:secret@a",
        "etcd://u:secret",
        "etcd://u:more:secret",
        "etcd://u:more?secret@a",
    ],
)
def test_no_message_tells_the_password(url: str) -> None:
    with pytest.raises(AtollError) as refused:
        etcd_url.parse(url)
    assert "secret" not in str(refused.value)


def test_the_password_is_not_in_the_text_of_an_address() -> None:
    address = etcd_url.parse("etcd://u:secret@a:1,b:2")
    assert repr(address) == "EtcdAddress('etcd://u@a:1,b:2')"
    assert f"{address}" == "EtcdAddress('etcd://u@a:1,b:2')"
