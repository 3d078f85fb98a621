"""The authority as its frontends use it: what operators order and are shown, and who an xDS client is.

Rule: every order is one guarded write with its audit entry; nothing here is done to a workload: it hears of changes by the
stream of bundles and acts itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_decisions as decisions
from atoll.planes.mesh.model import authority_keys as keys
from atoll.planes.mesh.policy import enrolment
from atoll.planes.mesh.policy.identities import Workload, require_node
from atoll.planes.mesh.service.identity.intermediate import NodeIntermediate
from atoll.planes.mesh.service.identity.issuing import Issuing
from atoll.planes.mesh.service.identity.records import Records
from atoll.planes.mesh.service.identity.server import NodeServer
from atoll.resources.actor import Actor
from atoll.resources.mesh.authority import (
    Foreign,
    Intermediate,
    JoinToken,
    Ledger,
    Root,
    Roots,
    Stage,
    UserMapping,
)
from atoll.resources.mesh.authority_api import (
    AuthorityShown,
    CertificateShown,
    IntermediateOrder,
    IntermediateShown,
    RootShown,
    RotateOrder,
    TokenMade,
    TokenOrder,
    TrustOrder,
    UserShown,
)
from atoll.resources.mesh.identity import Bundle
from atoll.resources.mesh.join_token import JoinText
from atoll.resources.records import encode
from atoll.runtime import keys as fresh
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.peer import Peer
from atoll.runtime.rng import new_token
from atoll.store.api import Delete, Put
from atoll.store.audit import hash_of
from atoll.wire.x509 import authorities, certificates, requests

TOKEN_TTL_S = 900.0
TOKEN_TTL_S_MAX = 7 * 86_400.0
BUNDLE_REPEATED_S = 20.0  # so that a client of the stream can tell silence from a dead node
PEM_BYTES_MAX = 65_536


class Authority:
    """``insecure``: xDS clients without a certificate are believed."""

    def __init__(self, parts: Parts) -> None:
        self.issuing = parts.issuing
        self.server = parts.server
        self._records = parts.records
        self._intermediate = parts.intermediate
        self._clock = parts.clock
        self._insecure = parts.insecure
        self._changed = loop.Event()

    # ------------------------------------------------------------------------------------- for xDS

    def admit(self, peer: Peer, node_id: str) -> Workload | None:
        """Who an xDS client is, from its connection and its ``node.id``; None: nobody asks (``mesh.insecure_xds``). Raises
        DENIED, naming both, when they differ, and when the certificate that the connection began with is over.
        """
        if self._insecure and not peer.spiffe_id:
            return None
        if peer.certificate_ends_s and peer.certificate_ends_s <= self._clock.wall_s():
            text = (
                f"the certificate of {peer.spiffe_id} is over; connect again with the one that took its place"
            )
            raise AtollError(Code.DENIED, text)
        return require_node(peer.spiffe_id, node_id, self.issuing.bundle().trust_domain)

    # ------------------------------------------------------------------------------- for workloads

    async def bundles(self) -> AsyncIterator[Bundle]:
        """Whom to trust: now, at each change, and every now and then."""
        while True:
            changed = self._changed
            yield self.issuing.bundle()
            await loop.wait_event(changed, BUNDLE_REPEATED_S)

    def bundle_if_any(self) -> Bundle | None:
        return None if self._records.view.roots is None else self.issuing.bundle()

    async def refresh(self) -> None:
        """Something has changed, or time has passed: see to what this node itself needs, and tell."""
        await self._intermediate.keep()
        self.server.keep()

    def tell(self) -> None:
        """Wake the streams of bundles."""
        self._changed.set()
        self._changed = loop.Event()

    # -------------------------------------------------------------------------------- for operators

    async def create(self, actor: Actor, trust_domain: str, certificate: str = "") -> AuthorityShown:
        """The first root: ``certificate`` of an offline one, otherwise one whose key the store keeps. Raises CONFLICT."""
        root = self._root(trust_domain, certificate)
        await self._records.commit(actor, lambda view: decisions.create(view, trust_domain, root))
        return self.shown()

    async def rotate(self, actor: Actor, order: RotateOrder) -> AuthorityShown:
        """Begin to exchange the root."""
        root = self._root(self._roots().trust_domain, order.certificate)
        await self._records.commit(actor, lambda view: decisions.begin(view, root, order.automatic))
        return self.shown()

    async def advance(self, actor: Actor, force: bool = False) -> AuthorityShown:
        now_s = self._clock.wall_s()
        await self._records.commit(actor, lambda view: decisions.advance(view, now_s, force))
        return self.shown()

    async def renew(self, actor: Actor) -> AuthorityShown:
        now_s = self._clock.wall_s()
        await self._records.commit(actor, lambda view: decisions.renew(view, now_s))
        return self.shown()

    async def take_intermediate(self, actor: Actor, order: IntermediateOrder) -> AuthorityShown:
        """A node's intermediate, signed offline. Raises INVALID unless it is the answer to that node's request."""
        await self._records.commit(
            actor,
            lambda view: decisions.put_intermediate(
                view, self._answered(view.intermediate(order.node), order)
            ),
        )
        return self.shown()

    async def trust(self, actor: Actor, order: TrustOrder) -> AuthorityShown:
        """Believe the workloads of another trust domain; without roots: no more."""
        now_s = self._clock.wall_s()
        if not order.roots:
            await self._records.commit(actor, lambda view: decisions.distrust(view, order.trust_domain))
            return self.shown()
        foreign = Foreign(order.trust_domain, _authorities(order.roots, now_s), now_s)
        await self._records.commit(actor, lambda view: decisions.trust(view, foreign))
        return self.shown()

    async def map_user(self, actor: Actor, wanted: UserMapping) -> list[UserShown]:
        for each in wanted.services:
            namespace, slash, service = each.partition("/")
            if not slash:
                text = f"{each!r} is not NAMESPACE/SERVICE or NAMESPACE/*"
                raise AtollError(Code.INVALID, text)
            enrolment.require_names("any" if service == "*" else service, namespace)
        await self._records.commit(actor, lambda view: decisions.map_user(view, wanted))
        return self.users()

    async def make_token(self, actor: Actor, order: TokenOrder) -> TokenMade:
        """A join token, which is shown this once."""
        enrolment.require_names(order.service, order.namespace)
        ttl_s = order.ttl_s or TOKEN_TTL_S
        if not 1 <= ttl_s <= TOKEN_TTL_S_MAX:
            raise AtollError(Code.INVALID, f"a token for {ttl_s:g} s is refused; 1 to {TOKEN_TTL_S_MAX:g} s")
        signing = self._roots().at(Stage.SIGNING)
        secret, end_s = new_token(), self._clock.wall_s() + ttl_s
        record = JoinToken(
            service=order.service, namespace=order.namespace, not_after_s=end_s, made_by=actor.user
        )
        store, subject = self._records.store, f"{order.namespace}/{order.service}"
        lease = (await store.lease_grant(int(ttl_s) + 1)).lease
        entry = self._records.audit.entry(actor, "mesh.token.create", subject, "", hash_of(encode(record)))
        await store.commit((), [Put(keys.token(secret), encode(record), lease), entry])
        pin = "" if signing is None else signing.fingerprint
        return TokenMade(str(JoinText(secret, pin)), end_s)

    async def withdraw(self, actor: Actor, serial: str) -> bool:
        """The holder of a certificate cannot renew it any more; the certificate itself lives to its end. False: unknown."""
        held = self._records.view.issued(serial)
        if held is None:
            return False
        entry = self._records.audit.entry(
            actor, "mesh.identity.withdraw", f"{held.spiffe_id} {serial}", hash_of(encode(held)), ""
        )
        await self._records.store.commit((), [Delete(keys.ledger(serial)), entry])
        return True

    def shown(self) -> AuthorityShown:
        """How it stands."""
        view, now_s = self._records.view, self._clock.wall_s()
        roots = view.roots
        if roots is None:
            return AuthorityShown("")
        return AuthorityShown(
            trust_domain=roots.trust_domain,
            version=view.version,
            roots=tuple(_root_shown(root) for root in roots.roots),
            intermediates=tuple(_intermediate_shown(each) for each in view.intermediates()),
            foreign=tuple(each.trust_domain for each in roots.foreign),
            certificates=sum(1 for _ in view.live(now_s)),
            waits_for=tuple(decisions.waiting_for(view, now_s)),
            automatic=roots.automatic,
        )

    def certificates(self) -> list[CertificateShown]:
        """Those that somebody uses now, the ones that end first at the beginning."""
        live = sorted(self._records.view.live(self._clock.wall_s()), key=lambda each: each.not_after_s)
        return [_certificate_shown(each) for each in live]

    def users(self) -> list[UserShown]:
        return [UserShown(each.uid, each.services, each.node) for each in self._records.view.users()]

    # -------------------------------------------------------------------------------------------- inside

    def _roots(self) -> Roots:
        roots = self._records.view.roots
        if roots is None:
            raise AtollError(Code.UNAVAILABLE, "this mesh has no root yet", retry_after_s=5.0)
        return roots

    def _root(self, trust_domain: str, certificate: str) -> Root:
        now_s, key = self._clock.wall_s(), ""
        if not certificate:
            made = authorities.root(trust_domain, fresh.new_private_key(), fresh.new_serial(), now_s)
            certificate, key = made.certificate, made.key
        facts = certificates.require_root(certificate, now_s)
        text = certificates.split(certificate)[0]
        return Root(text, facts.fingerprint, Stage.TRUSTED, now_s, facts.not_after_s, key)

    def _answered(self, waiting: Intermediate | None, order: IntermediateOrder) -> Intermediate:
        return answered(waiting, order.certificate, self._roots(), self._clock.wall_s())


class Parts(msgspec.Struct, frozen=True):
    """What an ``Authority`` stands on."""

    records: Records
    intermediate: NodeIntermediate
    issuing: Issuing
    server: NodeServer
    clock: Clock
    insecure: bool


def answered(waiting: Intermediate | None, certificate: str, roots: Roots, now_s: float) -> Intermediate:
    """``waiting`` with the certificate that answers its request. Raises NOT_FOUND, INVALID."""
    if waiting is None or not waiting.request:
        raise AtollError(
            Code.NOT_FOUND, "this node has no request that waits; `atoll mesh ca show` lists them"
        )
    facts = certificates.read(certificate)
    signer = next(
        (each for each in roots.roots if certificates.is_signed_by(certificate, each.certificate)), None
    )
    if signer is None:
        raise AtollError(Code.INVALID, f"{facts.name} is not signed by a root of this mesh")
    if not facts.is_authority or not facts.not_before_s <= now_s < facts.not_after_s:
        raise AtollError(Code.INVALID, f"{facts.name} is no authority that is in force now")
    if certificates.public_key_of(certificate) != requests.public_key_of(waiting.request):
        raise AtollError(Code.INVALID, f"{facts.name} is not for the key of node {waiting.node}")
    return msgspec.structs.replace(
        waiting,
        certificate=certificates.split(certificate)[0],
        request="",
        root=signer.fingerprint,
        not_after_s=facts.not_after_s,
    )


def _authorities(pem: str, now_s: float) -> str:
    """``pem`` spelt anew if each of it is an authority that is in force. Raises INVALID."""
    if len(pem) > PEM_BYTES_MAX:
        raise AtollError(Code.INVALID, f"more than {PEM_BYTES_MAX} bytes of certificates")
    found = certificates.split(pem)
    for each in found:
        facts = certificates.read(each)
        if not facts.is_authority or facts.not_after_s <= now_s:
            raise AtollError(Code.INVALID, f"{facts.name or facts.serial} is no authority that is in force")
    return "".join(found)


def _root_shown(root: Root) -> RootShown:
    facts = certificates.read(root.certificate)
    return RootShown(
        name=facts.name,
        fingerprint=root.fingerprint,
        stage=root.stage,
        since_s=root.since_s,
        not_after_s=root.not_after_s,
        offline=not root.key,
        certificate=root.certificate,
    )


def _intermediate_shown(each: Intermediate) -> IntermediateShown:
    return IntermediateShown(each.node, each.root, each.not_after_s, each.request)


def _certificate_shown(each: Ledger) -> CertificateShown:
    return CertificateShown(
        serial=each.serial,
        spiffe_id=each.spiffe_id,
        instance=each.instance,
        root=each.root,
        issued_s=each.issued_s,
        not_after_s=each.not_after_s,
        bundle=each.bundle,
        how=each.how,
    )
