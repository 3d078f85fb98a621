"""Certificates that a gateway shows to outsiders: how they are named, read, and taken up when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from atoll.errors import AtollError, Code
from atoll.host.sidecar.identity import credentials
from atoll.host.sidecar.identity.credentials import Credential, NamedCredentials, parse_credential
from atoll.host.sidecar.identity.sds import SecretServer
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.wire.xds.secrets import Secret
from tests.conformance.mesh.workloads import Authority, Identity
from tests.unit.mesh.test_secrets import HELD, ask, request, secret_of

WITHIN_S = 10.0


def files(folder: Path, identity: Identity, authority: Authority | None = None) -> Credential:
    (folder / "cert.pem").write_bytes(identity.certificate)
    (folder / "key.pem").write_bytes(identity.key)
    if authority is None:
        return Credential("shop", folder / "cert.pem", folder / "key.pem")
    (folder / "ca.pem").write_bytes(authority.pem)
    return Credential("shop", folder / "cert.pem", folder / "key.pem", folder / "ca.pem")


def test_a_credential_is_a_name_and_two_or_three_files() -> None:
    assert parse_credential("shop=a,b") == Credential("shop", Path("a"), Path("b"))
    assert parse_credential("shop=a,b,c") == Credential("shop", Path("a"), Path("b"), Path("c"))


@pytest.mark.parametrize("text", ["shop", "shop=a", "=a,b", "shop=a,b,c,d", "default=a,b", "ROOTCA=a,b"])
def test_what_is_no_credential_is_refused(text: str) -> None:
    with pytest.raises(AtollError) as caught:
        parse_credential(text)
    assert caught.value.code is Code.INVALID


def test_the_authority_of_clients_bears_the_name_with_a_suffix(tmp_path: Path) -> None:
    authority = Authority()
    found = credentials.read([files(tmp_path, authority.issue(dns=("shop.example",)), authority)])
    assert sorted(found) == ["shop", "shop-cacert"]


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    one, other = authority.issue(dns=("a",)), authority.issue(dns=("b",))
    with pytest.raises(AtollError) as caught:
        credentials.read([files(tmp_path, Identity(one.certificate, other.key))])
    assert caught.value.code is Code.INVALID
    assert "is not the key of" in caught.value.message


def test_keys_of_any_kind_are_compared(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(AtollError) as caught:
        credentials.read([files(tmp_path, Identity(Authority().issue(dns=("a",)).certificate, pem))])
    assert "is not the key of" in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AtollError) as caught:
        credentials.read([Credential("shop", tmp_path / "gone.pem", tmp_path / "key.pem")])
    assert "gone.pem" in caught.value.message


def test_a_pair_that_changes_is_taken_up_and_half_a_pair_is_not(tmp_path: Path) -> None:
    authority = Authority()
    first, second = authority.issue(dns=("a",)), authority.issue(dns=("a",))
    told: list[Mapping[str, Secret]] = []

    async def until(count: int) -> None:
        async with loop.bounded(WITHIN_S, f"{count} tellings"):
            while len(told) < count:
                await asyncio.sleep(0)

    async def main() -> None:
        named = NamedCredentials([files(tmp_path, first)], told.append, look_every_s=0.001)
        await named.open()
        assert len(told) == 1
        (tmp_path / "cert.pem").write_bytes(second.certificate)
        (tmp_path / "key.pem").write_bytes(second.key)
        await until(2)
        await named.close()

    asyncio.run(main())
    assert told[0]["shop"].version != told[1]["shop"].version
    assert told[1] == credentials.read([files(tmp_path, second)])


def test_a_gateways_envoy_is_served_them_beside_its_own_identity(tmp_path: Path) -> None:
    authority = Authority()
    named = credentials.read([files(tmp_path, authority.issue(dns=("a",)))])

    async def main() -> list[str]:
        server = SecretServer(tmp_path / "sds.sock", lambda pid: True, BootClock())
        await server.open()
        server.serve_also(named)
        await server.hold(HELD)
        try:
            async with loop.bounded(WITHIN_S, "the answers"):
                answers = [await ask(tmp_path / "sds.sock", request(name)) for name in ("shop", "default")]
        finally:
            await server.close()
        return [secret_of(answer).name for answer in answers]

    assert asyncio.run(main()) == ["shop", "default"]
