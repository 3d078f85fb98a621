"""Requests to the HTTP API that its OpenAPI document allows, and ones that it does not: made by schemathesis.

Rule: a request is kept as what went over the wire, so that one which once broke something is sent again unchanged,
whatever the document says by then. ``aimed`` turns half of the requests at things that exist: a name drawn at random is
of nothing, and a server that finds nothing has little to do wrong.

Kept cases: ``corpus/api/NAME.json``, one request a file.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CORPUS = Path(__file__).parent / "corpus" / "api"

NAMES: Mapping[str, tuple[str, ...]] = {
    "name": ("shop", "payments", "g@@shop"),
    "data_id": ("shop.yaml", "shop.json", "cipher-aes-shop"),
    "group": ("DEFAULT_GROUP", "g"),
    "namespace": ("", "public", "dev"),
    "id": ("dev", "public"),
    "ip": ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2", "", "a b", "\u4e00", "x" * 200),
    "port": ("80", "0"),
    "cluster": ("DEFAULT", "east"),
    "user": ("ann", "nacos"),
    "role": ("dev", "ROLE_ADMIN"),
    "resource": ("public:*:config/*", "*"),
    "action": ("r", "rw"),
    "move": ("advance", "promote", "pause", "resume", "abort"),
}
"""``ip`` is never left as it was drawn: a persistent instance is probed, and a name would be looked up."""

CONTENTS = ("a: 1\n", '{"a": [1, 2]}', "a=1", "{", "\ufeff", "x" * 200_000)


class Sent(NamedTuple):
    """A request as it went over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def text(self) -> str:
        body = base64.b64encode(self.body).decode()
        return json.dumps({**self._asdict(), "body": body}, indent=1) + "\n"


def of_text(text: str) -> Sent:
    found = json.loads(text)
    return Sent(**{**found, "body": base64.b64decode(found["body"])})


def kept() -> Iterator[tuple[str, Sent]]:
    """All kept requests, in a fixed order."""
    for file in sorted(CORPUS.glob("*.json")):
        yield file.stem, of_text(file.read_text())


def keep(name: str, sent: Sent) -> Path:
    CORPUS.mkdir(parents=True, exist_ok=True)
    file = CORPUS / f"{name}.json"
    file.write_text(sent.text())
    return file


def aimed(fields: Any, pick: random.Random, text_chars_max: int = 1_000_000) -> Any:
    """``fields`` of a query or a body, some of them naming what exists."""
    if not isinstance(fields, dict):
        return fields
    return {name: _aimed(name, value, pick, text_chars_max) for name, value in fields.items()}


def _aimed(name: str, value: Any, pick: random.Random, text_chars_max: int) -> Any:
    if name == "content" and isinstance(value, str) and pick.random() < 0.5:
        return pick.choice(CONTENTS)[:text_chars_max]
    if name not in NAMES or (name != "ip" and pick.random() < 0.3):
        return value
    chosen = pick.choice(NAMES[name])
    if isinstance(value, str):
        return chosen
    return int(chosen) if isinstance(value, int) and chosen.isdecimal() else value
