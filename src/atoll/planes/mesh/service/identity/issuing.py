"""Enrolment and renewal: from a proven request to a signed certificate and its line in the ledger.

Rule: a join token is used up, and the certificate noted, in one transaction under the token's revision, before the certificate
is given out: of two who show the same token one gets it. Where nothing is used up (a uid, a renewal) the store may be away:
the certificate is given, and what the ledger is owed is written when the store is back.

The doubt: what is owed is lost with its node. The ledger then lacks a certificate, and an exchange of roots may end while one
workload has not heard of it; it hears as soon as it reaches a node.
"""

from __future__ import annotations

import math

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_keys as keys
from atoll.planes.mesh.model.authority_decisions import unchanged
from atoll.planes.mesh.model.authority_view import bundle_version, trusted
from atoll.planes.mesh.policy import enrolment
from atoll.planes.mesh.policy.enrolment import Granted, Proof
from atoll.planes.mesh.service.identity.intermediate import NodeIntermediate
from atoll.planes.mesh.service.identity.records import Records
from atoll.resources.actor import Actor
from atoll.resources.mesh.authority import JoinToken, Ledger, Roots
from atoll.resources.mesh.clients import spiffe_id
from atoll.resources.mesh.identity import CSR_BYTES_MAX, Bundle, EnrolOrder, Issued
from atoll.resources.mesh.secrets import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from atoll.resources.records import decode, encode
from atoll.runtime import keys as fresh
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.peer import Peer
from atoll.store.api import Compare, Delete, Operation, Put, Range
from atoll.store.audit import hash_of
from atoll.wire.x509 import certificates, requests
from atoll.wire.x509.certificates import Profile

WRITE_WITHIN_S = 3.0
OWED_MAX = 10_000  # certificates that were given while the store was away
OWED_RETRY_S = 1.0


class Owner(msgspec.Struct, frozen=True):
    """Whose node this is: uids that may be any workload (its own and root's), and its id."""

    node: str
    uid: int


