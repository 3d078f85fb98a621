"""Which paths and types the clients call in their run, as the nodes count them.

Rule: ``docs/reference/called-by-clients.json`` has what is called, the reference page shows it, and a run in which
something else is called fails, so that the page cannot claim of clients what they do not do.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.nodes import Member

RECORD = Path(__file__).parents[3] / "docs" / "reference" / "called-by-clients.json"
_SAMPLE = re.compile(r"^atoll_nacos_(?:http_requests|requests|pushes)_total\{(.*)\} (\S+)$", re.MULTILINE)
_DONE = "acknowledged"
_BY_CHANCE = {"ClientDetectionRequest"}  # asked of whoever was silent for 20 s
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@contextmanager
def recorded(nodes: list[Member], protocol: str) -> Iterator[None]:
    """What is called meanwhile, by ``http`` or ``grpc``, must be what the record says."""
    before = _counted(nodes, protocol)
    yield
    after = _counted(nodes, protocol)
    called = {name for name, count in after.items() if count > before[name]} - _BY_CHANCE
    known = set(json.loads(RECORD.read_text())[protocol])
    assert called == known, (
        f"called and not in {RECORD.name}: {sorted(called - known)}; there and not called: "
        f"{sorted(known - called)}; correct the record, then write the page by `python3 dev.py docs`"
    )


def _counted(nodes: list[Member], protocol: str) -> Counter[str]:
    """``VERB path`` for HTTP; types of requests, and of pushes that were acknowledged, for gRPC."""
    counted: Counter[str] = Counter()
    for node in nodes:
        for text, value in _SAMPLE.findall(node.get("/metrics").decode()):
            labels = dict(_LABEL.findall(text))
            if protocol == "http" and "verb" in labels:
                counted[f"{labels['verb']} {labels['path']}"] += int(float(value))
            elif protocol == "grpc" and "type" in labels and labels.get("outcome", _DONE) == _DONE:
                counted[labels["type"]] += int(float(value))
    return counted
