"""Is the process alive, and is it ready to serve: the answers behind ``/livez`` and ``/readyz``.

Rule: alive means that the event loop turns (whoever gets an answer at all has it); ready means that every named
part said so. A part that is not ready says why, in words for the person who looks.
"""

from __future__ import annotations


class Health:
    """Named parts, each ready (``None``) or not (the reason)."""

    def __init__(self) -> None:
        self._parts: dict[str, str | None] = {}

    def expect(self, part: str, reason: str = "starting") -> None:
        """``part`` exists and is not ready, because of ``reason``."""
        self._parts[part] = reason

    def ready(self, part: str) -> None:
        self._parts[part] = None

    @property
    def is_ready(self) -> bool:
        return bool(self._parts) and not any(self._parts.values())

    def report(self) -> dict[str, str]:
        """Every part with ``ready`` or the reason why it is not."""
        return {part: reason or "ready" for part, reason in self._parts.items()}
