"""Groups of clients that are served the same bytes: one snapshot for all replicas of a service, and what is kept from them.

Rule: a group's goal is replaced only by a snapshot that proved itself consistent; otherwise, and when the compiler fails, the
last one goes on, and the group's problems say why. What its clients refuse is set aside (``policy.quarantine``) for the group alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from atoll.planes.mesh.model import snapshot as snapshots
from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import Compiled
from atoll.planes.mesh.policy.quarantine import Quarantine, Refusal
from atoll.resources.mesh.client_status import SetAside
from atoll.resources.mesh.clients import Client
from atoll.runtime.logs import Log
from atoll.wire.xds.shelf import Goal, Offer, Shelf

Compile = Callable[[World, Client], Compiled]

_LOG = Log("mesh")
_FAILED = Compiled(snapshots.EMPTY, ("internal error of the compiler: the node's log says which",))


class Stage(msgspec.Struct, frozen=True):
    """A change that is tried on some clients first: those with these ids get the world after ``change``."""

    name: str
    change: Callable[[World], World]
    nodes: frozenset[str]


class Group:
    """``members``: connections. ``idle_since_s``: since when it has none. ``seen_s``: when what made the goal was."""

    def __init__(self, client: Client, stage: str, compile: Compile, shelf: Shelf) -> None:
        self.client = client
        self.stage = stage
        self.goal: Goal | None = None
        self.problems: tuple[str, ...] = ()
        self.members = 0
        self.idle_since_s = 0.0
        self.seen_s = 0.0
        self._compile = compile
        self._shelf = shelf
        self._quarantine = Quarantine()
        self._world: World | None = None  # that was compiled last
        self._served: Policies | None = None  # that the goal is of

    @property
    def aside(self) -> tuple[SetAside, ...]:
        return self._quarantine.aside

    def follow(self, world: World, seen_s: float) -> None:
        """Make the goal one of ``world``, whose change was seen at ``seen_s``."""
        if self._world is world:
            return
        policies = self._quarantine.policies(world.policies)
        effective = world if policies is world.policies else world.with_policies(policies)
        self._world = world
        compiled = self._compiled(effective)
        self.problems = compiled.problems
        if compiled.problems and (compiled is _FAILED or snapshots.check(compiled.snapshot)):
            return
        self._served = policies
        if self.goal is None or compiled.snapshot != self.goal.snapshot:
            self.goal = self._shelf.goal(compiled.snapshot)
            self.seen_s = seen_s

    def _compiled(self, world: World) -> Compiled:
        try:
            return self._compile(world, self.client)
        except Exception as error:  # noqa: BLE001 - a bug of the compiler takes from nobody what it has
            _LOG.error(
                "compiling failed", error, service=self.client.service, namespace=self.client.namespace
            )
            return _FAILED

    def took(self, type_url: str, offers: Mapping[str, Offer]) -> bool:
        """A client of the group accepted these. Those that are still offered count for what they are made of now. Whether
        the goal is to be made again, because what others refused is not set aside any more.
        """
        if self.goal is None or self._served is None:
            return False
        offered = self.goal.of(type_url)
        shaped = [offer for offer in offers.values() if offer.resource.documents]
        self._quarantine.took(
            (offer.resource for offer in shaped if offered.get(offer.name) is offer), self._served
        )
        if not self.aside or not self._quarantine.accepted(offer.resource for offer in shaped):
            return False
        self._world = None
        return True

    def refused(self, refusal: Refusal) -> bool:
        """Whether something was set aside, so that the goal is to be made again."""
        if self._served is None or not self._quarantine.refused(refusal, self._served):
            return False
        self._world = None
        return True
