"""Who is answered where: at the port of xDS, at the API of a node that is open to everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import msgspec
import pytest

from atoll.client import mesh_doors
from atoll.client.local import LocalTransport
from atoll.client.mesh_authority import MeshAuthority
from atoll.client.node import Client
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.planes.mesh.frontends.rest.authority import AuthorityApi
from atoll.planes.mesh.frontends.rest.identity import IdentityApi
from atoll.resources.mesh.authority_api import (
    RotateOrder,
    TokenOrder,
    TrustOrder,
    UserOrder,
)
from atoll.runtime import keys, loop, tls
from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_call import Call, Limits
from atoll.runtime.grpc_server import GrpcServer, streaming
from atoll.runtime.http_api import Asked, application
from atoll.runtime.http_client import Trust
from atoll.runtime.http_guard import Caller, Gate
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from atoll.runtime.peer import Peer
from atoll.runtime.tls import Credentials
from atoll.wire.grpc.status import Status
from atoll.wire.x509 import authorities, certificates, requests
from atoll.wire.x509.authorities import Stamp
from atoll.wire.x509.certificates import Issuer, Profile
from tests.unit.mesh.authority_kit import DOMAIN, Mesh, credentials, order, run

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"


@pytest.mark.parametrize("what", ["expired", "not yet valid", "of another authority", "in order"])
def test_the_port_of_xds_takes_certificates_of_the_mesh_that_are_in_force(what: str) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        now_s = BootClock().wall_s()
        offsets = {"expired": -7200.0, "not yet valid": 7200.0}
        issuer, bundle = node.opened.intermediate.issuer(), node.authority.issuing.bundle()
        if what == "of another authority":
            root = authorities.root(DOMAIN, keys.new_private_key(), keys.new_serial(), now_s)
            key = keys.new_private_key()
            stamp = Stamp(keys.new_serial(), now_s)
            issuer = Issuer(authorities.intermediate(root, requests.make(key), "x", stamp), key)
        key = keys.new_private_key()
        profile = Profile(keys.new_serial(), now_s + offsets.get(what, 0.0), 3600.0, uri=REVIEWS)
        leaf = certificates.sign(issuer, requests.private_key(key).public_key(), profile)
        shown = Credentials(bundle.roots, leaf + issuer.certificate, key)
        door = mesh_doors.by_certificate([node.xds], shown, bundle)
        if what == "in order":
            assert await door.bundle() == bundle
            return
        with pytest.raises(AtollError, match="no answer|connection") as raised:
            await door.bundle()
        assert raised.value.code is Code.UNAVAILABLE

    run(scenario)


def test_a_certificate_of_whatever_authority_is_no_proof_at_the_nodes_api() -> None:
    """It may be configured to ask for certificates of another one, which could name anybody."""

    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        issued = await node.local.enrol(order(keys.new_private_key()))
        peer = Peer("10.0.0.1:1", tls=True, spiffe_id=REVIEWS, certificate_serial=issued.serial)
        asked = Asked({}, order(keys.new_private_key()), caller=Caller(peer=peer))
        at_api = IdentityApi(node.authority, "n1", certified=False)
        with pytest.raises(AtollError, match="nothing proves who asks") as raised:
            await at_api.enrol(asked)
        assert raised.value.code is Code.DENIED
        at_xds = IdentityApi(node.authority, "n1", certified=True)
        assert (await at_xds.enrol(asked)).spiffe_id == REVIEWS

    run(scenario)


def test_a_client_refuses_a_node_that_is_not_the_control_plane() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        key = keys.new_private_key()
        issued = await node.local.enrol(order(key))
        impostor = msgspec.structs.replace(issued.bundle, control_plane=REVIEWS)
        door = mesh_doors.by_certificate([node.xds], credentials(key, issued), impostor)
        with pytest.raises(AtollError, match="sa/atoll, and not") as raised:
            await door.bundle()
        assert raised.value.code is Code.DENIED

    run(scenario)


def test_operators_are_not_answered_at_the_port_of_xds() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        key = keys.new_private_key()
        issued = await node.local.enrol(order(key))

        trust = Trust(
            context=tls.mesh_client(credentials(key, issued)), spiffe_id=issued.bundle.control_plane
        )
        remote = MeshAuthority(Client(HttpTransport(f"https://{node.xds}", trust)))
        for ask in (remote.show(), remote.renew(), remote.certificates()):
            with pytest.raises(AtollError, match="for workloads of the mesh") as raised:
                await ask
            assert raised.value.code is Code.DENIED

    run(scenario)


def test_a_node_that_is_open_to_everybody_gives_identities_out_to_proven_operators_only() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        declared = AuthorityApi(node.authority, DOMAIN, "n1").endpoints()
        address = Address("127.0.0.1", 7070)

        def at_api(token: str) -> MeshAuthority:
            app = application(declared, Gate(address, token), Log("api"), "1", {})
            return MeshAuthority(Client(LocalTransport(app, str(address)), token))

        api = at_api("")
        for asked in (
            api.show(),
            api.make_token(TokenOrder("reviews")),
            api.map_user(UserOrder(4711, ("default/reviews",))),
            api.trust(TrustOrder("other.org")),
            api.rotate(RotateOrder()),
        ):
            with pytest.raises(AtollError, match="by a proven operator only") as raised:
                await asked
            assert raised.value.code is Code.DENIED
        assert (await at_api("s3cret").make_token(TokenOrder("reviews"))).token

    run(scenario)


def test_an_xds_client_is_who_its_certificate_says_and_only_while_that_is_in_force() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        ends_s = mesh.clock.wall_s() + 60.0
        peer = Peer("127.0.0.1:1", tls=True, spiffe_id=REVIEWS, certificate_ends_s=ends_s)
        admitted = node.authority.admit(peer, "sidecar~reviews.default~1")
        assert admitted is not None
        assert admitted.spiffe_id == REVIEWS
        for other in (peer, Peer("127.0.0.1:1")):
            with pytest.raises(AtollError) as raised:
                node.authority.admit(other, "sidecar~ratings.default~1")
            assert raised.value.code is Code.DENIED
        mesh.clock.ahead_s = 61.0
        with pytest.raises(AtollError, match="is over"):
            node.authority.admit(peer, "sidecar~reviews.default~1")

    run(scenario)


def test_a_stream_does_not_outlive_the_certificate_that_it_was_let_in_by() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        issuer, bundle = node.opened.intermediate.issuer(), node.authority.issuing.bundle()
        key = keys.new_private_key()
        profile = Profile(keys.new_serial(), mesh.clock.wall_s(), 2.0, uri=REVIEWS)
        leaf = certificates.sign(issuer, requests.private_key(key).public_key(), profile)
        seen: list[Peer] = []

        async def serve(call: Call) -> None:
            seen.append(call.peer)
            call.send_headers()
            async for _ in call.messages():
                continue

        server = GrpcServer(
            {"/p.S/M": streaming(serve)},
            errors=lambda error: (Status.UNKNOWN, error.message),
            clock=mesh.clock,
            limits=Limits(ends_with_certificate=True),
        )
        listener = listen(Address("127.0.0.1", 0), "--listen", grpc=server, tls=node.authority.server.tls)
        node.listeners.append(listener)
        secure = grpc.ssl_channel_credentials(
            bundle.roots.encode(), key.encode(), (leaf + issuer.certificate).encode()
        )
        async with grpc.aio.secure_channel(f"localhost:{listener.address.port}", secure) as channel:
            call = channel.stream_stream("/p.S/M")(_open_stream())
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call.read()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert [peer.spiffe_id for peer in seen] == [REVIEWS]
        assert mesh.clock.wall_s() >= seen[0].certificate_ends_s

    run(scenario)


async def _open_stream() -> AsyncIterator[bytes]:
    yield b""
    await loop.Event().wait()
