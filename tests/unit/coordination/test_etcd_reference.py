"""The reference page names every method of the API, and says "no" exactly where the API does."""

from __future__ import annotations

import re
from pathlib import Path

from atoll.store.memory import open_memory
from atoll.wire.etcd.services import METHODS
from tests.conformance.etcd.served import Served
from tests.conformance.etcd.side import Side

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "etcd-api.md"
ROW = re.compile(r"^\| `(\w+\.\w+)` \| (yes|no|refused) \|", re.MULTILINE)


def test_every_method_has_its_row() -> None:
    assert [name for name, _ in ROW.findall(PAGE.read_text())] == list(dict(ROW.findall(PAGE.read_text())))
    assert set(dict(ROW.findall(PAGE.read_text()))) == set(METHODS)


def test_what_is_said_to_be_unsupported_is_unimplemented_and_nothing_else_is() -> None:
    unary = {name: method for name, method in METHODS.items() if not method.request_streams}
    with Served(open_memory()) as served:
        side = Side("atoll", served.address)
        for name, answer in ROW.findall(PAGE.read_text()):
            if name in unary and not unary[name].response_streams:
                side.call(name)
                assert (side.transcript[-1][1] == "UNIMPLEMENTED") == (answer == "no"), name
        side.close()
