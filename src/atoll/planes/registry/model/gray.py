"""Who gets a gray release.

Rule: a pure function of the rule and the consumer, so that every node, and a preview, answer the same. Rules are asked
in descending priority, equal ones by name; the first that matches wins, and none means the formal version.

A percentage falls on clients, not on requests: the SHA-256 of a salt and of what stays the same of a client over
reconnects, read as a fraction of its range, is below the percentage or not. A client that is in at 10 % is in at 50 %.
Another salt (each staged release has its own) chooses other clients, so that it is not always the same that go first.

Kinds ``beta`` and ``tag``: as in Nacos 2.x, with its priorities.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable

from atoll.errors import AtollError, Code, Reason
from atoll.resources.config_item import GRAY_TAG_CHARS_MAX, GrayRelease, GrayRule
from atoll.resources.consumer import Consumer

BETA, TAG, LABEL, PERCENT = "beta", "tag", "label", "percent"
BETA_PRIORITY = 2_147_483_647
TAG_PRIORITY = 2_147_483_646
STAGED_PRIORITY = 0
EXPR_CHARS_MAX = 8_192
NAME_CHARS_MAX = 64

_NAME = re.compile(r"[a-zA-Z0-9_.:-]+")
_TERM = re.compile(r"\s*([A-Za-z0-9_.\-/]+)\s*(!=|=)\s*(.*?)\s*")


def beta(addresses: str) -> GrayRule:
    """``addresses``: a comma list."""
    return GrayRule(BETA, addresses, BETA_PRIORITY)


def tag(name: str) -> GrayRule:
    return GrayRule(TAG, name, TAG_PRIORITY)


def percent(share: float, salt: str) -> GrayRule:
    return GrayRule(PERCENT, f"{share:g}:{salt}", STAGED_PRIORITY)


def default_name(rule: GrayRule) -> str:
    """What Nacos calls it, or the kind."""
    return f"tag_{rule.expr}" if rule.kind == TAG else rule.kind


def order(releases: Iterable[GrayRelease]) -> tuple[GrayRelease, ...]:
    return tuple(sorted(releases, key=lambda each: (-each.rule.priority, each.name)))


def choose(releases: Iterable[GrayRelease], consumer: Consumer) -> GrayRelease | None:
    """The first of ``releases``, in their order, that ``consumer`` gets."""
    return next((each for each in releases if matches(each.rule, consumer)), None)


def matches(rule: GrayRule, consumer: Consumer) -> bool:
    """False for a rule of a kind that this release does not know: such a client gets the formal version."""
    if rule.kind == BETA:
        return consumer.address in _addresses(rule.expr)
    if rule.kind == TAG:
        return bool(consumer.tag) and consumer.tag == rule.expr
    if rule.kind == LABEL:
        return all(_term_holds(term, consumer) for term in _terms(rule.expr))
    if rule.kind == PERCENT:
        share, salt = _percent(rule.expr)
        return position(salt, consumer.identity) < share
    return False


def position(salt: str, identity: str) -> float:
    """Where a client stands between 0 and 100."""
    digest = hashlib.sha256(f"{salt}\n{identity}".encode()).digest()
    return 100.0 * int.from_bytes(digest[:8], "big") / 2**64


def require_rule(rule: GrayRule, name: str) -> GrayRule:
    """``rule`` if it says whom it means. Raises INVALID / GRAY_RULE_INVALID."""
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise _wrong(f"name {name[:80]!r}: 1 to {NAME_CHARS_MAX} letters, digits, '_', '.', ':' or '-'")
    if len(rule.expr) > EXPR_CHARS_MAX:
        raise _wrong(f"expression of {len(rule.expr)} characters; at most {EXPR_CHARS_MAX}")
    if rule.kind == BETA and not _addresses(rule.expr):
        raise _wrong("'beta' needs a comma list of client addresses")
    if rule.kind == TAG and not 1 <= len(rule.expr) <= GRAY_TAG_CHARS_MAX:
        raise _wrong(
            f"'tag' needs one tag of at most {GRAY_TAG_CHARS_MAX} characters, not {rule.expr[:80]!r}"
        )
    if rule.kind == LABEL:
        _terms(rule.expr)
    if rule.kind == PERCENT:
        _percent(rule.expr)
    if rule.kind not in (BETA, TAG, LABEL, PERCENT):
        raise _wrong(f"kind {rule.kind[:80]!r}; expected beta, tag, label or percent")
    return rule


@functools.lru_cache(maxsize=1024)
def _addresses(expr: str) -> frozenset[str]:
    return frozenset(part for each in expr.split(",") if (part := each.strip()))


@functools.lru_cache(maxsize=1024)
def _terms(expr: str) -> tuple[tuple[str, bool, frozenset[str]], ...]:
    """``(label, wanted, values)`` each; all must hold."""
    found = []
    for text in expr.split("&"):
        term = _TERM.fullmatch(text)
        values = frozenset(value for each in term[3].split("|") if (value := each.strip())) if term else None
        if term is None or not values:
            raise _wrong(
                f"term {text[:80]!r} of 'label': expected LABEL=VALUE|VALUE or LABEL!=VALUE, joined by '&'"
            )
        found.append((term[1], term[2] == "=", values))
    return tuple(found)


def _term_holds(term: tuple[str, bool, frozenset[str]], consumer: Consumer) -> bool:
    label, wanted, values = term
    return (consumer.labels.get(label, "") in values) == wanted


@functools.lru_cache(maxsize=1024)
def _percent(expr: str) -> tuple[float, str]:
    share, _, salt = expr.partition(":")
    try:
        number = float(share)
    except ValueError as error:
        raise _wrong(f"percentage {share[:80]!r} is no number") from error
    if not 0 <= number <= 100:
        raise _wrong(f"percentage {number:g}: must be 0 to 100")
    return number, salt


def _wrong(problem: str) -> AtollError:
    return AtollError(Code.INVALID, f"gray release: {problem}", reason=Reason.GRAY_RULE_INVALID)
