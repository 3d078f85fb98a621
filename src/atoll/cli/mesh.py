"""``atoll mesh``: its clients, why requests go where they go, what proxies have; who is who in it.

Rule: only the place of the commands is here; each module adds its own.
"""

from __future__ import annotations

from typing import Any

from atoll.cli import (
    mesh_canaries,
    mesh_certificate,
    mesh_identity,
    mesh_seeing,
    mesh_strict,
    mesh_upgrade,
    registry,
)


def add(commands: Any) -> None:
    actions = registry.group(commands, "mesh", "look at the mesh and its clients")
    mesh_seeing.add(actions)
    mesh_certificate.add(actions)
    mesh_identity.add(actions)
    mesh_strict.add(actions)
    mesh_canaries.add(actions)
    mesh_upgrade.add(actions)
