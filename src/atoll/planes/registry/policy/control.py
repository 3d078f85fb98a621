"""Rate limits and connection limits, shared by all of the plane's protocols: which request is one too many.

Rule: a point without a rule is not counted, at the price of one look-up. A rule counts in fixed windows of its
period, all clients of a node together; ``monitor`` counts and lets pass, ``intercept`` refuses above its limit.

Source: Nacos 2.3, control plugin: point names, ``{"pointName", "pointRule": {"maxCount", "period", "monitorType"}}``
and ``{"countLimit", "monitorIpList"}``. Doubt: a fixed window lets through twice its limit around its edge, as the
reference's does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from atoll.errors import AtollError, Code, Reason

UNLIMITED = -1
REFUSAL_DELAY_S = 1.0
"""How long an over-limit answer is held back: a client that asks again at once would only make it worse."""

_UNITS_S: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3_600.0}
_RULE = re.compile(
    r"(?P<point>[A-Za-z_]{1,64})=(?P<count>\d{1,9})(/(?P<unit>[smh]))?(:(?P<kind>monitor|intercept))?"
)


class Rule(msgspec.Struct, frozen=True):
    """``count_max`` requests in ``period_s``; ``intercept`` False only counts."""

    count_max: int
    period_s: float = 1.0
    intercept: bool = True


class ConnectionRule(msgspec.Struct, frozen=True):
    """How many gRPC connections a node takes, in all and from one IP; ``UNLIMITED``: no limit."""

    count_max: int = UNLIMITED
    per_address_max: int = UNLIMITED


class _Window:
    """What one point has counted."""

    __slots__ = ("count", "rule", "starts_s")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.starts_s = float("-inf")
        self.count = 0

    def take(self, now_s: float) -> bool:
        if not 0 <= now_s - self.starts_s < self.rule.period_s:
            self.starts_s = now_s - now_s % self.rule.period_s
            self.count = 0
        self.count += 1
        return self.count <= self.rule.count_max


class Control:
    """The limits of one node. Belongs to the loop's thread."""

    def __init__(self, rules: Mapping[str, Rule], connections: ConnectionRule) -> None:
        self._windows = {point: _Window(rule) for point, rule in rules.items()}
        self.connections = connections
        self.over: dict[tuple[str, str], int] = {}  # by point and what was done, for metrics
        self._by_address: dict[str, int] = {}
        self._count = 0

    @property
    def rules(self) -> Mapping[str, Rule]:
        return {point: window.rule for point, window in self._windows.items()}

    def set_rule(self, point: str, rule: Rule | None) -> None:
        """Begin to count ``point`` anew, or with None no longer."""
        if rule is None:
            self._windows.pop(point, None)
        else:
            self._windows[point] = _Window(rule)

    def allows(self, point: str, now_s: float) -> bool:
        """Count one request for ``point``; False: refuse it."""
        window = self._windows.get(point)
        if window is None or window.take(now_s):
            return True
        done = "intercept" if window.rule.intercept else "monitor"
        self.over[point, done] = self.over.get((point, done), 0) + 1
        return not window.rule.intercept

    def require(self, point: str, now_s: float) -> None:
        """Raises EXHAUSTED / RATE_LIMITED where ``allows`` says no."""
        if not self.allows(point, now_s):
            raise over_limit(point)

    def connected(self, address: str) -> None:
        """Count a connection from ``address`` (an IP). Raises EXHAUSTED / RATE_LIMITED, and then it is not counted."""
        limits = self.connections
        have = self._by_address.get(address, 0)
        if 0 <= limits.count_max <= self._count or 0 <= limits.per_address_max <= have:
            self.over["connection", "intercept"] = self.over.get(("connection", "intercept"), 0) + 1
            raise over_limit("connection")
        self._by_address[address] = have + 1
        self._count += 1

    def disconnected(self, address: str) -> None:
        """Take back what ``connected`` counted."""
        have = self._by_address.pop(address) - 1
        if have:
            self._by_address[address] = have
        self._count -= 1


def over_limit(point: str) -> AtollError:
    return AtollError(
        Code.EXHAUSTED,
        f"over the limit of {point}: ask again later, or less often",
        reason=Reason.RATE_LIMITED,
        retry_after_s=REFUSAL_DELAY_S,
        facts={"point": point},
    )


def parse_rules(text: str) -> Mapping[str, Rule]:
    """``ConfigQuery=100, ConfigPublish=600/m:monitor``: at most so many a second (or ``/m``, ``/h``). Raises INVALID."""
    rules: dict[str, Rule] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _RULE.fullmatch(part)
        if found is None:
            raise AtollError(
                Code.INVALID,
                f"{part!r} is no rate limit; expected POINT=COUNT[/s|/m|/h][:monitor|:intercept], "
                f"for example ConfigQuery=100/s:intercept",
            )
        period_s = _UNITS_S[found["unit"] or "s"]
        rules[found["point"]] = Rule(int(found["count"]), period_s, found["kind"] != "monitor")
    return rules
