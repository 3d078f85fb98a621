"""What was, and why, over the registry's own API: explanations, the topology of a past time, the difference of two.

Rule: an explanation is for whoever may read its subject; a topology shows only what the asker may read.
"""

from __future__ import annotations

import msgspec

from atoll.access import grants
from atoll.access.grants import Resource
from atoll.errors import AtollError, Code
from atoll.planes.registry.frontends.rest.door import Call, Door, get, known, reading
from atoll.planes.registry.service.journal import Journal
from atoll.resources.config_item import config_key
from atoll.resources.events import Differences, Explanation, Topology
from atoll.resources.namespace import canonical
from atoll.resources.past_api import DifferencesAsked, ExplainAsked, TopologyAsked
from atoll.resources.service import key_of
from atoll.runtime.http_api import Asked, Endpoint


def subject_of(asked: Asked) -> Resource:
    """Of a configuration or a service. Raises INVALID unless exactly one of both is named."""
    fields: ExplainAsked = asked.fields
    if bool(fields.data_id) == bool(fields.name):
        raise AtollError(Code.INVALID, "give data_id or name, one of both")
    if fields.data_id:
        item = config_key(fields.namespace, fields.group, fields.data_id)
        return grants.config(item.namespace, item.group, item.data_id)
    key = key_of(fields.namespace, fields.group, fields.name)
    return grants.service(key.namespace, key.group, key.name)


class PastApi:
    def __init__(self, journal: Journal, door: Door) -> None:
        self._journal = journal
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        read = reading(subject_of)
        why = "Why clients held what they held."
        declared = [
            (read, get("/v1/explain", why, self.explain, list[Explanation], ExplainAsked)),
            (known, get("/v1/topology", "Instances at a time.", self.topology, Topology, TopologyAsked)),
            (known, get("/v1/topology/diff", "Two times.", self.differences, Differences, DifferencesAsked)),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    async def explain(self, call: Call) -> list[Explanation]:
        asked: ExplainAsked = call.fields
        return await self._journal.explain(asked.client, str(subject_of(call.asked)), asked.at_s)

    async def topology(self, call: Call) -> Topology:
        asked: TopologyAsked = call.fields
        found = await self._journal.topology(asked.at_s, _pattern(asked))
        seen = tuple(each for each in found.instances if self._may_see(call, each.subject))
        return msgspec.structs.replace(found, instances=seen)

    async def differences(self, call: Call) -> Differences:
        asked: DifferencesAsked = call.fields
        found = await self._journal.differences(asked.from_s, asked.to_s, _pattern(asked))
        seen = tuple(each for each in found.instances if self._may_see(call, each.subject))
        return msgspec.structs.replace(found, instances=seen)

    def _may_see(self, call: Call, subject: str) -> bool:
        return self._door.guard.allows(call.principal, grants.parse_pattern(subject), "r")


def _pattern(asked: TopologyAsked | DifferencesAsked) -> str:
    return f"{canonical(asked.namespace)}:{asked.group}:naming/{asked.name}"
