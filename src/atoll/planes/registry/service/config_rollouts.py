"""Staged releases at work: started and steered by people, carried on by the node that leads.

Rule: the leader looks at each one that is under way, asks its gates, lets ``policy.rollout_judge`` decide and commits
that under its term. What it could not find out counts as no data. While the store is away nothing moves, because
nothing can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import rollout_decisions as decisions
from atoll.planes.registry.model.config_decisions import Decided, Stamp
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_view import ConfigView
from atoll.planes.registry.model.rollout_decisions import Order
from atoll.planes.registry.policy import rollout_judge as policy
from atoll.planes.registry.policy.rollout_judge import Progress, Share
from atoll.planes.registry.service.config_writes import ConfigWriter
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import Details
from atoll.resources.rollout import (
    RUNNING,
    Decision,
    Gate,
    HealthyGate,
    HttpGate,
    Observation,
    Plan,
    PrometheusGate,
    Rollout,
)
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.http_client import HttpRequest, open_answer
from atoll.runtime.logs import Log
from atoll.store.api import Compare
from atoll.store.term import Term

LOOK_EVERY_S = 0.5
BODY_BYTES_MAX = 1_048_576

MOVES: Mapping[str, str] = {
    "advance": policy.ADVANCE,
    "promote": policy.PROMOTE,
    "pause": "pause",
    "resume": "resume",
    "abort": "cancel",
}

Shares = Callable[[str, str], Share | None]
"""namespace and ``group@@name``: how a service stands; None: not to be relied on."""


class ConfigRollouts:
    """``run`` is the leader's job; everything else answers on any node."""

    name = "staged releases"

    def __init__(
        self, view: ConfigView, writer: ConfigWriter, limits: ConfigLimits, shares: Shares, clock: Clock
    ) -> None:
        self._view = view
        self._writer = writer
        self._limits = limits
        self._shares = shares
        self._clock = clock
        self._progress: dict[int, Progress] = {}
        self._next_look_s: dict[int, float] = {}
        self._log = Log("rollout")

    # ------------------------------------------------------------------------------------- for people

    def get(self, key: ConfigKey) -> Rollout:
        """The newest one of ``key``, under way or over. Raises NOT_FOUND / CONFIG_NOT_FOUND."""
        found = self._view.entry(key).rollout
        if found is None:
            raise AtollError(
                Code.NOT_FOUND, f"{key} never had a staged release", reason=Reason.CONFIG_NOT_FOUND
            )
        return found

    def every(self) -> list[Rollout]:
        return self._view.rollouts()

    async def start(
        self, actor: Actor, key: ConfigKey, content: str, details: Details, plan: Plan
    ) -> Rollout:
        """Begin at the first step. The content was checked before (``Configs.stage``)."""
        order = Order(key, await self._writer.content(content), details, plan)
        await self._writer.commit(
            actor,
            f"config {key}",
            lambda: True,
            lambda stamp: decisions.start(self._view, order, self._limits, stamp),
        )
        return self.get(key)

    async def move(self, actor: Actor, key: ConfigKey, move: str, why: str = "") -> Rollout:
        """``advance`` (to the next step, after the last one promoted), ``promote`` (the formal version, now), ``pause``
        (stay at this step, nothing rolls it back meanwhile), ``resume``, or ``abort`` (everybody gets the formal
        version again); whatever the gates say. Raises INVALID for any other, NOT_FOUND, CONFLICT when it is over.
        """
        if move not in MOVES:
            text = f"a staged release cannot {move[:40]!r}; expected {', '.join(MOVES)}"
            raise AtollError(Code.INVALID, text, reason=Reason.PARAMETER_INVALID, facts={"parameter": "move"})

        def decide(stamp: Stamp) -> Decided:
            rollout = self._open(key)
            action = MOVES[move]
            if action == policy.ADVANCE and rollout.step + 1 == len(rollout.plan.steps):
                action = policy.PROMOTE
            who = actor.user or actor.via
            reason = Decision(stamp.now_s, action, why or "asked for", rollout.percent, by=who)
            if action in ("pause", "resume"):
                return decisions.note(rollout, reason)
            return _ACTS[action](self._view, rollout, reason, stamp)

        await self._writer.commit(actor, f"config {key}", lambda: True, decide)
        return self.get(key)

    def _open(self, key: ConfigKey) -> Rollout:
        """Raises NOT_FOUND, or CONFLICT for one that is over."""
        rollout = self.get(key)
        if not rollout.open:
            raise AtollError(Code.CONFLICT, f"the staged release of {key} is over: it was {rollout.state}")
        return rollout

    # ------------------------------------------------------------------------------------- for the leader

    async def run(self, term: Term) -> None:
        """Look at all that are under way, each when it is time, until cancelled."""
        self._progress.clear()
        self._next_look_s.clear()
        while term.holds():
            now_s = self._clock.now_s()
            due = [each for each in self._running() if self._next_look_s.get(each.id, now_s) <= now_s]
            for rollout in due:
                self._next_look_s[rollout.id] = now_s + rollout.plan.check_every_s
            await loop.gather(*(self._look_safely(rollout, term) for rollout in due))
            await loop.sleep(LOOK_EVERY_S)

    async def look(self, rollout: Rollout, guards: tuple[Compare, ...] = ()) -> None:
        """Once: ask the gates, decide, commit. Raises what the store says."""
        seen = await loop.gather(*(self._observe(rollout, gate) for gate in rollout.plan.gates))
        item = self._view.item(rollout.key)
        if (item.md5 if item is not None else "") != rollout.md5_base:
            verdict = policy.Verdict(policy.ROLL_BACK, "another version was published meanwhile")
        else:
            before = self._progress.get(rollout.id)
            verdict, after = policy.judge(rollout, seen, before, self._clock.now_s())
            self._progress[rollout.id] = after
        await self._act(rollout, verdict, tuple(seen), guards)

    def _running(self) -> list[Rollout]:
        return [each for each in self._view.rollouts() if each.state == RUNNING]

    async def _look_safely(self, rollout: Rollout, term: Term) -> None:
        try:
            term.check()
            await self.look(rollout, term.guards())
        except AtollError as error:  # away, or somebody changed it at the same time: the next look shows
            self._log.warning("a staged release stands", item=str(rollout.key), why=error.message)

    async def _act(
        self,
        rollout: Rollout,
        verdict: policy.Verdict,
        seen: tuple[Observation, ...],
        guards: tuple[Compare, ...],
    ) -> None:
        def decide(stamp: Stamp) -> Decided:
            now = self.get(rollout.key)
            if now.revision != rollout.revision:
                return Decided()  # somebody steered it while the gates were asked: look again
            why = Decision(stamp.now_s, verdict.action, verdict.why, rollout.percent, seen)
            if verdict.action == policy.HOLD:
                held = decisions.note(rollout, why)
            else:
                held = _ACTS[verdict.action](self._view, rollout, why, stamp)
            return msgspec.structs.replace(held, guards=(*held.guards, *guards))

        last = rollout.decisions[-1]
        if verdict.action == policy.HOLD and (last.action, last.why) == (policy.HOLD, verdict.why):
            return  # nothing new to write down
        actor = Actor(via="atoll")
        await self._writer.commit(actor, f"config {rollout.key}", lambda: True, decide)
        if verdict.action != policy.HOLD:
            self._log.info("staged release", item=str(rollout.key), action=verdict.action, why=verdict.why)

    async def _observe(self, rollout: Rollout, gate: Gate) -> Observation:
        if isinstance(gate, HealthyGate):
            space = gate.namespace or rollout.key.namespace
            shares = {name: self._shares(space, name) for name in gate.services}
            return policy.healthy(gate, shares)
        if isinstance(gate, HttpGate):
            status, _, problem = await _get(gate.url, gate.within_s)
            return policy.http(gate, status, problem)
        return await _ask_prometheus(gate)


