"""What subscribers and listeners held over time, from the lines of their fleet, and what was wrong with it.

Rule: pure; events in the order in which they were written. A subscriber is (client number), a list is a set of
``ip:port``; an instance counts as held while it is in the list, healthy or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from tests.e2e.registry.plan import Event, Held, Listed, Published

Hosts = Mapping[str, Set[str]]  # by service


@dataclass
class Lists:
    """What each (subscriber, service) holds after the last event, and since when."""

    hosts: dict[tuple[int, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    sick: dict[tuple[int, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    changed_s: dict[tuple[int, str], float] = field(default_factory=dict)

    def take(self, event: Listed) -> None:
        name = (event.client, event.service)
        self.hosts[name] |= set(event.added)
        self.hosts[name] -= set(event.removed)
        self.sick[name] = self.sick[name] - set(event.removed) - set(event.cured) | set(event.sick)
        self.changed_s[name] = event.at_s


def lists(events: Sequence[Event]) -> Lists:
    held = Lists()
    for event in events:
        if isinstance(event, Listed):
            held.take(event)
    return held


def unsettled(events: Sequence[Event], subscribers: int, expected: Hosts) -> list[str]:
    """Which subscribers do not hold exactly ``expected``, all healthy; in words."""
    held = lists(events)
    wrong = []
    for client in range(subscribers):
        for service, hosts in expected.items():
            have, sick = held.hosts[client, service], held.sick[client, service]
            if have != hosts or sick:
                missing, more = len(hosts - have), len(have - hosts)
                wrong.append(
                    f"{client} of {service}: {missing} missing, {more} too many, {len(sick)} unhealthy"
                )
    return wrong


def settled_s(events: Sequence[Event], subscribers: int, since_s: float) -> list[float]:
    """For each subscriber, how long after ``since_s`` its lists last changed; 0 where they did not."""
    held = lists(events)
    last = [
        max((at_s for (client, _), at_s in held.changed_s.items() if client == number), default=since_s)
        for number in range(subscribers)
    ]
    return [max(0.0, at_s - since_s) for at_s in last]


def removals(events: Sequence[Event], alive: Set[str], since_s: float) -> list[str]:
    """Live instances that a subscriber was told are gone."""
    return [
        f"{host} of {event.service} at subscriber {event.client}, {event.at_s - since_s:.2f} s"
        for event in events
        if isinstance(event, Listed) and event.at_s >= since_s
        for host in event.removed
        if host in alive
    ]


def overstays(events: Sequence[Event], gone_by_s: Mapping[str, float]) -> list[str]:
    """Instances that a subscriber held beyond the instant by which they had to be gone."""
    held_since: set[tuple[int, str, str]] = set()
    late = []
    for event in events:
        if not isinstance(event, Listed):
            continue
        held_since |= {(event.client, event.service, host) for host in event.added if host in gone_by_s}
        for host in event.removed:
            name = (event.client, event.service, host)
            if name in held_since:
                held_since.discard(name)
                if event.at_s > gone_by_s[host]:
                    late.append(f"{name}: {event.at_s - gone_by_s[host]:.2f} s late")
    return late + [f"{name}: never removed" for name in sorted(held_since)]


def stayed_s(events: Sequence[Event], left_s: Mapping[str, float]) -> list[float]:
    """For each instance, how long after its leave the last subscriber was told that it is gone."""
    last: dict[str, float] = {}
    for event in events:
        if isinstance(event, Listed):
            last.update((host, event.at_s) for host in event.removed if host in left_s)
    return [max(0.0, at_s - left_s[host]) for host, at_s in last.items()]


def acknowledgements(events: Sequence[Event]) -> list[Published]:
    return [event for event in events if isinstance(event, Published) and event.ok]


def acknowledged(events: Sequence[Event]) -> dict[str, int]:
    """The newest number that the writer was told is published, by configuration."""
    return {event.config: number_of(event.content) for event in acknowledgements(events)}


def lost(stored: Mapping[str, Mapping[str, str]], published: Mapping[str, int]) -> list[str]:
    """Where a node, asked for a configuration, has an older content than what was acknowledged."""
    return [
        f"{node} has {content!r} of {config}, {published[config]} was published"
        for node, contents in stored.items()
        for config, content in contents.items()
        if config in published and number_of(content or "number=-1") < published[config]
    ]


def behind(events: Sequence[Event], listeners: int, published: Mapping[str, int]) -> list[str]:
    """Listeners that hold an older content than what was acknowledged."""
    newest: dict[tuple[int, str], int] = {}
    for event in events:
        if isinstance(event, Held):
            newest[event.client, event.config] = number_of(event.content)
    return [
        f"listener {client} holds {newest.get((client, config))} of {config}, {number} was published"
        for client in range(listeners)
        for config, number in published.items()
        if newest.get((client, config), -1) < number
    ]


def number_of(content: str) -> int:
    return int(content.removeprefix("number="))
