"""The ``Listening-Configs`` text of HTTP listeners: which items a client knows, by the md5 that it has of each.

Rule: words end with \\x02, lines with \\x01; a line has three words or, with a namespace, four. The answer has
the same shape without md5, percent-encoded as Java's URLEncoder does it, and ends with a newline.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote_plus

from atoll.wire.nacos import parameters

WORD = "\x02"
LINE = "\x01"
KEYS_MAX = 10_000


class Known(NamedTuple):
    """``tenant`` is spelled as the client spells it; ``md5`` is empty for an item that it does not have."""

    data_id: str
    group: str
    md5: str
    tenant: str = ""


def decode(text: str) -> list[Known]:
    """Raises INVALID with the reference's text for anything that is no such list."""
    lines = [line for line in text.split(LINE) if line]
    if len(lines) > KEYS_MAX:
        raise _invalid(f"more than {KEYS_MAX} items")
    return [_known(line) for line in lines]


def _known(line: str) -> Known:
    words = line.split(WORD)
    if len(words) not in (3, 4):
        raise _invalid("a line has dataId, group, md5 and perhaps tenant")
    known = Known(words[0], words[1], words[2], words[3] if len(words) == 4 else "")
    if not known.data_id.strip() or not known.group.strip():
        raise _invalid("dataId and group may not be blank")
    return known


def encode(changed: Iterable[Known]) -> bytes:
    """Empty when nothing changed."""
    text = "".join(_line(each) for each in changed)
    return f"{quote_plus(text, safe='*')}\n".encode() if text else b""


def _line(known: Known) -> str:
    words = [known.data_id, known.group, *((known.tenant,) if known.tenant else ())]
    return WORD.join(words) + LINE


def short(changed: Iterable[Known]) -> bytes:
    """The oldest clients' form, of a header of the answer: ``dataId:group;`` for each."""
    return "".join(f"{each.data_id}:{each.group};" for each in changed).encode()


def _invalid(why: str) -> Exception:
    return parameters.invalid("Listening-Configs", f"invalid probeModify: {why}")
