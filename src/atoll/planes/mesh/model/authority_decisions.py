"""What a change of the authority writes: from the view to operations under guards. Pure.

Rule: the roots are one record, so that two changes of them cannot pass each other. A root is exchanged in stages, and a
stage begins only when what it would break is over:

    (none) -- begin --> TRUSTED          everybody learns of it
    TRUSTED -- switch --> SIGNING        when every certificate that is out is held by somebody who trusts it
    SIGNING -- switch --> LEAVING        at the same moment, for the root before
    LEAVING -- finish --> (gone)         when no certificate and no intermediate under it is left

The ledger of what is out makes the two conditions facts rather than waiting times. A holder that has vanished keeps its
place in it until its certificate is over, so a stage waits for at most one lifetime; ``force`` does not wait.
"""

from __future__ import annotations

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_keys as keys
from atoll.planes.mesh.model.authority_view import AuthorityView
from atoll.resources.mesh.authority import Foreign, Intermediate, Root, Roots, Stage, UserMapping
from atoll.resources.records import encode
from atoll.store.api import Compare, Delete, Operation, Put, Relation, Target

NAMED_MAX = 5  # holders that an error names
FOREIGN_MAX = 32  # each is in every proxy of the mesh


class Decided(msgspec.Struct, frozen=True):
    """``operations`` empty: it is so already."""

    guards: tuple[Compare, ...] = ()
    operations: tuple[Operation, ...] = ()
    action: str = ""
    subject: str = ""
    before: bytes | None = None
    after: bytes | None = None


def unchanged(key: bytes, revision: int) -> Compare:
    """Guards a key by the revision at which it was read; 0: it was not there."""
    return Compare(key, Target.MOD, Relation.EQUAL, revision)


# ------------------------------------------------------------------------------------------------- roots


def create(view: AuthorityView, trust_domain: str, first: Root) -> Decided:
    """The first root, which signs at once. Raises CONFLICT."""
    if view.roots is not None:
        raise _conflict("this mesh has its roots already; exchange them by `atoll mesh ca rotate`")
    return _roots(view, Roots(trust_domain=trust_domain, roots=(_in(first, Stage.SIGNING),)), "create")


def begin(view: AuthorityView, new: Root, automatic: bool) -> Decided:
    """Everybody is to trust ``new``. Raises CONFLICT while another exchange goes on."""
    roots = _present(view)
    if len(roots.roots) > 1:
        raise _conflict("an exchange of roots goes on; finish it first")
    if roots.root(new.fingerprint) is not None:
        raise _conflict("this root is trusted already")
    after = msgspec.structs.replace(roots, roots=(*roots.roots, _in(new, Stage.TRUSTED)), automatic=automatic)
    return _roots(view, after, "begin")


def advance(view: AuthorityView, now_s: float, force: bool = False) -> Decided:
    """The next stage of the exchange that goes on. Raises CONFLICT where there is none, or it must wait, with for what."""
    roots = _present(view)
    if roots.at(Stage.TRUSTED) is not None:
        return _switch(view, roots, now_s, force)
    leaving = roots.at(Stage.LEAVING)
    if leaving is None:
        raise _conflict("no exchange of roots goes on; begin one by `atoll mesh ca rotate`")
    return _finish(view, roots, leaving, now_s, force)


def waiting_for(view: AuthorityView, now_s: float) -> list[str]:
    """What the next stage waits for, for people; empty: for nothing."""
    roots = view.roots
    if roots is None or len(roots.roots) < 2:
        return []
    leaving = roots.at(Stage.LEAVING)
    if leaving is None:
        version = view.version
        return [_holder(each.spiffe_id, each.instance) for each in view.live(now_s) if each.bundle != version]
    held = [
        _holder(each.spiffe_id, each.instance)
        for each in view.live(now_s)
        if each.root == leaving.fingerprint
    ]
    nodes = [f"node {each.node}" for each in view.intermediates() if _is_under(each, leaving, now_s)]
    return [*held, *nodes]


def renew(view: AuthorityView, now_s: float) -> Decided:
    """Everybody is to renew what they hold, now."""
    after = msgspec.structs.replace(_present(view), renew_before_s=now_s)
    return _roots(view, after, "renew")


