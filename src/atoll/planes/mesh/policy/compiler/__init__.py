"""The compiler: a world and a client give the snapshot of all xDS resources that the client is to have. Pure.

Rule: equal worlds and clients give equal snapshots, byte by byte, whatever was compiled before; the memo decides how long
it takes, nothing else. Each part of it (outbound, inbound, gateway, gRPC) makes its own resources; here they meet.
"""

from __future__ import annotations

import functools

import msgspec

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import gateway, grpc, inbound, outbound, parts, telemetry
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.parts import Compiled, Frame
from atoll.resources.mesh.clients import Client, Kind

__all__ = ["Compiled", "Memo", "compile"]


def compile(world: World, client: Client, memo: Memo) -> Compiled:
    """What ``client`` is to have in ``world``, with what is wrong with it: an inconsistency is a problem as well. The very
    object that was given before where nothing of it has changed.
    """
    key = client_key(client)
    inputs = (world.faces, world.policies, world.choices)
    frame = memo.piece(("frame", key), inputs, functools.partial(_frame, world, client, memo))
    endpoints = frame.endpoints(world, memo)
    return memo.piece(
        ("compiled", key), (frame, endpoints), functools.partial(frame.with_endpoints, endpoints)
    )


def _frame(world: World, client: Client, memo: Memo) -> Frame:
    return parts.framed(_parts(world, client, memo), world, memo)


def client_key(client: Client) -> bytes:
    """Equal for equal clients; a ``Client`` itself cannot be hashed."""
    return msgspec.msgpack.encode(client, order="deterministic")


def _parts(world: World, client: Client, memo: Memo) -> tuple[parts.Parts, ...]:
    if client.kind is Kind.SIDECAR:
        return (
            outbound.parts_for(world, client, memo),
            inbound.parts_for(world, client, memo),
            telemetry.parts_for(world, memo),
        )
    if client.kind is Kind.GATEWAY:
        return (gateway.parts_for(world, client, memo), telemetry.parts_for(world, memo))
    if client.kind is Kind.GRPC:
        return grpc.parts_for(world, client, memo)
    return ()
