"""What a client needs for the calls that it makes: clusters, their endpoints, routes and listeners.

Rule: nothing here depends on endpoints but the load assignments. The rest is planned once for a client and the faces of
all services, and stays the same objects while only endpoints change.
"""

from __future__ import annotations

import functools

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.outbound import assignments, planning
from atoll.planes.mesh.policy.compiler.parts import Parts
from atoll.resources.mesh.clients import Client


def parts_for(world: World, client: Client, memo: Memo) -> Parts:
    plan = planning.plan_for(world, client, memo)
    listeners = planning.listeners_for(world, client, plan, memo)
    endpoints = functools.partial(assignments.for_targets, plan.targets)
    return Parts(
        plan.clusters, listeners, plan.routes, plan.problems, endpoints, proven=True, on_demand=plan.on_demand
    )
