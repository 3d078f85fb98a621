"""Configuration against a dumb model: a dictionary, and what each listener was last told.

Two nodes on one store take turns. After every step each serves what the model says, and each listener was told exactly
when its own version changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from atoll.errors import AtollError, Code
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_listeners import Listener
from atoll.resources.config_item import ConfigKey, GrayRule, md5_of
from atoll.resources.config_views import Details
from atoll.resources.consumer import Consumer
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from tests.unit.registry.config_kit import ANN, Kit, open_kit

KEYS = [ConfigKey("public", "g", name) for name in ("a", "b")]
TEXTS = st.sampled_from(["one", "two", "three"])
CONSUMERS = {
    "plain": Consumer("10.0.0.1"),
    "beta": Consumer("10.0.0.2"),
    "tagged": Consumer("10.0.0.1", tag="blue"),
    "both": Consumer("10.0.0.2", tag="blue", labels={"zone": "x"}),
}
RULES = {
    "beta": gray.beta("10.0.0.2"),
    "tag_blue": gray.tag("blue"),
    "zone": GrayRule("label", "zone=x|y", 5),
}
ORDER = ("beta", "tag_blue", "zone")  # by priority
MEANT = {
    "plain": (),
    "beta": ("beta",),
    "tagged": ("tag_blue",),
    "both": ("beta", "tag_blue", "zone"),
}


class ConfigMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.failures: list[BaseException] = []
        self.formal: dict[ConfigKey, str] = {}
        self.grays: dict[tuple[ConfigKey, str], str] = {}
        self.entries: dict[ConfigKey, list[str]] = {key: [] for key in KEYS}
        self.told: dict[tuple[int, str, ConfigKey], list[str]] = {}
        self.do(self._open())

    async def _open(self) -> None:
        self.store = StoreShell(open_memory())
        self.tasks = Tasks(Log("test"), lambda name, error: self.failures.append(error))
        self.nodes: list[Kit] = [await open_kit(self.store, self.tasks) for _ in range(2)]
        for number, node in enumerate(self.nodes):
            for name, consumer in CONSUMERS.items():
                for key in KEYS:
                    heard = self.told[number, name, key] = [""]
                    listener = Listener(name, consumer, "", lambda told, heard=heard: heard.append(told.md5))  # type: ignore[misc]
                    node.configs.listen(listener, key)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        for node in getattr(self, "nodes", ()):
            node.clock.pass_s(0.002)
        return self.loop.run_until_complete(work)

    def wanted(self, key: ConfigKey, who: str) -> str | None:
        """What the model serves."""
        for name in ORDER:
            if name in MEANT[who] and (key, name) in self.grays:
                return self.grays[key, name]
        return self.formal.get(key)

    @rule(node=st.integers(0, 1), key=st.sampled_from(KEYS), text=TEXTS)
    def publish(self, node: int, key: ConfigKey, text: str) -> None:
        changed = self.formal.get(key) != text
        if changed:
            self.entries[key].append(self.formal.get(key, text))
        self.formal[key] = text
        done = self.do(self.nodes[node].configs.publish(ANN, key, text))
        assert done.changed == changed and done.md5 == md5_of(text)

    @rule(node=st.integers(0, 1), key=st.sampled_from(KEYS), text=TEXTS, expected=TEXTS)
    def compare_and_set(self, node: int, key: ConfigKey, text: str, expected: str) -> None:
        work = self.nodes[node].configs.publish(ANN, key, text, Details(cas_md5=md5_of(expected)))
        if self.formal.get(key) == expected:
            self.do(work)
            if text != expected:
                self.entries[key].append(expected)
            self.formal[key] = text
            return
        try:
            self.do(work)
        except AtollError as error:
            assert error.code is Code.CONFLICT
            return
        raise AssertionError("published over another version")

    @rule(node=st.integers(0, 1), key=st.sampled_from(KEYS), name=st.sampled_from(ORDER), text=TEXTS)
    def publish_gray(self, node: int, key: ConfigKey, name: str, text: str) -> None:
        details = Details(gray=RULES[name], gray_name=name)
        if self.grays.get((key, name)) != text:
            self.entries[key].append(self.grays.get((key, name), text))
        self.grays[key, name] = text
        self.do(self.nodes[node].configs.publish(ANN, key, text, details))

    @rule(node=st.integers(0, 1), key=st.sampled_from(KEYS), name=st.sampled_from(("", *ORDER)))
    def remove(self, node: int, key: ConfigKey, name: str) -> None:
        before = self.grays.pop((key, name), None) if name else self.formal.pop(key, None)
        if before is not None:
            self.entries[key].append(before)
        assert self.do(self.nodes[node].configs.remove(ANN, key, name)) == (before is not None)

    @rule(node=st.integers(0, 1), key=st.sampled_from(KEYS), back=st.integers(0, 5))
    def roll_back(self, node: int, key: ConfigKey, back: int) -> None:
        history = self.nodes[node].configs.history
        page = self.do(history.page(key))
        if back >= len(page.entries):
            return
        entry = page.entries[back]
        slot: Any = (self.grays, (key, entry.gray_name)) if entry.gray_name else (self.formal, key)
        before = slot[0].get(slot[1])
        if before != entry.content:
            self.entries[key].append(entry.content if before is None else before)
        slot[0][slot[1]] = entry.content
        self.do(history.rollback(ANN, key, entry.id))

    @invariant()
    def every_node_serves_what_the_model_says(self) -> None:
        if not hasattr(self, "nodes"):
            return
        newest = max(node.configs.view.revision for node in self.nodes)
        for number, node in enumerate(self.nodes):
            assert self.do(node.configs.follower.at(newest, 5.0))
            for key in KEYS:
                for who, consumer in CONSUMERS.items():
                    served = node.configs.query(key, consumer)
                    text = self.wanted(key, who)
                    assert (served.content if served else None) == text, (number, key, who)
                    heard = self.told[number, who, key]
                    assert heard[-1] == (md5_of(text) if text is not None else "")
                    assert all(one != other for one, other in zip(heard, heard[1:], strict=False))

    @invariant()
    def history_holds_every_version_in_order(self) -> None:
        if not hasattr(self, "nodes"):
            return
        for key in KEYS:
            page = self.do(self.nodes[0].configs.history.page(key))
            assert [each.content for each in reversed(page.entries)] == self.entries[key]

    def teardown(self) -> None:
        if not hasattr(self, "nodes"):
            return
        self.do(self.tasks.stop(1.0))
        self.do(self.store.close())
        self.loop.close()
        assert not self.failures


def test_configuration_is_what_a_dumb_model_says() -> None:
    chosen = settings(max_examples=40, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(ConfigMachine, settings=chosen)
