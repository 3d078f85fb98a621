"""What the steps of a staged release write.

Rule: a staged release is one record and one gray release (``staged``), and every step writes both, or ends both, in one
transaction under guards for both; the promotion writes the formal version in the same transaction, under a guard that
it is still the one from which the release started. Each record says why.
"""

from __future__ import annotations

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_decisions as decisions
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_decisions import Content, Decided, Stamp
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_view import ConfigView
from atoll.resources.config_item import ConfigKey, GrayRelease
from atoll.resources.config_views import Details
from atoll.resources.records import encode
from atoll.resources.rollout import (
    CANCELLED,
    DECISIONS_MAX,
    PAUSED,
    PROMOTED,
    ROLLED_BACK,
    RUNNING,
    STAGED,
    Decision,
    Plan,
    Rollout,
    require_plan,
)
from atoll.store.api import Compare, Put, Relation, Target


class Order(msgspec.Struct, frozen=True):
    """What to release in steps."""

    key: ConfigKey
    content: Content
    details: Details
    plan: Plan


def start(view: ConfigView, order: Order, limits: ConfigLimits, stamp: Stamp) -> Decided:
    """Raises INVALID for a plan that cannot be, CONFLICT / IN_USE while another one of the item is under way, CONFLICT
    where the content is the formal one already, EXHAUSTED past the open ones.
    """
    key = order.key
    require_plan(order.plan)
    entry = view.entry(key)
    if entry.rollout is not None and entry.rollout.open:
        text = f"{key} has a staged release under way at {entry.rollout.percent:g} %: wait for its end or cancel it"
        raise AtollError(Code.CONFLICT, text, reason=Reason.IN_USE)
    if sum(each.open for each in view.rollouts()) >= limits.rollouts_open_max:
        text = f"{limits.rollouts_open_max} staged releases are under way, which is the limit: wait or cancel some"
        raise AtollError(Code.EXHAUSTED, text, reason=Reason.RATE_LIMITED)
    rule = gray.percent(order.plan.steps[0], f"{key}#{stamp.history_id}")
    details = msgspec.structs.replace(order.details, gray=rule, gray_name=STAGED)
    published = decisions.publish(view, key, order.content, details, stamp)
    base = entry.item.md5 if entry.item is not None else ""
    if published.md5 == base:
        text = f"{key} holds this content already; there is nothing to release"
        raise AtollError(Code.CONFLICT, text, reason=Reason.CONFIG_EXISTS)
    first = Decision(stamp.now_s, "start", "asked for", order.plan.steps[0], by=stamp.actor.user)
    rollout = Rollout(
        key=key,
        id=stamp.history_id,
        plan=order.plan,
        md5=published.md5,
        md5_base=base,
        started_s=stamp.now_s,
        step_since_s=stamp.now_s,
        user=stamp.actor.user,
        decisions=(first,),
    )
    guards = (*published.guards, _unchanged(key, entry.rollout))
    put = Put(keys.rollout(key), encode(rollout))
    return msgspec.structs.replace(
        published, guards=guards, operations=(*published.operations, put), action="stage"
    )


def advance(view: ConfigView, rollout: Rollout, why: Decision, stamp: Stamp) -> Decided:
    """To the next step. Raises INVALID at the last one, and what ``_under_way`` raises."""
    release = _under_way(view, rollout)
    if rollout.step + 1 >= len(rollout.plan.steps):
        raise AtollError(Code.INVALID, f"{rollout.key} is at its last step; it can only be promoted")
    after = _with(rollout, why, step=rollout.step + 1, step_since_s=stamp.now_s, state=RUNNING)
    salt = release.rule.expr.partition(":")[2]
    widened = msgspec.structs.replace(
        release,
        rule=gray.percent(after.percent, salt),
        modified_s=stamp.now_s,
        content="" if release.chunks else release.content,
    )
    return Decided(
        guards=(
            decisions.unchanged(keys.gray(rollout.key, STAGED), release),
            _unchanged(rollout.key, rollout),
        ),
        operations=(Put(keys.gray(rollout.key, STAGED), encode(widened)), _put(after)),
        action="stage-advance",
        before=decisions.digest(release),
        after=decisions.digest(msgspec.structs.replace(widened, content=release.content)),
        md5=release.md5,
    )