class Issuing:
    """``ttl_s_max``: how long a certificate lives that nobody asked to live shorter."""

    def __init__(
        self, records: Records, intermediate: NodeIntermediate, owner: Owner, clock: Clock, ttl_s_max: float
    ) -> None:
        self._records = records
        self._intermediate = intermediate
        self._owner = owner
        self._clock = clock
        self._ttl_s_max = ttl_s_max
        self._owed: list[_Entry] = []
        self._log = Log("identity")
        self.issued: dict[str, int] = {}  # by what proved the workload
        self.refused = 0

    def show(self, metrics: Metrics) -> None:
        metrics.read_on_scrape(
            "atoll_mesh_certificates_issued_total",
            "Certificates of workloads that this node signed, by what proved the workload.",
            ("proof",),
            lambda: [((kind,), count) for kind, count in self.issued.items()],
        )
        metrics.read_on_scrape(
            "atoll_mesh_enrolments_refused_total",
            "Enrolments that were denied.",
            (),
            lambda: [((), self.refused)],
        )
        metrics.read_on_scrape(
            "atoll_mesh_certificates_owed",
            "Certificates that were given while the store was away and are not in the ledger yet.",
            (),
            lambda: [((), len(self._owed))],
        )

    async def enrol(self, order: EnrolOrder, peer: Peer, actor: Actor) -> Issued:
        """Raises INVALID, DENIED, UNAVAILABLE (this node cannot sign now)."""
        try:
            return await self._enrol(order, peer, actor)
        except AtollError as error:
            if error.code is Code.DENIED:
                self.refused += 1
                self._log.warning("enrolment refused", peer=peer.address, why=error.message)
            raise

    async def _enrol(self, order: EnrolOrder, peer: Peer, actor: Actor) -> Issued:
        if len(order.csr) > CSR_BYTES_MAX:
            raise AtollError(Code.INVALID, f"the signing request has more than {CSR_BYTES_MAX} bytes")
        request = requests.read(order.csr)
        roots = self._roots()
        now_s = self._clock.wall_s()
        token, token_revision = await self._token(order.token)
        granted = enrolment.decide(order, self._proof(peer, token), roots.trust_domain, now_s)
        enrolment.require_request(request.uris, request.others, granted.workload)
        asked_s = enrolment.ttl_s(order.ttl_s, self._ttl_s_max)
        chain, entry = self._sign(order, request, granted, asked_s)
        await self._note(actor, entry, order, token_revision)
        kind = granted.how.partition(" ")[0]
        self.issued[kind] = self.issued.get(kind, 0) + 1
        return Issued(
            spiffe_id=entry.spiffe_id,
            chain=chain,
            serial=entry.serial,
            issued_s=entry.issued_s,
            not_after_s=entry.not_after_s,
            ttl_s=entry.not_after_s - now_s,
            bundle=self.bundle(),
        )

    def bundle(self) -> Bundle:
        """Whom to trust now. Raises UNAVAILABLE while there is nobody."""
        roots = self._roots()
        return Bundle(
            version=bundle_version(roots),
            trust_domain=roots.trust_domain,
            roots=trusted(roots),
            control_plane=spiffe_id(roots.trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT),
            foreign={each.trust_domain: each.roots for each in roots.foreign},
            renew_before_s=roots.renew_before_s,
        )

    async def run(self) -> None:
        """Write what the ledger is owed, for ever."""
        while True:
            await loop.sleep(OWED_RETRY_S)
            await self.pay()

    async def pay(self) -> None:
        """Once, as far as it goes."""
        while self._owed:
            entry = self._owed[0]
            try:
                await self._write(entry, (), ())
            except AtollError as error:
                if error.code not in (Code.UNAVAILABLE, Code.UNKNOWN):
                    self._log.error("the ledger did not take a certificate", why=error.message)
                    self._owed.remove(entry)
                return
            self._owed.remove(entry)

    # -------------------------------------------------------------------------------------------- inside

    def _roots(self) -> Roots:
        roots = self._records.view.roots
        if roots is None:
            text = "this mesh has no root yet: make an offline one by `atoll mesh ca init --offline-root DIR`"
            raise AtollError(Code.UNAVAILABLE, text, retry_after_s=5.0)
        return roots

    async def _token(self, secret: str) -> tuple[JoinToken | None, int]:
        """At its newest: whether it was used is the store's to say."""
        if not secret:
            return None, 0
        found = (await self._records.store.range(Range(keys.token(secret)))).kvs
        return (decode(JoinToken, found[0].value), found[0].mod_revision) if found else (None, 0)

    def _proof(self, peer: Peer, token: JoinToken | None) -> Proof:
        view = self._records.view
        services: tuple[str, ...] | None = ()
        if peer.uid is not None:
            owns = peer.uid in (0, self._owner.uid)
            services = None if owns else view.services_of(peer.uid, self._owner.node)
        held = view.issued(peer.certificate_serial.lstrip("0")) if peer.spiffe_id else None
        return Proof(peer.uid, services, peer.spiffe_id, held, token)

    def _sign(
        self, order: EnrolOrder, request: requests.Request, granted: Granted, ttl_s: float
    ) -> tuple[str, Ledger]:
        issuer = self._intermediate.issuer()
        now_s = self._clock.wall_s()
        profile = Profile(fresh.new_serial(), now_s, ttl_s, uri=granted.workload.spiffe_id)
        certificate = certificates.sign(issuer, request.public_key, profile)
        facts = certificates.read(certificate)
        entry = Ledger(
            serial=facts.serial,
            spiffe_id=granted.workload.spiffe_id,
            instance=order.instance,
            root=self._intermediate.root(),
            issued_s=now_s,
            not_after_s=facts.not_after_s,
            bundle=order.bundle or self._records.view.version,  # the answer brings it to who has none
            how=granted.how,
        )
        return certificate + issuer.certificate, entry

    async def _note(self, actor: Actor, entry: Ledger, order: EnrolOrder, token_revision: int) -> None:
        owed = _Entry(entry, actor, self._replaced(order, entry.spiffe_id))
        guards: tuple[Compare, ...] = ()
        used: tuple[Operation, ...] = ()
        if order.token:
            guards, used = _use_up(order.token, token_revision)
        try:
            async with loop.bounded(WRITE_WITHIN_S, "noting a certificate"):
                await self._write(owed, guards, used)
        except AtollError as error:
            if order.token:
                raise _used(error) from error
            if error.code not in (Code.UNAVAILABLE, Code.UNKNOWN) or len(self._owed) >= OWED_MAX:
                raise
            self._log.warning("a certificate is given while the store is away", to=entry.spiffe_id)
            self._owed.append(owed)

    def _replaced(self, order: EnrolOrder, identity: str) -> Ledger | None:
        held = self._records.view.issued(order.replaces) if order.replaces else None
        return held if held is not None and held.spiffe_id == identity else None

    async def _write(self, entry: _Entry, guards: tuple[Compare, ...], more: tuple[Operation, ...]) -> None:
        store, ledger = self._records.store, entry.ledger
        left_s = max(1, math.ceil(ledger.not_after_s - self._clock.wall_s()))
        lease = (await store.lease_grant(left_s)).lease
        content = encode(ledger)
        puts: list[Operation] = [Put(keys.ledger(ledger.serial), content, lease)]
        replaced = entry.replaced
        if replaced is not None:
            after = msgspec.structs.replace(replaced, superseded=True)
            key = keys.ledger(replaced.serial)
            puts.append(Put(key, encode(after), ignore_lease=True))
            guards = (*guards, unchanged(key, replaced.revision))
        subject = f"{ledger.spiffe_id} {ledger.serial}"
        audit = self._records.audit.entry(entry.actor, "mesh.identity.issue", subject, "", hash_of(content))
        try:
            await store.commit(guards, [*puts, *more, audit])
        except AtollError as error:
            if error.code is not Code.CONFLICT:
                raise
            await store.lease_revoke(lease)
            if replaced is None or more:
                raise
            entry.replaced = None  # its line is over, or was changed by a renewal that was quicker
            await self._write(entry, (), more)


class _Entry(msgspec.Struct):
    """What the ledger is to say."""

    ledger: Ledger
    actor: Actor
    replaced: Ledger | None = None


def _use_up(secret: str, revision: int) -> tuple[tuple[Compare, ...], tuple[Operation, ...]]:
    key = keys.token(secret)
    return (unchanged(key, revision),), (Delete(key),)


def _used(error: AtollError) -> AtollError:
    if error.code is not Code.CONFLICT:
        return error
    return AtollError(Code.DENIED, "this join token was used by somebody else just now; each is good once")