async def _ask_prometheus(gate: PrometheusGate) -> Observation:
    url = f"{gate.url.rstrip('/')}/api/v1/query?{urlencode({'query': gate.query})}"
    status, body, problem = await _get(url, gate.within_s)
    if status is not None and status != 200:
        return policy.prometheus(gate, None, f"answered {status}")
    return policy.prometheus(gate, body, problem)


async def _get(url: str, within_s: float) -> tuple[int | None, bytes | None, str]:
    """Status and body, or why there are none."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = HttpRequest("GET", target, {"accept": "*/*"}, within_s=within_s)
    try:
        async with (
            loop.bounded(within_s, f"GET {url}"),
            open_answer(f"{parts.scheme}://{parts.netloc}", request) as answer,
        ):
            body = b""
            async for part in answer.parts:
                body += part
                if len(body) > BODY_BYTES_MAX:
                    return None, None, f"its answer has more than {BODY_BYTES_MAX} bytes"
            return answer.status, body, ""
    except AtollError as error:
        return None, None, error.message


_ACTS: Mapping[str, Callable[[ConfigView, Rollout, Decision, Stamp], Decided]] = {
    policy.ADVANCE: decisions.advance,
    policy.PROMOTE: decisions.promote,
    policy.ROLL_BACK: decisions.roll_back,
    "cancel": decisions.roll_back,
}