def promote(view: ConfigView, rollout: Rollout, why: Decision, stamp: Stamp) -> Decided:
    """The staged version becomes the formal one. Raises CONFLICT / CONFIG_CHANGED when that is another one now."""
    release = _under_way(view, rollout)
    item = view.item(rollout.key)
    if (item.md5 if item is not None else "") != rollout.md5_base:
        text = f"{rollout.key} was published meanwhile; promoting would undo that"
        raise AtollError(Code.CONFLICT, text, reason=Reason.CONFIG_CHANGED)
    content = Content(release.content, release.chunks_id, release.chunks)
    details = Details(
        type=release.type,
        app_name=release.app_name,
        encrypted_data_key=release.encrypted_data_key,
        force=True,
    )
    published = decisions.publish(view, rollout.key, content, details, stamp)
    second = msgspec.structs.replace(stamp, history_id=published.history_id + 1)
    ended = _end(rollout, release, PROMOTED, why, second)
    return msgspec.structs.replace(
        published,
        guards=(*published.guards, *ended.guards),
        operations=(*published.operations, *ended.operations),
        action="stage-promote",
    )


def roll_back(view: ConfigView, rollout: Rollout, why: Decision, stamp: Stamp) -> Decided:
    """Everybody gets the formal version again."""
    release = view.entry(rollout.key).gray(STAGED)
    ended = _end(rollout, release, CANCELLED if why.action == "cancel" else ROLLED_BACK, why, stamp)
    return msgspec.structs.replace(ended, before=decisions.digest(release))


def note(rollout: Rollout, why: Decision) -> Decided:
    """Write down a look that changed nothing, or a pause or its end."""
    state = {"pause": PAUSED, "resume": RUNNING}.get(why.action, rollout.state)
    after = _with(rollout, why, state=state)
    return Decided(
        (_unchanged(rollout.key, rollout),), (_put(after),), f"stage-{why.action}", md5=rollout.md5
    )


def _end(rollout: Rollout, release: GrayRelease | None, state: str, why: Decision, stamp: Stamp) -> Decided:
    after = _with(rollout, why, state=state, ended_s=stamp.now_s)
    place = keys.gray(rollout.key, STAGED)
    if release is None:
        removed = Decided(guards=(decisions.unchanged(place, None),))
    else:
        removed = decisions.removal(place, release, stamp)
    guards = (*removed.guards, _unchanged(rollout.key, rollout))
    return Decided(guards, (*removed.operations, _put(after)), f"stage-{state}", md5=rollout.md5_base)


def _under_way(view: ConfigView, rollout: Rollout) -> GrayRelease:
    """Raises CONFLICT / CONFIG_NOT_FOUND when somebody removed the staged version by hand."""
    release = view.entry(rollout.key).gray(STAGED)
    if not rollout.open or release is None or release.md5 != rollout.md5:
        text = f"the staged release of {rollout.key} is over, or its version was taken away"
        raise AtollError(Code.CONFLICT, text, reason=Reason.CONFIG_NOT_FOUND)
    return release


def _with(rollout: Rollout, why: Decision, **changes: object) -> Rollout:
    """With one decision more; one that repeats the last is counted in it."""
    known = rollout.decisions
    last = known[-1] if known else None
    same = last is not None and (last.action, last.why, last.percent, last.observations, last.by) == (
        why.action,
        why.why,
        why.percent,
        why.observations,
        why.by,
    )
    if last is not None and same:
        repeated = msgspec.structs.replace(last, times=last.times + 1, last_s=why.at_s)
        kept = (*known[:-1], repeated)
    else:
        kept = (*known, why)[-DECISIONS_MAX:]
    return msgspec.structs.replace(rollout, decisions=kept, **changes)


def _put(rollout: Rollout) -> Put:
    return Put(keys.rollout(rollout.key), encode(rollout))


def _unchanged(key: ConfigKey, known: Rollout | None) -> Compare:
    return Compare(keys.rollout(key), Target.MOD, Relation.EQUAL, known.revision if known is not None else 0)
