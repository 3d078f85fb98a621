"""Paths as Envoy normalises them before it looks for a route.

Rule: only what the connection manager is told to do: ``normalize_path`` (dot segments, backslashes), ``merge_slashes``.
"""

from __future__ import annotations

import re
from typing import Any

_DOT = re.compile(r"%2e", re.IGNORECASE)


def normalised(manager: Any, path_and_query: str) -> str:
    path, mark, query = path_and_query.partition("?")
    if manager.normalize_path.value:
        path = _without_dots(path)
    if manager.merge_slashes:
        path = _merged(path)
    return f"{path}{mark}{query}"


def _merged(path: str) -> str:
    """As Envoy does it: nothing but slashes stays two of them."""
    if "//" not in path:
        return path
    inner = "/".join(part for part in path.split("/") if part)
    return f"/{inner}{'/' if path.endswith('/') else ''}"


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = _DOT.sub(".", path.replace("\\", "/")).split("/")
    for segment in segments:
        if segment == "..":
            kept = kept[:-1] if len(kept) > 1 else kept
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept) if len(kept) > 1 else "/"
