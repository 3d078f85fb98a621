"""``dev.py generate``: the blocking twins of asyncio code, made from it word by word.

Rule: an original is written in words that have a twin (``WORDS``); the generated file is committed, never edited,
and a test compares it with what would be generated now. Layout and comments survive, because the text is
translated token by token, not its syntax tree.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools import environment

AIO = "src/atoll/embed/aio"
BLOCKING = "src/atoll/embed/blocking"
CLIENT = (
    "access",
    "configs",
    "elections",
    "followed",
    "mesh_canaries",
    "mesh_documents",
    "mesh_seeing",
    "node",
    "past",
    "registry",
    "services",
    "session",
    "transport",
)
PAIRS: Mapping[str, str] = {
    **{
        f"{AIO}/{name}.py": f"{BLOCKING}/{name}.py"
        for name in ("__init__", "barrier", "connection", "election", "locks", "session", "turn")
    },
    "src/atoll/store/elections.py": f"{BLOCKING}/elections.py",
    "src/atoll/runtime/http_client.py": "src/atoll/runtime/http_client_blocking.py",
    **{f"src/atoll/client/{name}.py": f"src/atoll/client/blocking/{name}.py" for name in CLIENT},
}

WORDS: Mapping[str, str] = {
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncExitStack": "ExitStack",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "StoreShell": "BlockingStore",
    "Store": "BlockingStore",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "anext": "next",
    "asynccontextmanager": "contextmanager",
    "enter_async_context": "enter_context",
}
PHRASES: Sequence[tuple[str, str]] = (
    ("from atoll.embed.aio", "from atoll.embed.blocking"),
    *((f"from atoll.client.{name} import", f"from atoll.client.blocking.{name} import") for name in CLIENT),
    ("from atoll.runtime.background import", "from atoll.runtime.blocking_background import"),
    ("from atoll.runtime import streams", "from atoll.runtime import blocking_streams as streams"),
    ("from atoll.runtime.http_client import", "from atoll.runtime.http_client_blocking import"),
    ("from atoll.runtime import loop", "from atoll.runtime import blocking as loop"),
    ("from atoll.store import elections\n", "from atoll.embed.blocking import elections\n"),
    ("from atoll.store.elections import", "from atoll.embed.blocking.elections import"),
    ("from atoll.store.shell import BlockingStore", "from atoll.store.blocking import BlockingStore"),
    ('"StoreShell"', '"BlockingStore"'),
    (", None]:", ", None, None]:"),
    ("``async with``", "``with``"),
    ("    async with ", "    with "),
    ("await ", ""),
    ("for asyncio applications", "for applications without an event loop"),
)
HEAD = "# Generated from {} by `python3 dev.py generate`; edit that file instead.\n"
_STORE_PROTOCOL = "    BlockingStore,\n"
_API_IMPORT = "from atoll.store.api import ("
_STORE_IMPORT = "from atoll.store.blocking import BlockingStore\n" + _API_IMPORT
_DROPPED = {"async", "await"}


def generate(python: Path) -> int:
    """Write every twin; returns the exit code."""
    for original, twin in PAIRS.items():
        target = environment.ROOT / twin
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(twin_of(original, str(python)))
    return 0


def stale(python: str = sys.executable) -> list[str]:
    """The twins that differ from what their originals say now."""
    return [
        twin
        for original, twin in PAIRS.items()
        if not (environment.ROOT / twin).exists()
        or (environment.ROOT / twin).read_text() != twin_of(original, python)
    ]


def twin_of(original: str, python: str) -> str:
    """The whole text of one twin, formatted as everything is."""
    text = translate((environment.ROOT / original).read_text())
    line = [python, "-m", "ruff"]
    sort = [
        *line,
        "check",
        "--quiet",
        "--fix",
        "--select",
        "I",
        "--stdin-filename",
        PAIRS[original],
        "-",
    ]
    for command in (sort, [*line, "format", "--quiet", "--stdin-filename", PAIRS[original], "-"]):
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=environment.ROOT)
        if done.returncode:
            raise environment.ToolFailed(f"ruff cannot read the twin of {original}: {done.stderr}")
        text = done.stdout
    return HEAD.format(original) + text


def translate(text: str) -> str:
    """Drop ``async`` and ``await``, then replace words (names) and phrases (whole pieces of text)."""
    lines = text.splitlines(keepends=True)
    for token, replacement in reversed(list(_replacements(text))):
        (row, begin), (_, end) = token.start, token.end
        line = lines[row - 1]
        if not replacement and line[end : end + 1] == " ":
            end += 1
        lines[row - 1] = line[:begin] + replacement + line[end:]
    translated = "".join(lines)
    for phrase, twin in PHRASES:
        translated = translated.replace(phrase, twin)
    if _STORE_PROTOCOL in translated:  # the twin of the protocol is the one class that has its methods
        translated = translated.replace(_STORE_PROTOCOL, "", 1).replace(_API_IMPORT, _STORE_IMPORT, 1)
    return translated


def _replacements(text: str) -> Iterator[tuple[tokenize.TokenInfo, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string in _DROPPED:
            yield token, ""
        elif token.type == tokenize.NAME and token.string in WORDS:
            yield token, WORDS[token.string]
