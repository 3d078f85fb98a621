"""Calls to a workload: the listeners of its sidecar, and who gets through them.

Rule: nothing here depends on other services or on endpoints; what is made stays as it is until a document that is in force
for this workload changes.

A port in a document is the one at which the workload is called (as in Istio), or else the number of its service's port; a
number that is some port of the workload's own means that one alone.
"""

from __future__ import annotations

import msgspec

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import names, parts
from atoll.planes.mesh.policy.compiler.inbound import clusters, governing, listeners
from atoll.planes.mesh.policy.compiler.inbound.chains import Mode
from atoll.planes.mesh.policy.compiler.inbound.governing import Governing
from atoll.planes.mesh.policy.compiler.inbound.listeners import Context, Entry
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.parts import Parts
from atoll.planes.mesh.policy.compiler.security import keys, tokens
from atoll.resources.mesh import hosts
from atoll.resources.mesh.clients import Capture, Client, Inbound
from atoll.resources.mesh.services import Port, host_of


def parts_for(world: World, client: Client, memo: Memo) -> Parts:
    found = governing.of(world.policies, client)
    sizes = tuple(len(group) for group in found.groups)
    first = _first_port(world, client)
    key = ("inbound", msgspec.msgpack.encode(client, order="deterministic"), sizes, first)
    return memo.piece(key, (world.choices, *found.documents), lambda: _parts(world, client, found, first))


def entries_of(world: World, client: Client, found: Governing) -> tuple[Entry, ...]:
    """The workload's ports, with what documents call them and how they take TLS."""
    first = _first_port(world, client)
    return tuple(_entry(one, client, found, first) for one in client.inbound)


def _parts(world: World, client: Client, found: Governing, first: int) -> Parts:
    sources = tokens.key_sources(found.tokens)
    key_clusters = {source: names.keys_cluster(source.host, source.port) for source in sources}
    context = Context(client, world.choices, found, key_clusters)
    entries = [_entry(one, client, found, first) for one in client.inbound]
    if not entries:
        return Parts()
    if client.capture is Capture.REDIRECT:
        made = [listeners.captured(entries, context)]
    else:
        made = [listeners.explicit(entry, context) for entry in entries]
    return Parts(
        clusters=parts.by_name(
            [*(clusters.application(one) for one in client.inbound), *map(keys.cluster, sources)]
        ),
        listeners=parts.by_name(made),
        routes=parts.by_name(
            [listeners.routes(entry, context) for entry in entries if entry.inbound.protocol.is_http]
        ),
    )


def _entry(inbound: Inbound, client: Client, found: Governing, first: int) -> Entry:
    numbers = port_numbers(inbound, client, first)
    modes = found.peers
    chosen = next((modes.ports[number] for number in numbers if number in modes.ports), modes.mode)
    mode = Mode(chosen)
    if mode is Mode.PERMISSIVE and not client.has_identity:
        mode = Mode.DISABLE  # there is no key to speak TLS with; STRICT stays, and lets nobody in
    return Entry(inbound, numbers, mode)


def port_numbers(inbound: Inbound, client: Client, first: int) -> tuple[int, ...]:
    """By which documents know the port. ``first``: the number of the service's first port, 0: not known."""
    of_service = inbound.service_port or first
    own = {one.port for one in client.inbound}
    return (inbound.port,) if of_service in own or not of_service else (inbound.port, of_service)


def _first_port(world: World, client: Client) -> int:
    host = host_of(client.service, hosts.namespace_of(client.namespace), world.choices.domain)
    face = world.faces.get(host)
    ports: tuple[Port, ...] = face.service.ports if face is not None else ()
    return ports[0].number if ports else 0
