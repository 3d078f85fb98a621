"""Configuration, as the frontends use it: publish, remove, query, listen.

Rule: reading is a look into the view and never waits; writing is a decision committed under guards. Whoever calls has
asked ``access`` before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_decisions as decisions
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_decisions import Stamp
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_listeners import Listener, Listeners, Tell
from atoll.planes.registry.model.config_patterns import Came, Pattern, Watchers, first_matches
from atoll.planes.registry.model.config_patterns import Tell as TellPattern
from atoll.planes.registry.model.config_view import ConfigView, Touched
from atoll.planes.registry.policy import content_check
from atoll.planes.registry.policy.config_search import find, page_of
from atoll.planes.registry.policy.rollout_judge import Share
from atoll.planes.registry.service.config_capacity import ConfigCapacity
from atoll.planes.registry.service.config_follower import ConfigFollower
from atoll.planes.registry.service.config_history import ConfigHistory
from atoll.planes.registry.service.config_reach import ConfigReach
from atoll.planes.registry.service.config_rollouts import ConfigRollouts, Shares
from atoll.planes.registry.service.config_transfer import ConfigTransfer
from atoll.planes.registry.service.config_upkeep import ConfigUpkeep
from atoll.planes.registry.service.config_writes import Audit, ConfigWriter
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigItem, ConfigKey, GrayRelease
from atoll.resources.config_views import Changed, Details, Items, Published, Search, Served
from atoll.resources.consumer import NOBODY, Consumer
from atoll.resources.rollout import Plan, Rollout
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.rng import Rng
from atoll.store.api import Range, Store

CHECK_AT_ONCE_CHARS_MAX = (
    32_768  # a longer content is checked in a thread: milliseconds are too long for the loop
)


def _gray_name(details: Details) -> str:
    """Of the gray release that is meant; empty for the formal version."""
    return (details.gray_name or gray.default_name(details.gray)) if details.gray is not None else ""


def _never() -> bool:
    return False


def _any_namespace(name: str) -> bool:
    return True


def _no_share(space: str, service: str) -> Share | None:
    return None


@dataclass(frozen=True)
class ConfigParts:
    """What configuration stands on. ``stale``: whether the store is away. ``known``: whether a namespace exists.
    ``shares``: how the instances of a service stand, for the gates of staged releases.
    """

    store: Store
    clock: Clock
    rng: Rng
    audit: Audit
    limits: ConfigLimits = field(default_factory=ConfigLimits)
    stale: Callable[[], bool] = _never
    known: Callable[[str], bool] = _any_namespace
    shares: Shares = _no_share


class Configs:
    """``start`` reads everything; ``follow`` keeps up and is a background task of the plane."""

    def __init__(self, parts: ConfigParts) -> None:
        self.limits = parts.limits
        self.view = ConfigView()
        self.listeners = Listeners(parts.limits)
        self.watchers = Watchers(parts.limits)
        self.follower = ConfigFollower(parts.store, self.view, self._changed)
        self.writer = ConfigWriter(parts.store, self.follower, parts.audit, parts.clock, parts.rng)
        self.history = ConfigHistory(self.view, self.writer)
        self.upkeep = ConfigUpkeep(parts.store, self.follower, parts.limits, parts.clock)
        self.transfer = ConfigTransfer(self.view, self.publish)
        self.reach = ConfigReach(self.view, self.listeners, parts.limits)
        self.rollouts = ConfigRollouts(self.view, self.writer, parts.limits, parts.shares, parts.clock)
        self.capacity = ConfigCapacity(self.view, self.writer)
        self.observers: list[Callable[[Changed], None]] = []
        self.on_listen: list[Callable[[str, ConfigKey, str], None]] = []  # client, item, the md5 that it has
        self.on_told: list[Callable[[str, Changed], None]] = []  # client, what it is told
        self._parts = parts
        self._log = Log("config")

    async def start(self) -> None:
        """Raises what the store says when nothing could be read."""
        await self.follower.load()

    async def follow(self) -> None:
        await self.follower.follow()

    # --------------------------------------------------------------------------------------- reading

    def query(self, key: ConfigKey, consumer: Consumer = NOBODY) -> Served | None:
        """The version that ``consumer`` gets: of a gray release that means it, else the formal one."""
        return self._served(self.view.entry(key).served(consumer))

    def gray(self, key: ConfigKey, name: str) -> Served | None:
        """One gray release by its name (``beta``, ``tag_TAG``), whoever asks."""
        return self._served(self.view.entry(key).gray(name))

    def md5(self, key: ConfigKey, consumer: Consumer) -> str:
        """Of the version that ``consumer`` gets; empty for none."""
        served = self.view.entry(key).served(consumer)
        return served.md5 if served is not None else ""

    def item(self, key: ConfigKey) -> ConfigItem | None:
        """The formal version with all that an editor sees."""
        return self.view.item(key)

    def item_by_id(self, item_id: int) -> ConfigItem | None:
        key = self.view.key_of(item_id)
        return self.view.item(key) if key is not None else None

    def grays(self, key: ConfigKey) -> tuple[GrayRelease, ...]:
        """In the order in which they are asked."""
        return self.view.entry(key).grays

    def search(self, search: Search, page: int = 1, page_size: int = 100) -> Items:
        """Raises INVALID for a page that cannot be."""
        return page_of(find(self.view.items(), search), page, page_size)

    # --------------------------------------------------------------------------------------- writing

    async def publish(
        self, actor: Actor, key: ConfigKey, content: str, details: Details | None = None
    ) -> Published:
        """Make ``content`` the version of ``key`` (for some, with ``details.gray``).

        Raises INVALID (parameters, malformed content: facts ``line`` and ``column``), CONFLICT (compare-and-set,
        create_only, plain text over a cipher-* item), EXHAUSTED (size, quota), NOT_FOUND (namespace), and what the
        store says.
        """
        chosen = details or Details()
        self._require_publishable(key, content)
        size_bytes = len(content.encode())
        decisions.room(self.view, key, self.limits, size_bytes)  # before its chunks are written
        await self._require_valid(key, content, chosen)
        kept = await self.writer.content(content)

        def decide(stamp: Stamp) -> decisions.Decided:
            decided = decisions.publish(self.view, key, kept, chosen, stamp)
            if chosen.gray is None:
                return decisions.also(decided, decisions.room(self.view, key, self.limits, size_bytes))
            decisions.require_gray_room(self.view, key, _gray_name(chosen), self.limits.gray_releases_max)
            return decided

        if chosen.cas_md5:
            await self._catch_up(key, chosen)
        done = await self.writer.commit(actor, f"config {key}", lambda: self._may_create(key, chosen), decide)
        changed = bool(done.decided.operations)
        return Published(key, done.decided.md5, done.revision, changed, done.decided.history_id)

    async def stage(
        self, actor: Actor, key: ConfigKey, content: str, details: Details, plan: Plan
    ) -> Rollout:
        """Release ``content`` to a growing share of the clients (``rollouts`` steers it from there). Raises what a
        publish raises, and what ``model.rollout_decisions.start`` does.
        """
        self._require_publishable(key, content)
        decisions.room(self.view, key, self.limits, len(content.encode()))
        await self._require_valid(key, content, details)
        return await self.rollouts.start(actor, key, content, details, plan)

    async def remove(self, actor: Actor, key: ConfigKey, gray_name: str = "") -> bool:
        """Remove the formal version, or one gray release. False: there was none, which is no error."""

        def decide(stamp: Stamp) -> decisions.Decided:
            if gray_name:
                return decisions.remove_gray(self.view, key, gray_name, stamp)
            return decisions.remove(self.view, key, stamp)

        done = await self.writer.commit(actor, f"config {key}", lambda: False, decide)
        return bool(done.decided.operations)

    # ------------------------------------------------------------------------------------- listening

    def listen(self, listener: Listener, key: ConfigKey) -> bool:
        """From now on ``listener`` is told when the version that it is served changes. True: it differs already from
        ``listener.md5``, which is not told again. Raises EXHAUSTED past a limit.
        """
        served = self.view.entry(key).served(listener.consumer)
        md5 = served.md5 if served is not None else ""
        differs = listener.md5 != md5
        for hear in self.on_listen:
            hear(listener.client, key, listener.md5)
        listener.md5 = md5
        listener.gray_name = served.name if isinstance(served, GrayRelease) else ""
        self.listeners.add(key, listener)
        return differs

    def unlisten(self, client: str, key: ConfigKey) -> None:
        self.listeners.remove(client, key)

    def fuzzy_watch(self, client: str, pattern: Pattern, tell: TellPattern) -> list[ConfigKey]:
        """From now on ``tell`` hears of matching items that come and go. Returns those that are there."""
        self.watchers.add(client, pattern, tell)
        return first_matches(pattern, (each.key for each in self.view.items()), self.limits)

    def fuzzy_unwatch(self, client: str, pattern: Pattern) -> None:
        self.watchers.remove(client, pattern)

    def client_closed(self, client: str) -> None:
        """Forget what a client listened to and watched."""
        self.listeners.remove_client(client)
        self.watchers.remove_client(client)

    # --------------------------------------------------------------------------------------- inside

    def _served(self, version: ConfigItem | GrayRelease | None) -> Served | None:
        if version is None:
            return None
        release = version if isinstance(version, GrayRelease) else None
        return Served(
            content=version.content,
            md5=version.md5,
            type=version.type,
            encrypted_data_key=version.encrypted_data_key,
            modified_s=version.modified_s,
            revision=version.revision,
            gray_name=release.name if release else "",
            gray_kind=release.rule.kind if release else "",
            gray_expr=release.rule.expr if release else "",
            stale=self._parts.stale(),
        )

    async def _catch_up(self, key: ConfigKey, details: Details) -> None:
        """Whoever compares with what another node told them must not be refused because this one is behind it."""
        name = _gray_name(details)
        place = keys.gray(key, name) if name else keys.item(key)
        known = self.view.entry(key).gray(name) if name else self.view.item(key)
        if known is not None and known.md5 == details.cas_md5:
            return
        found = (await self._parts.store.range(Range(place, keys_only=True))).kvs
        if found:
            await self.follower.at(found[0].mod_revision)

    async def _require_valid(self, key: ConfigKey, content: str, details: Details) -> None:
        """What does not parse as its type, or as its schema says, is refused."""
        if details.schema:
            content_check.require_schema(details.schema)
        if not self.limits.check or details.force or key.is_cipher:
            return
        kind, schema = self.kind_and_schema(key, details)
        if len(content) < CHECK_AT_ONCE_CHARS_MAX:
            content_check.require(key, kind, content, schema)
        else:
            await loop.in_thread(content_check.require, key, kind, content, schema)

    def kind_and_schema(self, key: ConfigKey, details: Details) -> tuple[str, str]:
        """Under which type and schema a publish with ``details`` would be kept."""
        current = self.view.item(key)
        kind = details.type or (current.type if current is not None else "")
        schema = (current.schema if current is not None else "") if details.schema is None else details.schema
        return decisions.kind_of(kind), schema

    def _may_create(self, key: ConfigKey, details: Details) -> bool:
        if details.gray is None:
            return self.view.item(key) is None
        return self.view.entry(key).gray(_gray_name(details)) is None

    def _require_publishable(self, key: ConfigKey, content: str) -> None:
        if not content.strip():
            raise AtollError(
                Code.INVALID,
                f"{key}: the content is blank; remove the item instead",
                reason=Reason.PARAMETER_MISSING,
                facts={"parameter": "content"},
            )
        if self.limits.require_namespace and not self._parts.known(key.namespace):
            raise AtollError(
                Code.NOT_FOUND,
                f"there is no namespace {key.namespace!r}; create it first",
                reason=Reason.NAMESPACE_NOT_FOUND,
                facts={"namespace": key.namespace},
            )

    def _changed(self, touched: Sequence[Touched]) -> None:
        """Tell those whom it concerns. What a listener does with it must neither wait nor raise."""
        revision = self.view.revision
        for key, change in dict(touched).items():
            entry = self.view.entry(key)
            for listener, told in self.listeners.changed(key, entry, revision):
                for hear in self.on_told:
                    hear(listener.client, told)
                listener.tell(told)
            formal = Changed(key, entry.item.md5 if entry.item is not None else "", "", revision)
            for observe in self.observers:
                observe(formal)
            if change:
                for pattern, tell in self.watchers.concerned(key):
                    tell(pattern, Came(key, gone=change < 0))


__all__ = ["ConfigParts", "Configs", "Listener", "Pattern", "Tell"]
