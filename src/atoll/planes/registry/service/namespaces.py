"""Namespaces, as the frontends use them.

Rule: they are kept and written as configuration is; how many services are in one is asked of naming.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from atoll.planes.registry.model import namespace_decisions as decisions
from atoll.planes.registry.model.config_view import ConfigView
from atoll.planes.registry.service.config_writes import ConfigWriter
from atoll.resources.actor import Actor
from atoll.resources.namespace import PUBLIC, Namespace, NamespaceView
from atoll.runtime.rng import Rng


class Namespaces:
    """``services``: how many services a namespace has. Ids are canonical (``resources.namespace.canonical``)."""

    def __init__(
        self, view: ConfigView, writer: ConfigWriter, services: Callable[[str], int], rng: Rng
    ) -> None:
        self._view = view
        self._writer = writer
        self._services = services
        self._rng = rng

    def exists(self, name: str) -> bool:
        """Whether it is ``public`` or was created."""
        return decisions.exists(self._view, name)

    def get(self, name: str) -> NamespaceView:
        """Raises NOT_FOUND / NAMESPACE_NOT_FOUND."""
        if not self.exists(name):
            raise decisions.not_found(name)
        known = self._view.namespace(name)
        quota = self._view.capacity("namespace", name)
        return NamespaceView(
            id=name,
            name=(known.name if known else "") or name,
            description=known.description if known else "",
            kind="global" if name == PUBLIC else "custom",
            configs=self._view.count("namespace", name),
            services=self._services(name),
            configs_max=quota.items_max if quota else 0,
        )

    def every(self) -> list[NamespaceView]:
        """``public`` first, then by id."""
        named = [each.id for each in self._view.namespace_records() if each.id != PUBLIC]
        return [self.get(name) for name in [PUBLIC, *named]]

    async def create(self, actor: Actor, wanted: Namespace) -> NamespaceView:
        """With a fresh id where ``wanted`` has none. Raises INVALID, CONFLICT / NAMESPACE_EXISTS."""
        new = wanted if wanted.id else msgspec.structs.replace(wanted, id=self._new_id())
        await self._writer.commit(
            actor,
            f"namespace {new.id}",
            lambda: False,
            lambda stamp: decisions.create(self._view, msgspec.structs.replace(new, created_s=stamp.now_s)),
        )
        return self.get(new.id)

    async def update(self, actor: Actor, wanted: Namespace) -> NamespaceView:
        """Change name and description. Raises INVALID, NOT_FOUND / NAMESPACE_NOT_FOUND."""
        await self._writer.commit(
            actor, f"namespace {wanted.id}", lambda: False, lambda _: decisions.update(self._view, wanted)
        )
        return self.get(wanted.id)

    async def remove(self, actor: Actor, name: str, force: bool = False) -> bool:
        """False: there was none. Raises INVALID for ``public``, CONFLICT / IN_USE for one that is not empty."""
        done = await self._writer.commit(
            actor,
            f"namespace {name}",
            lambda: False,
            lambda _: decisions.remove(self._view, name, self._services(name), force),
        )
        return bool(done.decided.operations)

    def _new_id(self) -> str:
        """In the form of a random UUID (RFC 9562, version 4), as Nacos gives them."""
        bits = (
            self._rng.getrandbits(128) & ~(0xF000 << 64) & ~(0xC000 << 48) | (0x4000 << 64) | (0x8000 << 48)
        )
        text = f"{bits:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
