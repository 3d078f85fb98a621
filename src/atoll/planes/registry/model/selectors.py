"""Selectors: which of the instances a consumer is given because of where the two are.

Rule: a selector may only order what there is: where nothing matches, everything is given (``nearby``), or nothing
(``label``, as upstream: a label is a wall, nearness is a wish). Labels of a provider are its metadata; what an
operator gave to its address wins over them. Labels of a consumer are what it said of itself; an operator's win again.

``label``: ``CONSUMER.label.A = PROVIDER.label.A & CONSUMER.label.B = PROVIDER.label.B`` (the grammar of Nacos).
``nearby``: ``zone,region``, from the nearest to the farthest: the first of them that the consumer has and that some
healthy instance shares decides.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.naming import Selection
from atoll.resources.instance import Instance
from atoll.resources.service import Selector

NONE, LABEL, NEARBY = "none", "label", "nearby"
KINDS = (LABEL, NEARBY, NONE)
NEARBY_DEFAULT = "zone,region"
LABELS_MAX = 16  # in one expression

_TERM = re.compile(r"CONSUMER\.label\.([^\s=&]+)\s*=\s*PROVIDER\.label\.([^\s=&]+)")
_NAME = re.compile(r"[^\s,=&]+")


@functools.lru_cache(maxsize=4096)
def labels_in(selector: Selector) -> tuple[str, ...]:
    """The labels that ``selector`` looks at, in its order. Raises INVALID / SELECTOR_INVALID for what is none."""
    if selector.kind == NONE:
        return ()
    if selector.kind == LABEL:
        terms = [_label_of(term) for term in selector.expression.split("&") if term.strip()]
    elif selector.kind == NEARBY:
        terms = [_name_of(term) for term in (selector.expression or NEARBY_DEFAULT).split(",")]
    else:
        raise _invalid(f"selector type {selector.kind!r} is not known; known are {', '.join(KINDS)}")
    if len(terms) > LABELS_MAX:
        raise _invalid(f"selector compares {len(terms)} labels, at most {LABELS_MAX} are allowed")
    return tuple(terms)


def consumer_labels(
    selector: Selector, wanted: Selection, labels_of: Callable[[str], Mapping[str, str]]
) -> tuple[str, ...]:
    """What distinguishes one consumer from another for this selector: two with the same are given the same."""
    names = labels_in(selector)
    if not names:
        return ()
    fixed = labels_of(wanted.address)
    return tuple(fixed.get(name) or wanted.labels.get(name, "") for name in names)


def choose(
    selector: Selector,
    instances: list[Instance],
    wanted: Selection,
    labels_of: Callable[[str], Mapping[str, str]],
) -> list[Instance]:
    """Those of ``instances`` that the consumer is given."""
    names = labels_in(selector)
    if not names:
        return instances
    own = consumer_labels(selector, wanted, labels_of)
    if selector.kind == LABEL:
        return [each for each in instances if _labels(each, names, labels_of) == own]
    for name, value in zip(names, own, strict=True):
        near = [each for each in instances if value and _labels(each, (name,), labels_of) == (value,)]
        if any(each.healthy and each.enabled for each in near):
            return near
    return instances


def _labels(
    instance: Instance, names: Sequence[str], labels_of: Callable[[str], Mapping[str, str]]
) -> tuple[str, ...]:
    fixed = labels_of(instance.ip)
    return tuple(fixed.get(name) or instance.metadata.get(name, "") for name in names)


def _label_of(term: str) -> str:
    found = _TERM.fullmatch(term.strip())
    if found is None or found[1] != found[2]:
        raise _invalid(
            f"selector term {term.strip()!r} is not understood; "
            "expected CONSUMER.label.NAME = PROVIDER.label.NAME with one NAME on both sides"
        )
    return found[1]


def _name_of(term: str) -> str:
    if not _NAME.fullmatch(term.strip()):
        raise _invalid(f"selector label {term.strip()!r} is not a name; expected a list like zone,region")
    return term.strip()


def _invalid(text: str) -> AtollError:
    return AtollError(Code.INVALID, text, reason=Reason.SELECTOR_INVALID)