def trust(view: AuthorityView, foreign: Foreign) -> Decided:
    """Workloads of another trust domain are believed. Raises INVALID for the own one, EXHAUSTED."""
    roots = _present(view)
    if foreign.trust_domain == roots.trust_domain:
        raise AtollError(
            Code.INVALID, f"{foreign.trust_domain} is this mesh; its roots are exchanged by `rotate`"
        )
    others = tuple(each for each in roots.foreign if each.trust_domain != foreign.trust_domain)
    if len(others) >= FOREIGN_MAX:
        raise AtollError(Code.EXHAUSTED, f"{FOREIGN_MAX} other trust domains are known; remove one first")
    every = tuple(sorted((*others, foreign), key=lambda each: each.trust_domain))
    return _roots(view, msgspec.structs.replace(roots, foreign=every), "trust")


def distrust(view: AuthorityView, trust_domain: str) -> Decided:
    """Nothing to do where it is not known."""
    roots = _present(view)
    left = tuple(each for each in roots.foreign if each.trust_domain != trust_domain)
    if len(left) == len(roots.foreign):
        return Decided()
    return _roots(view, msgspec.structs.replace(roots, foreign=left), "distrust")


def _switch(view: AuthorityView, roots: Roots, now_s: float, force: bool) -> Decided:
    waiting = waiting_for(view, now_s)
    if waiting and not force:
        raise _conflict(f"the new root does not sign yet: {_some(waiting)} may not trust it yet")
    moved = {Stage.TRUSTED: Stage.SIGNING, Stage.SIGNING: Stage.LEAVING}
    changed = tuple(
        msgspec.structs.replace(root, stage=moved.get(root.stage, root.stage), since_s=now_s)
        for root in roots.roots
    )
    return _roots(view, msgspec.structs.replace(roots, roots=changed, renew_before_s=now_s), "switch")


def _finish(view: AuthorityView, roots: Roots, leaving: Root, now_s: float, force: bool) -> Decided:
    waiting = waiting_for(view, now_s)
    if waiting and not force:
        raise _conflict(f"the old root stays trusted: {_some(waiting)} still stand under it")
    left = tuple(root for root in roots.roots if root.stage is not Stage.LEAVING)
    return _roots(view, msgspec.structs.replace(roots, roots=left), "finish")


def _is_under(intermediate: Intermediate, root: Root, now_s: float) -> bool:
    return intermediate.root == root.fingerprint and intermediate.not_after_s > now_s


def _present(view: AuthorityView) -> Roots:
    if view.roots is None:
        text = "this mesh has no authority yet: start a node with mesh.offline_root off, or `atoll mesh ca import`"
        raise _conflict(text)
    return view.roots


def _in(root: Root, stage: Stage) -> Root:
    return msgspec.structs.replace(root, stage=stage)


def _roots(view: AuthorityView, after: Roots, action: str) -> Decided:
    before = view.roots
    revision = 0 if before is None else before.revision
    content = encode(after)
    return Decided(
        guards=(unchanged(keys.ROOTS, revision),),
        operations=(Put(keys.ROOTS, content),),
        action=f"mesh.authority.{action}",
        subject="roots",
        before=None if before is None else encode(before),
        after=content,
    )


# ----------------------------------------------------------------------------- intermediates and users


def put_intermediate(view: AuthorityView, after: Intermediate) -> Decided:
    before = view.intermediate(after.node)
    content = encode(after)
    key = keys.intermediate(after.node)
    return Decided(
        guards=(unchanged(key, 0 if before is None else before.revision),),
        operations=(Put(key, content),),
        action="mesh.authority.intermediate",
        subject=after.node,
        before=None if before is None else encode(before),
        after=content,
    )


def map_user(view: AuthorityView, wanted: UserMapping) -> Decided:
    """Processes of a uid may be ``services``, and no other; none: the mapping is removed."""
    key = keys.user(wanted.uid, wanted.node)
    before = next((each for each in view.users() if (each.uid, each.node) == (wanted.uid, wanted.node)), None)
    if before is None and not wanted.services:
        return Decided()
    content = encode(wanted) if wanted.services else None
    operation: Operation = Delete(key) if content is None else Put(key, content)
    return Decided(
        guards=(unchanged(key, 0 if before is None else before.revision),),
        operations=(operation,),
        action="mesh.authority.user",
        subject=f"uid {wanted.uid}" + (f" on {wanted.node}" if wanted.node else ""),
        before=None if before is None else encode(before),
        after=content,
    )


def _holder(spiffe_id: str, instance: str) -> str:
    return f"{spiffe_id} ({instance})" if instance else spiffe_id


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED_MAX])
    return shown if len(names) <= NAMED_MAX else f"{shown} and {len(names) - NAMED_MAX} more"


def _conflict(text: str) -> AtollError:
    return AtollError(Code.CONFLICT, text)
