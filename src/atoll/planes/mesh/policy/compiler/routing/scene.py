"""The scene of a virtual host: for whom it is compiled, and what of the world it asked for.

Rule: compiling a virtual host asks for services and documents through its scene alone. The scene keeps the answers, and a
virtual host is compiled again only when one of its questions has another answer: not whenever something changes somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from atoll.planes.mesh.model.policies import Effective
from atoll.planes.mesh.model.world import Face, World
from atoll.planes.mesh.policy.compiler import names
from atoll.resources.mesh import hosts
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.destination_rule import DestinationRule
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.virtual_service import MESH, HttpMatch, L4Match, VirtualService


class Ref(NamedTuple):
    """What a route leads to."""

    host: str
    port: int
    subset: str = ""

    @property
    def cluster(self) -> str:
        return names.outbound_cluster(self.host, self.port, self.subset)


class Stage(msgspec.Struct, frozen=True):
    """For whom: ``client`` is one of those that routes do not tell apart. ``gateways``: ``mesh`` for a sidecar,
    ``NAMESPACE/NAME`` of those whose routes these are at the border. ``port``: the one that requests are made to.
    """

    client: Client
    port: int
    gateways: tuple[str, ...] = (MESH,)

    @property
    def namespace(self) -> str:
        return namespace_of(self.client)


class Scene:
    """``answers``: by question, what the world said. ``needed``: of ``refs`` those that must be there before a request
    leads to them. ``problems``: what could not be done as documents say.
    """

    def __init__(self, world: World, stage: Stage) -> None:
        self.world = world
        self.stage = stage
        self.answers: dict[tuple[str, str], Any] = {}
        self.refs: dict[Ref, None] = {}
        self.needed: dict[Ref, None] = {}
        self.documents: dict[str, None] = {}
        self.problems: dict[str, None] = {}

    def concerns(self, document: Document[VirtualService], match: HttpMatch | L4Match) -> bool:
        """Whether a match of ``document`` is one for calls from here to this port; what the call itself is is left open."""
        if match.port is not None and match.port != self.stage.port:
            return False
        if match.sourceNamespace and hosts.namespace_of(match.sourceNamespace) != self.stage.namespace:
            return False
        labels = self.world.policies.workload(self.stage.client).labels if match.sourceLabels else {}
        if any(labels.get(name) != value for name, value in match.sourceLabels.items()):
            return False
        return self.serves(document, match.gateways)

    def serves(self, document: Document[VirtualService], gateways: tuple[str, ...]) -> bool:
        """``gateways``: a match's own; the document's otherwise, and all sidecars where that has none either."""
        said = gateways or document.spec.gateways or (MESH,)
        spelled = [each if each == MESH or "/" in each else f"{document.namespace}/{each}" for each in said]
        return any(each in self.stage.gateways for each in spelled)

    def face(self, host: str) -> Face | None:
        found = self.world.faces.get(host)
        self.answers["face", host] = found
        return found

    def rule(self, face: Face) -> Effective[DestinationRule] | None:
        """The DestinationRule that holds for calls to ``face``."""
        found = rule_for(self.world, face, self.stage.client)
        self.answers["rule", face.host] = found.documents if found is not None else ()
        if found is not None:
            self.documents.update(dict.fromkeys(found.names))
        return found

    def problem(self, text: str) -> None:
        self.problems[text] = None


def namespace_of(client: Client) -> str:
    """As documents spell it."""
    return hosts.namespace_of(client.namespace)


def rule_for(world: World, face: Face, client: Client) -> Effective[DestinationRule] | None:
    return world.policies.destination_rule_for(face.host, face.service.namespace, client)


def still(world: World, client: Client, answers: Mapping[tuple[str, str], Any]) -> bool:
    """Whether ``world`` would answer the same."""
    for (what, host), said in answers.items():
        face = world.faces.get(host)
        if what == "face":
            if face is not said:
                return False
        elif face is not None:
            found = rule_for(world, face, client)
            if (found.documents if found is not None else ()) != said:
                return False
    return True
