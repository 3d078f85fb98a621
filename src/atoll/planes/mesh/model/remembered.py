"""What a source told before the node started again, until it has told it anew or is taken at its word.

Rule: an endpoint that is remembered counts until the source has told it once since the start, or ``settle`` says that
whoever is alive has had the time to come back. Then a service of which nothing is left is one without endpoints, and what
that means to callers is decided where it always is (``World``), until ``forget``.

Theory: instances that live by their beats are in no store. A node that starts again knows none of them, and if it said so,
every proxy would lose its way to services that have been answering all the time.

The doubt: an instance that ended while the node was away is called in vain until ``settle``; callers try another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from atoll.resources.mesh.services import Endpoint, MeshService

Place = tuple[str, int, str]


class Memory:
    """``kept``: services by host, as they were told last before the start."""

    def __init__(self, kept: Mapping[str, MeshService]) -> None:
        self._kept = dict(kept)
        self._now: dict[str, MeshService] = {}

    def everything(self) -> tuple[MeshService, ...]:
        """All that is known, for the next start."""
        joined = self._joined(dict.fromkeys([*self._now, *self._kept]))
        return tuple(service for service in joined.values() if service is not None)

    def hear(self, changed: Mapping[str, MeshService | None]) -> dict[str, MeshService | None]:
        """The source told this: what to tell instead."""
        for host, service in changed.items():
            if service is None:
                self._now.pop(host, None)
            else:
                self._now[host] = service
                self._confirm(host, service)
        return self._joined(changed)

    def remembered(self) -> dict[str, MeshService | None]:
        """What is known from before alone, to begin with."""
        return self._joined(host for host in self._kept if host not in self._now)

    def settle(self) -> dict[str, MeshService | None]:
        """Only what the source told counts from now on; what that changes."""
        changed = [host for host, service in self._kept.items() if service.endpoints]
        self._kept = {
            host: msgspec.structs.replace(service, endpoints=()) for host, service in self._kept.items()
        }
        return self._joined(changed)

    def forget(self) -> dict[str, MeshService | None]:
        """Services that the source never told of since the start are none."""
        gone = [host for host in self._kept if host not in self._now]
        self._kept = {}
        return dict.fromkeys(gone)

    def _confirm(self, host: str, service: MeshService) -> None:
        kept = self._kept.get(host)
        if kept is not None:
            told = {_place(each) for each in service.endpoints}
            left = tuple(each for each in kept.endpoints if _place(each) not in told)
            self._kept[host] = msgspec.structs.replace(kept, endpoints=left)

    def _joined(self, hosts: Iterable[str]) -> dict[str, MeshService | None]:
        return {host: _join(self._now.get(host), self._kept.get(host)) for host in hosts}


def _join(now: MeshService | None, kept: MeshService | None) -> MeshService | None:
    """A service that is remembered with endpoints is ``stale``; of one without endpoints the source knows less."""
    if kept is None or (now is not None and not kept.endpoints):
        return now
    if now is None or not now.endpoints:
        return msgspec.structs.replace(kept, stale=bool(kept.endpoints))
    return msgspec.structs.replace(now, endpoints=now.endpoints + kept.endpoints, stale=True)


def _place(endpoint: Endpoint) -> Place:
    return endpoint.address, endpoint.port, endpoint.path
