"""Secrets of a workload's agent: one stream of them, and who may have one."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2
from envoy.service.discovery.v3 import discovery_pb2

from atoll.errors import ProtocolFault
from atoll.host.sidecar.identity.held import Held
from atoll.host.sidecar.identity.sds import SecretServer
from atoll.resources.mesh.identity import Bundle, Issued
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.wire.xds import secrets
from atoll.wire.xds.secrets import Secret, SecretStream

BUNDLE = Bundle("v1", "cluster.local", "ROOT", "spiffe://cluster.local/ns/atoll-system/sa/atoll")
ISSUED = Issued("spiffe://cluster.local/ns/default/sa/a", "CHAIN", "1f", 0.0, 100.0, 100.0, BUNDLE)
HELD = Held("KEY", ISSUED, BUNDLE, "v1", "v1", 0.0)


def known(chain: str = "CHAIN", roots: str = "ROOT") -> dict[str, Secret]:
    found = (
        secrets.certificate("default", chain, "KEY"),
        secrets.trust("ROOTCA", {"cluster.local": roots, "b.org": "THEIRS"}),
    )
    return {each.name: each for each in found}


def request(*names: str, nonce: str = "", error: str | None = None) -> bytes:
    message = discovery_pb2.DiscoveryRequest(
        type_url=secrets.TYPE_URL, resource_names=names, response_nonce=nonce
    )
    if error is not None:
        message.error_detail.message = error
    return bytes(message.SerializeToString())


def read(response: bytes | None) -> Any:
    assert response is not None
    message = discovery_pb2.DiscoveryResponse.FromString(response)
    assert message.type_url == secrets.TYPE_URL
    return message


def secret_of(message: Any, number: int = 0) -> Any:
    found = secret_pb2.Secret()
    assert message.resources[number].Unpack(found)
    return found


def test_a_stream_is_told_what_it_names_and_nothing_else() -> None:
    stream = SecretStream(known())
    answer = read(stream.on_request(request("default")))
    assert len(answer.resources) == 1
    pair = secret_of(answer).tls_certificate
    assert (pair.certificate_chain.inline_string, pair.private_key.inline_string) == ("CHAIN", "KEY")
    assert stream.on_request(request("default", nonce=answer.nonce)) is None


def test_each_trust_domain_has_its_own_roots() -> None:
    answer = read(SecretStream(known()).on_request(request("ROOTCA")))
    validator = secret_of(answer).validation_context.custom_validator_config
    assert validator.name == "envoy.tls.cert_validator.spiffe"
    config = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
    assert validator.typed_config.Unpack(config)
    found = {each.name: each.trust_bundle.inline_string for each in config.trust_domains}
    assert found == {"cluster.local": "ROOT", "b.org": "THEIRS"}
    assert not secret_of(answer).validation_context.HasField("trusted_ca")


def test_a_change_is_told_once_and_only_to_who_names_it() -> None:
    stream = SecretStream(known())
    first = read(stream.on_request(request("default")))
    assert stream.on_request(request("default", nonce=first.nonce)) is None
    assert stream.advance(known(roots="NEW ROOT")) is None
    second = read(stream.advance(known(chain="NEW CHAIN")))
    assert secret_of(second).tls_certificate.certificate_chain.inline_string == "NEW CHAIN"
    assert second.version_info != first.version_info
    assert stream.on_request(request("default", nonce=second.nonce)) is None
    assert stream.advance(known(chain="NEW CHAIN")) is None


def test_while_an_answer_is_awaited_nothing_is_sent_and_then_the_newest_alone() -> None:
    stream = SecretStream(known())
    first = read(stream.on_request(request("default")))
    assert stream.advance(known(chain="SECOND")) is None
    assert stream.advance(known(chain="THIRD")) is None
    third = read(stream.on_request(request("default", nonce=first.nonce)))
    assert secret_of(third).tls_certificate.certificate_chain.inline_string == "THIRD"


def test_a_refused_secret_is_not_sent_again_until_it_changes() -> None:
    stream = SecretStream(known())
    first = read(stream.on_request(request("default")))
    assert stream.on_request(request("default", nonce=first.nonce, error="bad chain")) is None
    assert (stream.refused, stream.held) == ("bad chain", {})
    second = read(stream.advance(known(chain="BETTER")))
    assert stream.on_request(request("default", nonce=second.nonce)) is None
    assert stream.refused == ""
    assert stream.held == {"default": known(chain="BETTER")["default"].version}


def test_a_request_with_the_nonce_of_an_older_answer_is_not_answered() -> None:
    stream = SecretStream(known())
    first = read(stream.on_request(request("default")))
    stream.on_request(request("default", nonce=first.nonce))
    second = read(stream.advance(known(chain="SECOND")))
    assert stream.on_request(request("default", nonce=first.nonce, error="late")) is None
    assert stream.refused == ""
    assert stream.on_request(request("default", nonce=second.nonce)) is None


def test_a_name_that_is_added_is_answered_with_the_others() -> None:
    stream = SecretStream(known())
    first = read(stream.on_request(request("default")))
    both = read(stream.on_request(request("default", "ROOTCA", nonce=first.nonce)))
    assert [secret_of(both, number).name for number in (0, 1)] == ["default", "ROOTCA"]


def test_a_secret_that_is_not_there_yet_is_sent_when_it_is() -> None:
    stream = SecretStream({})
    assert stream.on_request(request("default")) is None
    assert secret_of(read(stream.advance(known()))).name == "default"


def test_what_is_no_request_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolFault):
        SecretStream(known()).on_request(b"\xff\xff\xff")


# ---------------------------------------------------------------------------------------- the server


async def ask(socket: Path, *messages: bytes) -> Any:
    """The first answer to a stream, by grpcio in this process, or its status."""

    async def requests() -> AsyncIterator[bytes]:
        for message in messages:
            yield message
        await asyncio.Event().wait()

    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call = channel.stream_stream(secrets.STREAM_PATH)(requests())
        try:
            return read(await call.read())
        except grpc.aio.AioRpcError as error:
            return error.code()


def serve(tmp_path: Path, may_ask: Callable[[int], bool], *messages: bytes) -> Any:
    async def main() -> Any:
        server = SecretServer(tmp_path / "sds.sock", may_ask, BootClock())
        await server.open()
        assert stat.S_IMODE((tmp_path / "sds.sock").stat().st_mode) == 0o600
        assert await server.hold(HELD)
        try:
            async with loop.bounded(10.0, "the answer"):
                return await ask(tmp_path / "sds.sock", *messages)
        finally:
            await server.close()

    return asyncio.run(main())


def test_a_process_of_the_sidecar_gets_the_key(tmp_path: Path) -> None:
    answer = serve(tmp_path, lambda pid: pid == os.getpid(), request("default"))
    assert secret_of(answer).tls_certificate.private_key.inline_string == "KEY"


def test_another_process_of_the_same_user_gets_nothing(tmp_path: Path) -> None:
    # It says nothing: grpcio's client calls a message that comes after the refusal an internal error of its own.
    code = serve(tmp_path, lambda pid: pid != os.getpid())
    assert code is grpc.StatusCode.PERMISSION_DENIED


def test_who_breaks_the_protocol_is_told(tmp_path: Path) -> None:
    assert serve(tmp_path, lambda pid: True, b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT


def test_new_roots_count_as_taken_when_everybody_who_names_them_has_said_so(tmp_path: Path) -> None:
    async def main() -> list[bool]:
        server = SecretServer(tmp_path / "sds.sock", lambda pid: True, BootClock())
        await server.open()
        await server.hold(HELD)
        sent: asyncio.Queue[bytes] = asyncio.Queue()

        async def requests() -> AsyncIterator[bytes]:
            while True:
                yield await sent.get()

        try:
            async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'sds.sock'}") as channel:
                call = channel.stream_stream(secrets.STREAM_PATH)(requests())
                sent.put_nowait(request("ROOTCA"))
                first = read(await call.read())
                holding = asyncio.ensure_future(server.hold(HELD))
                await asyncio.sleep(0)
                waits = not holding.done()
                sent.put_nowait(request("ROOTCA", nonce=first.nonce))
                return [waits, await asyncio.wait_for(holding, 10)]
        finally:
            await server.close()

    assert asyncio.run(main()) == [True, True]
