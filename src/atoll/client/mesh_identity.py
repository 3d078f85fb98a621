"""A workload's identity over the node's API: enrolment and renewal, and the roots that it is to trust.

Rule: the same calls over three doors, each of which proves the caller in its own way: the Unix socket of a node on this
machine (its peer's uid), a node's xDS port with a join token (which pins the mesh's root), the same port with the present
certificate (renewal). ``atoll.client.mesh_doors`` opens them.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from atoll.client.node import Client, Lines
from atoll.resources.mesh.identity import BUNDLE_PATH, BUNDLES_PATH, ENROL_PATH, Bundle, EnrolOrder, Issued

STREAM_SILENT_S_MAX = 60.0  # the node repeats the bundle more often than that


class MeshIdentity:
    """The identity part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def enrol(self, order: EnrolOrder) -> Issued:
        """A signed certificate. Raises DENIED (who asks may not be that service), INVALID (the request itself), UNAVAILABLE."""
        return await self._client.post(ENROL_PATH, order, Issued)

    async def bundle(self) -> Bundle:
        """Whom to trust, as of now."""
        return await self._client.get(BUNDLE_PATH, Bundle)

    def bundles(self) -> AbstractAsyncContextManager[Lines[Bundle]]:
        """Whom to trust: now, and from now on at each change."""
        return self._client.stream(BUNDLES_PATH, Bundle, None, STREAM_SILENT_S_MAX)
