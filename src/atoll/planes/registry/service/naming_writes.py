"""The consistent half of naming: what is decided on the directory and committed to the ordered store.

Rule: decide, commit under the guards, and if a guard failed wait for the directory to show why and decide again. Every
change that somebody made carries its audit entry in the same transaction. Afterwards the directory is waited for, so
that whoever wrote reads what they wrote; if it is late, the write still stands. With the store away every method
raises UNAVAILABLE, or UNKNOWN where the write may have been applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from atoll.errors import AtollError, Code
from atoll.planes.registry.model import naming_decisions as decisions
from atoll.planes.registry.model.directory import Directory
from atoll.planes.registry.model.naming_decisions import MetadataChange, OverrideChange, ServiceChange, Write
from atoll.planes.registry.service.naming_follower import NamingFollower
from atoll.resources.actor import Actor
from atoll.resources.instance import Health, Instance, InstanceId
from atoll.resources.service import Cluster, Service, ServiceKey
from atoll.runtime.clock import Clock
from atoll.store.api import Operation, Put, Store
from atoll.store.audit import hash_of

ATTEMPTS_MAX: Final = 20

Audit: TypeAlias = Callable[[Actor, str, str, str, str], Put]
"""actor, action, subject, hash before, hash after: the entry to write in the same transaction."""

NOBODY: Final = Actor(via="atoll")


class NamingWrites:
    """Each method returns the revision of its change, 0 where nothing had to change."""

    def __init__(
        self, store: Store, directory: Directory, follower: NamingFollower, audit: Audit, clock: Clock
    ) -> None:
        self.directory = directory
        self._store = store
        self._follower = follower
        self._audit = audit
        self._wall_s = clock.wall_s

    async def create_service(self, actor: Actor, service: Service) -> int:
        """Raises CONFLICT / SERVICE_EXISTS."""
        return await self._commit(actor, lambda: decisions.create_service(self.directory, service))

    async def update_service(self, actor: Actor, key: ServiceKey, change: ServiceChange) -> int:
        """Raises NOT_FOUND / SERVICE_NOT_FOUND."""
        return await self._commit(actor, lambda: decisions.update_service(self.directory, key, change))

    async def delete_service(self, actor: Actor, key: ServiceKey) -> int:
        """Raises NOT_FOUND / SERVICE_NOT_FOUND, CONFLICT / SERVICE_NOT_EMPTY."""
        return await self._commit(actor, lambda: decisions.delete_service(self.directory, key))

    async def update_cluster(self, actor: Actor, key: ServiceKey, cluster: Cluster) -> int:
        """Raises NOT_FOUND / SERVICE_NOT_FOUND."""
        return await self._commit(actor, lambda: decisions.update_cluster(self.directory, key, cluster))

    async def register_persistent(self, actor: Actor, key: ServiceKey, instance: Instance) -> int:
        """Raises INVALID, with SERVICE_KIND for a service of ephemeral instances."""
        now_s = self._wall_s()
        return await self._commit(
            actor, lambda: decisions.register_persistent(self.directory, key, instance, now_s)
        )

    async def deregister_persistent(self, actor: Actor, key: ServiceKey, identity: InstanceId) -> int:
        """What is not there is no error."""
        return await self._commit(
            actor, lambda: decisions.deregister_persistent(self.directory, key, identity)
        )

    async def override_instance(
        self, actor: Actor, key: ServiceKey, identity: InstanceId, change: OverrideChange
    ) -> int:
        """Raises NOT_FOUND / SERVICE_NOT_FOUND."""
        return await self._commit(
            actor, lambda: decisions.override_instance(self.directory, key, identity, change)
        )

    async def override_metadata(
        self, actor: Actor, key: ServiceKey, identities: Sequence[InstanceId], change: MetadataChange
    ) -> int:
        """Raises NOT_FOUND for the service, or for an instance."""
        return await self._commit(
            actor, lambda: decisions.override_metadata(self.directory, key, identities, change)
        )

    async def remove_override(self, actor: Actor, key: ServiceKey, identity: InstanceId) -> int:
        """What is not there is no error."""
        return await self._commit(actor, lambda: decisions.remove_override(self.directory, key, identity))

    async def set_health(self, actor: Actor, key: ServiceKey, identity: InstanceId, healthy: bool) -> int:
        """Raises NOT_FOUND, and INVALID / HEALTH_CHECKED where something else decides on health."""
        health = Health(healthy=healthy, since_s=self._wall_s(), cause="set by hand")
        return await self._commit(actor, lambda: decisions.set_health(self.directory, key, identity, health))

    async def record_health(self, key: ServiceKey, identity: InstanceId, healthy: bool, cause: str) -> int:
        """What a probe found."""
        health = Health(healthy=healthy, since_s=self._wall_s(), cause=cause)
        return await self._commit(
            NOBODY, lambda: decisions.record_health(self.directory, key, identity, health)
        )

    async def set_switch(self, actor: Actor, entry: str, value: str) -> int:
        """Raises INVALID for an entry or a value that is none."""
        return await self._commit(actor, lambda: decisions.set_switch(self.directory, entry, value))

    async def set_labels(self, actor: Actor, address: str, labels: Mapping[str, str]) -> int:
        """All labels of an address (an IP) from now on. Raises INVALID, EXHAUSTED."""
        return await self._commit(actor, lambda: decisions.set_labels(self.directory, address, labels))

    async def _commit(self, actor: Actor, decide: Callable[[], Write]) -> int:
        for _ in range(ATTEMPTS_MAX):
            write = decide()
            if not write.operations:
                return 0
            operations: list[Operation] = [*write.operations]
            if write.action:
                hashes = (hash_of(write.before), hash_of(write.after))
                operations.append(self._audit(actor, write.action, write.subject, *hashes))
            try:
                result = await self._store.commit(write.guards, operations)
            except AtollError as error:
                if error.code is not Code.CONFLICT:
                    raise
                await self._follower.at(int(error.facts.get("revision", 0)))
                continue
            await self._follower.at(result.revision)
            return result.revision
        text = "this is changed by others all the time; repeat"
        raise AtollError(Code.CONFLICT, text, retry_after_s=0.5)
