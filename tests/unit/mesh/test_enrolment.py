"""Who gets which identity: by uid, by join token, by the present certificate; and what a signing request may say."""

from __future__ import annotations

import os
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from atoll.client import mesh_doors
from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.model import authority_keys
from atoll.resources.actor import Actor
from atoll.resources.mesh import join_token
from atoll.resources.mesh.authority_api import CertificateNamed, TokenOrder, UserOrder
from atoll.resources.mesh.identity import EnrolOrder
from atoll.runtime import keys, loop
from atoll.runtime.peer import Peer
from atoll.store.api import Range, prefix_end
from atoll.wire.x509 import certificates
from tests.unit.mesh.authority_kit import Mesh, Node, credentials, order, run, until

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
STRANGER = Peer("unix:uid=4711", uid=4711)
NOBODY = Actor()


def refused(error: AtollError, code: Code, text: str) -> None:
    assert (error.code, text in error.message) == (code, True), error


async def enrol_as(node: Node, peer: Peer, wanted: EnrolOrder) -> Any:
    """What ``peer`` gets: the certificate, or the error."""
    try:
        return await node.authority.issuing.enrol(wanted, peer, NOBODY)
    except AtollError as error:
        return error


def test_the_nodes_own_user_gets_a_certificate_of_the_service_that_stands_under_the_root() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        key = keys.new_private_key()
        issued = await node.local.enrol(order(key, instance="i-1"))
        leaf, intermediate = certificates.split(issued.chain)
        facts = certificates.read(leaf)
        assert facts.uris == (issued.spiffe_id,) == (REVIEWS,)
        assert not facts.is_authority
        assert not facts.name
        assert certificates.is_signed_by(leaf, intermediate)
        assert certificates.is_signed_by(intermediate, issued.bundle.roots)
        assert certificates.public_key_of(leaf) == certificates.public_key_of_private(key)
        assert issued.ttl_s == pytest.approx(86_400, abs=5)
        assert facts.not_before_s == pytest.approx(mesh.clock.wall_s() - certificates.BACKDATED_S, abs=5)
        shown = await node.operator.certificates()
        assert [(each.spiffe_id, each.instance, each.how) for each in shown] == [
            (REVIEWS, "i-1", f"uid {os.getuid()}")
        ]

    run(scenario)


def test_another_uid_may_be_nothing_until_it_is_mapped_and_then_that_alone() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        wanted = order(keys.new_private_key())
        denied = await enrol_as(node, STRANGER, wanted)
        refused(denied, Code.DENIED, "uid 4711 may not be default/reviews; it may be none")
        await node.operator.map_user(UserOrder(4711, ("default/reviews", "shop/*"), node="n2"))
        assert isinstance(await enrol_as(node, STRANGER, wanted), AtollError), "that is another machine's uid"
        await node.operator.map_user(UserOrder(4711, ("default/reviews", "shop/*")))
        assert (await enrol_as(node, STRANGER, wanted)).spiffe_id == REVIEWS
        shop = order(keys.new_private_key(), "cart", namespace="shop")
        assert (await enrol_as(node, STRANGER, shop)).spiffe_id == "spiffe://cluster.local/ns/shop/sa/cart"
        other = await enrol_as(node, STRANGER, order(keys.new_private_key(), "ratings"))
        refused(other, Code.DENIED, "it may be default/reviews, shop/*")
        await node.operator.map_user(UserOrder(4711))
        assert isinstance(await enrol_as(node, STRANGER, wanted), AtollError)

    run(scenario)


def test_nobody_gets_the_nodes_own_identity() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        wanted = order(keys.new_private_key(), "atoll", namespace="atoll-system")
        refused(await enrol_as(node, Peer("", uid=0), wanted), Code.DENIED, "the nodes' own")
        with pytest.raises(AtollError, match="the nodes' own"):
            await node.operator.make_token(TokenOrder("atoll", "atoll-system"))
        with pytest.raises(AtollError, match="the nodes' own"):
            await node.operator.map_user(UserOrder(4711, ("atoll-system/*",)))

    run(scenario)


def test_who_proves_nothing_gets_nothing() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        denied = await enrol_as(node, Peer("10.0.0.1:1"), order(keys.new_private_key()))
        refused(denied, Code.DENIED, "nothing proves who asks")

    run(scenario)


# -------------------------------------------------------------------------------------------- tokens


