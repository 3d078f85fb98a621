"""Finding configuration items.

Rule: pure, over what the view has; the order is that of group and data id, so that pages do not shift when somebody
edits an item. The content of a cipher-* item is never looked into.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.config_patterns import text_matches
from atoll.resources import namespace
from atoll.resources.config_item import ConfigItem
from atoll.resources.config_views import Items, Search

PAGE_SIZE_MAX = 500


def find(items: Iterable[ConfigItem], search: Search) -> list[ConfigItem]:
    """All that match, in order."""
    space = namespace.canonical(search.namespace)
    found = (each for each in items if search.all_namespaces or each.key.namespace == space)
    return sorted((each for each in found if _matches(each, search)), key=lambda each: each.key)


def page_of(found: list[ConfigItem], page: int, page_size: int) -> Items:
    """``page`` from 1; 0 is taken for 1, as Nacos clients mean it. Raises INVALID for a page of no size."""
    page, page_size = page_bounds(page, page_size)
    start = (page - 1) * page_size
    return Items(len(found), page, page_size, tuple(found[start : start + page_size]))


def page_bounds(page: int, page_size: int) -> tuple[int, int]:
    if page < 0 or page_size < 1:
        raise AtollError(
            Code.INVALID,
            f"page {page} of {page_size} items: pages count from 1 and hold 1 to {PAGE_SIZE_MAX}",
            reason=Reason.PARAMETER_INVALID,
            facts={"parameter": "pageNo" if page < 0 else "pageSize"},
        )
    return max(page, 1), min(page_size, PAGE_SIZE_MAX)


def _matches(item: ConfigItem, search: Search) -> bool:
    if search.types and item.type not in search.types:
        return False
    if search.tags and not all(tag in item.tags for tag in search.tags):
        return False
    pairs = (
        (search.data_id, item.key.data_id),
        (search.group, item.key.group),
        (search.app_name, item.app_name),
    )
    if not all(not wanted or _text(search, wanted, found) for wanted, found in pairs):
        return False
    return not search.content or (not item.key.is_cipher and _contains(search.content, item.content))


def _text(search: Search, wanted: str, found: str) -> bool:
    return text_matches(wanted, found) if search.blur else wanted == found


def _contains(wanted: str, content: str) -> bool:
    """``*`` at both ends, as the console sends it, means the same as none."""
    return wanted.strip("*") in content
