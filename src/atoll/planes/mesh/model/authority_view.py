"""The authority as the store tells of it: roots, intermediates, what is out, who may enrol.

Rule: changed by ``apply`` alone, from the watch. Join tokens are not in it: one is read when it is used, at its newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TypeVar

from atoll.planes.mesh.model import authority_keys as keys
from atoll.resources.mesh.authority import Intermediate, Ledger, Roots, Stage, UserMapping
from atoll.resources.records import decode
from atoll.store.api import KeyValue

_VERSION_CHARS = 16

T = TypeVar("T")


class AuthorityView:
    """``roots`` None: nobody has made the authority yet."""

    def __init__(self) -> None:
        self.roots: Roots | None = None
        self._intermediates: dict[bytes, Intermediate] = {}
        self._ledger: dict[bytes, Ledger] = {}
        self._users: dict[bytes, UserMapping] = {}

    def apply(self, kv: KeyValue) -> None:
        """A record, or (``kv.version == 0``) its end. Raises INVALID for what cannot be read."""
        gone = kv.version == 0
        if kv.key == keys.ROOTS:
            self.roots = None if gone else decode(Roots, kv.value, kv.mod_revision)
        elif kv.key.startswith(keys.INTERMEDIATES):
            _put(self._intermediates, kv, None if gone else decode(Intermediate, kv.value, kv.mod_revision))
        elif kv.key.startswith(keys.LEDGER):
            _put(self._ledger, kv, None if gone else decode(Ledger, kv.value, kv.mod_revision))
        elif kv.key.startswith(keys.USERS):
            _put(self._users, kv, None if gone else decode(UserMapping, kv.value, kv.mod_revision))

    def places(self) -> list[bytes]:
        """The keys of all that is in it."""
        roots = [] if self.roots is None else [keys.ROOTS]
        return [*roots, *self._intermediates, *self._ledger, *self._users]

    def intermediate(self, node: str) -> Intermediate | None:
        return self._intermediates.get(keys.intermediate(node))

    def intermediates(self) -> list[Intermediate]:
        return [self._intermediates[key] for key in sorted(self._intermediates)]

    def issued(self, serial: str) -> Ledger | None:
        return self._ledger.get(keys.ledger(serial))

    def live(self, now_s: float) -> Iterator[Ledger]:
        """Certificates that somebody uses now."""
        return (each for each in self._ledger.values() if not each.superseded and each.not_after_s > now_s)

    def users(self) -> list[UserMapping]:
        return [self._users[key] for key in sorted(self._users)]

    def services_of(self, uid: int, node: str) -> tuple[str, ...]:
        """What processes of ``uid`` on ``node`` may be."""
        found = (self._users.get(keys.user(uid, where)) for where in ("", node))
        return tuple(service for each in found if each is not None for service in each.services)

    @property
    def version(self) -> str:
        """Of the bundle: equal where the same roots are trusted. Empty: there are none."""
        return "" if self.roots is None else bundle_version(self.roots)


def bundle_version(roots: Roots) -> str:
    trusted = [root.fingerprint for root in roots.roots]
    foreign = [f"{each.trust_domain} {each.roots}" for each in roots.foreign]
    text = "\n".join([*sorted(trusted), *sorted(foreign)])
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_CHARS]


def trusted(roots: Roots) -> str:
    """The roots of the own trust domain as PEM, whatever their stage: the one that signs first."""
    order = (Stage.SIGNING, Stage.TRUSTED, Stage.LEAVING)
    return "".join(root.certificate for stage in order if (root := roots.at(stage)) is not None)


def _put(into: dict[bytes, T], kv: KeyValue, value: T | None) -> None:
    if value is None:
        into.pop(kv.key, None)
    else:
        into[kv.key] = value