def test_a_join_token_is_good_once_for_its_service_over_a_pinned_connection() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        made = await node.operator.make_token(TokenOrder("reviews"))
        token = join_token.parse(made.token)
        door = await mesh_doors.by_token([node.xds], token)
        wanted = order(keys.new_private_key(), token=token.secret)
        with pytest.raises(AtollError, match="not for default/ratings") as raised:
            await door.enrol(order(keys.new_private_key(), "ratings", token=token.secret))
        assert raised.value.code is Code.DENIED
        assert (await door.enrol(wanted)).spiffe_id == REVIEWS
        with pytest.raises(AtollError, match="unknown, used or over") as raised:
            await door.enrol(wanted)
        assert raised.value.reason is Reason.INVALID_TOKEN
        shown = await node.operator.certificates()
        assert [each.how for each in shown] == ["token"]

    run(scenario)


def test_of_two_who_show_the_same_token_at_once_one_gets_a_certificate() -> None:
    async def scenario(mesh: Mesh) -> None:
        nodes = [await mesh.start("n1"), await mesh.start("n2")]
        for _ in range(5):
            made = await nodes[0].operator.make_token(TokenOrder("reviews"))
            secret = join_token.parse(made.token).secret
            asks = [
                enrol_as(node, Peer("10.0.0.1:1"), order(keys.new_private_key(), token=secret))
                for node in nodes * 3
            ]
            found = await loop.gather(*asks)
            got = [each for each in found if not isinstance(each, AtollError)]
            assert len(got) == 1
            assert {each.code for each in found if isinstance(each, AtollError)} == {Code.DENIED}

    run(scenario)


def test_a_token_that_is_over_is_refused_and_only_its_hash_is_stored() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        made = await node.operator.make_token(TokenOrder("reviews", ttl_s=60))
        secret = join_token.parse(made.token).secret
        found = await mesh.store.range(Range(authority_keys.AUTHORITY, prefix_end(authority_keys.AUTHORITY)))
        assert any(kv.key.startswith(authority_keys.TOKENS) for kv in found.kvs)
        assert all(secret.encode() not in kv.key + kv.value for kv in found.kvs)
        mesh.clock.ahead_s = 61
        wanted = order(keys.new_private_key(), token=secret)
        refused(await enrol_as(node, Peer("10.0.0.1:1"), wanted), Code.DENIED, "unknown, used or over")

    run(scenario)


def test_a_wrong_token_is_not_made_good_by_a_uid() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        wanted = order(keys.new_private_key(), token="a" * 32)
        refused(await enrol_as(node, Peer("", uid=os.getuid()), wanted), Code.DENIED, "unknown, used or over")

    run(scenario)


def test_the_token_does_not_go_to_another_mesh() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        made = await node.operator.make_token(TokenOrder("reviews"))
        token = join_token.parse(made.token)
        with pytest.raises(AtollError, match="another mesh") as raised:
            await mesh_doors.by_token([node.xds], join_token.JoinText(token.secret, "0" * 64))
        assert raised.value.code is Code.DENIED

    run(scenario)


@pytest.mark.parametrize("text", ["", "atoll-join.x.y", "atoll-join." + "a" * 32, "a" * 32])
def test_what_is_no_join_token_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(AtollError, match="expected atoll-join.SECRET.ROOT"):
        join_token.parse(text)


# ------------------------------------------------------------------------------------------- renewal


def test_a_certificate_renews_its_own_identity_and_no_other() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        key = keys.new_private_key()
        first = await node.local.enrol(order(key))
        door = mesh_doors.by_certificate([node.xds], credentials(key, first), first.bundle)
        new_key = keys.new_private_key()
        second = await door.enrol(order(new_key, replaces=first.serial))
        assert second.serial != first.serial
        await until(lambda: len(node.authority.certificates()) == 1, "the first line to be superseded")
        assert [each.serial for each in node.authority.certificates()] == [second.serial]
        with pytest.raises(AtollError, match="renews that identity only") as raised:
            await door.enrol(order(new_key, "ratings"))
        assert raised.value.code is Code.DENIED
        # The answer to the first renewal may have been lost: whoever still holds the old one asks again.
        assert (await door.enrol(order(new_key, replaces=first.serial))).spiffe_id == REVIEWS

    run(scenario)


