"""The border: what comes in from outside the mesh, and where it goes.

Rule: a gateway knows nothing but what its documents name: no cluster is sent to it that no route of its leads to.
"""

from __future__ import annotations

import functools

import msgspec

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import names, parts
from atoll.planes.mesh.policy.compiler.gateway import listeners, servers
from atoll.planes.mesh.policy.compiler.gateway.listeners import Context
from atoll.planes.mesh.policy.compiler.gateway.servers import Entry, Spoken
from atoll.planes.mesh.policy.compiler.inbound import governing
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.outbound import assignments, planning
from atoll.planes.mesh.policy.compiler.parts import Parts
from atoll.planes.mesh.policy.compiler.security import keys, tokens
from atoll.resources.mesh.clients import Client

_TLS = (Spoken.HTTPS, Spoken.TLS, Spoken.PASSED)


def parts_for(world: World, client: Client, memo: Memo) -> Parts:
    key = ("gateway", msgspec.msgpack.encode(client, order="deterministic"))
    inputs = (world.faces, world.policies, world.choices)
    return memo.piece(key, inputs, functools.partial(_parts, world, client, memo))


def _parts(world: World, client: Client, memo: Memo) -> Parts:
    found = governing.of(world.policies, client)
    sources = tokens.key_sources(found.tokens)
    key_clusters = {source: names.keys_cluster(source.host, source.port) for source in sources}
    context = Context(world, client, found, key_clusters)
    groups, problems = _by_port(servers.of(world.policies, client))
    made = [one for group in groups if (one := listeners.listener(group, context)) is not None]
    refs = dict.fromkeys(ref for one in made for ref in one.refs)
    targets, clusters = planning.reached(world, client, refs, memo)
    return Parts(
        clusters=parts.by_name([*clusters, *map(keys.cluster, sources)]),
        listeners=parts.by_name([one.listener for one in made]),
        routes=parts.by_name([table for one in made for table in one.tables]),
        problems=tuple(dict.fromkeys([*problems, *(text for one in made for text in one.problems)])),
        endpoints=functools.partial(assignments.for_targets, targets),
    )


def _by_port(entries: list[Entry]) -> tuple[list[list[Entry]], list[str]]:
    """Servers that share a listener; one that speaks something else than the port's first is left out, and told."""
    groups: dict[tuple[int, str], list[Entry]] = {}
    problems = []
    for entry in entries:
        group = groups.setdefault((entry.port, entry.bind), [])
        if group and _family(group[0]) != _family(entry):
            problems.append(
                f"{entry.document}: port {entry.port} speaks {group[0].spoken.name} for {group[0].name}; "
                f"give {entry.name} a port of its own"
            )
        else:
            group.append(entry)
    return list(groups.values()), problems


def _family(entry: Entry) -> Spoken:
    return Spoken.TLS if entry.spoken in _TLS else entry.spoken
