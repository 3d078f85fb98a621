"""Structured log lines on standard error, and the newest of them in memory for a debug bundle.

Rule: an event has a fixed name and fields, never a sentence with values pasted in, and no field whose name
says that it is a secret is ever written. Lines of other libraries (``logging``) take the same way out.

Formats: ``text`` is ``2026-01-31T12:00:00.123Z info  node  store opened  path=/x revision=7`` and ``json`` is one
object a line with ``time``, ``level``, ``logger``, ``event`` and the fields.
"""

from __future__ import annotations

import collections
import datetime
import json
import logging
import sys
from typing import TextIO, TypeAlias

Field: TypeAlias = str | int | float | bool | None

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("text", "json")
LINES_KEPT_MAX = 2_000  # in memory, for the debug bundle
FIELD_CHARS_MAX = 2_000
_SECRET_WORDS = ("password", "secret", "credential", "authorization", "token_value", "private_key")
_MASK = "[hidden]"


class Log:
    """Writes events of one part of the program. ``bind`` returns one whose fields are on every line."""

    def __init__(self, name: str, fields: dict[str, Field] | None = None) -> None:
        self._logger = logging.getLogger(f"atoll.{name}")
        self._fields = fields or {}

    def bind(self, **fields: Field) -> Log:
        return Log(self._logger.name.removeprefix("atoll."), {**self._fields, **fields})

    def debug(self, event: str, **fields: Field) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Field) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, error: BaseException | None = None, **fields: Field) -> None:
        """``error`` adds its traceback: for the operator, when something happened that nobody expected."""
        self._write(logging.ERROR, event, fields, error)

    def _write(
        self, level: int, event: str, fields: dict[str, Field], error: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=error, extra={"atoll_fields": {**self._fields, **fields}})


def hide_secrets(fields: dict[str, Field]) -> dict[str, Field]:
    """The same fields with the values of those named like a secret masked."""
    return {
        name: _MASK if any(word in name.lower() for word in _SECRET_WORDS) else value
        for name, value in fields.items()
    }


class _Formatter(logging.Formatter):
    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields = hide_secrets(getattr(record, "atoll_fields", {}))
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        time_text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
        name = record.name.removeprefix("atoll.")
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        if self._as_json:
            line: dict[str, Field] = {"time": time_text, "level": record.levelname.lower(), "logger": name}
            line |= {"event": record.getMessage()} | {key: _shorten(value) for key, value in fields.items()}
            return json.dumps(line | ({"trace": trace} if trace else {}), ensure_ascii=False)
        words = [time_text, f"{record.levelname.lower():<7}", f"{name:<8}", record.getMessage()]
        words += [f"{key}={_quote(_shorten(value))}" for key, value in fields.items()]
        return (
            "  ".join(words[:4]) + "".join(f" {word}" for word in words[4:]) + (f"\n{trace}" if trace else "")
        )


def _shorten(value: Field) -> Field:
    return value[:FIELD_CHARS_MAX] if isinstance(value, str) else value


def _quote(value: Field) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not any(character in ' "=' for character in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


class _Ring(logging.Handler):
    """Keeps the newest formatted lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


_ring = _Ring()
_ring.setFormatter(_Formatter(as_json=False))


def set_up(level: str = "info", line_format: str = "text", stream: TextIO | None = None) -> None:
    """Send everything logged in this process to ``stream`` (standard error) from ``level`` on. Repeatable."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    sink = logging.StreamHandler(stream or sys.stderr)
    sink.setFormatter(_Formatter(as_json=line_format == "json"))
    root.addHandler(sink)
    root.addHandler(_ring)
    root.setLevel(LEVELS[level])
    logging.captureWarnings(True)


def newest_lines() -> list[str]:
    """The newest log lines of this process, oldest first, at most ``LINES_KEPT_MAX``."""
    return list(_ring.lines)