def test_a_withdrawn_certificate_renews_nothing() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        key = keys.new_private_key()
        first = await node.local.enrol(order(key))
        door = mesh_doors.by_certificate([node.xds], credentials(key, first), first.bundle)
        assert (await node.operator.withdraw(CertificateNamed(first.serial))).removed
        await until(lambda: not node.authority.certificates(), "the ledger to lose the certificate")
        with pytest.raises(AtollError, match="was withdrawn") as raised:
            await door.enrol(order(keys.new_private_key()))
        assert raised.value.code is Code.DENIED
        assert not (await node.operator.withdraw(CertificateNamed(first.serial))).removed

    run(scenario)


def test_a_lifetime_is_at_most_the_nodes_and_never_longer_than_the_intermediates() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start(ttl_s=3600.0)
        for asked_s, given_s in ((0.0, 3600), (600.0, 600), (90_000.0, 3600)):
            issued = await node.local.enrol(order(keys.new_private_key(), ttl_s=asked_s))
            assert issued.ttl_s == pytest.approx(given_s, abs=5)
        with pytest.raises(AtollError, match="at least 30 s"):
            await node.local.enrol(order(keys.new_private_key(), ttl_s=1.0))

    run(scenario)


# --------------------------------------------------------------------------------- signing requests


def _csr(key: Any, *names: x509.GeneralName) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _tampered() -> str:
    """A request whose key is not the one that signed it."""
    der = bytearray(
        x509.load_pem_x509_csr(_csr(ec.generate_private_key(ec.SECP256R1())).encode()).public_bytes(
            serialization.Encoding.DER
        )
    )
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = other.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    begin = der.index(b"\x03\x42\x00\x04") + 3
    der[begin : begin + 65] = point
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("csr", "named"),
    [
        ("", "not a certificate signing request"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "not a certificate"),
        ("x" * 20_000, "more than 16384 bytes"),
        (_tampered(), "not signed by the key that is in it"),
        (_csr(rsa.generate_private_key(65_537, 2048)), "of another kind"),
        (_csr(ec.generate_private_key(ec.SECP521R1())), "of another kind"),
        (
            _csr(ec.generate_private_key(ec.SECP256R1()), x509.UniformResourceIdentifier(REVIEWS + "2")),
            "what is granted is " + REVIEWS,
        ),
        (_csr(ec.generate_private_key(ec.SECP256R1()), x509.DNSName("reviews")), "names 'reviews'"),
        (
            _csr(
                ec.generate_private_key(ec.SECP256R1()),
                x509.UniformResourceIdentifier(REVIEWS),
                x509.DNSName("other"),
            ),
            "names 'other'",
        ),
    ],
)
def test_a_signing_request_is_refused_by_what_is_wrong_with_it(csr: str, named: str) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        found = await enrol_as(node, Peer("", uid=0), EnrolOrder("reviews", "default", csr))
        refused(found, Code.INVALID, named)
        assert node.authority.certificates() == []

    run(scenario)


def test_a_signing_request_may_name_what_is_granted() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        issued = await node.local.enrol(order(keys.new_private_key(), names=(REVIEWS,)))
        assert issued.spiffe_id == REVIEWS
        curve = ec.generate_private_key(ec.SECP384R1())
        assert (await node.local.enrol(EnrolOrder("reviews", "default", _csr(curve)))).spiffe_id == REVIEWS

    run(scenario)


@pytest.mark.parametrize(
    ("service", "namespace"), [("", "default"), ("a/b", "default"), ("a~b", "x"), ("a", "x.y"), ("a", "")]
)
def test_a_name_that_no_identity_can_have_is_refused(service: str, namespace: str) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        wanted = order(keys.new_private_key(), service, namespace=namespace)
        refused(await enrol_as(node, Peer("", uid=0), wanted), Code.INVALID, "must")

    run(scenario)


# ----------------------------------------------------------------------------------- the store is away


def test_while_the_store_is_away_what_uses_nothing_up_is_given_and_noted_later() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        made = await node.operator.make_token(TokenOrder("reviews"))
        secret = join_token.parse(made.token).secret
        mesh.store.away = True
        issued = await node.local.enrol(order(keys.new_private_key()))
        assert issued.spiffe_id == REVIEWS
        assert node.authority.certificates() == []
        token = order(keys.new_private_key(), token=secret)
        refused(await enrol_as(node, Peer("10.0.0.1:1"), token), Code.UNAVAILABLE, "away")
        mesh.store.away = False
        await until(node.authority.certificates, "the ledger to be paid what it is owed")
        assert [each.serial for each in node.authority.certificates()] == [issued.serial]
        assert not isinstance(await enrol_as(node, Peer("10.0.0.1:1"), token), AtollError)

    run(scenario)
