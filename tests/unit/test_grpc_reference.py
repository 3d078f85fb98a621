"""docs/reference/grpc-server.md lists every limit with the default that the code has."""

from __future__ import annotations

import re

import msgspec
import pytest

from atoll.runtime import grpc_call, http1
from atoll.wire.http2 import limits as http2_limits
from tools.environment import ROOT

PAGE = (ROOT / "docs" / "reference" / "grpc-server.md").read_text()
SECTIONS = {
    "Of one connection at the HTTP/2 level": http2_limits.Limits,
    "Of the gRPC level": grpc_call.Limits,
    "Of HTTP/1": http1.Limits,
}


@pytest.mark.parametrize(("title", "limits"), SECTIONS.items(), ids=SECTIONS)
def test_every_limit_is_in_the_reference_with_its_default(title: str, limits: type[msgspec.Struct]) -> None:
    section = PAGE.split(f"\n{title}")[1].split("\nOf ")[0].split("\nWhat one connection")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\w.]+) \|", section, re.MULTILINE))
    fields = msgspec.structs.fields(limits)
    assert listed == {field.name: str(field.default) for field in fields if field.name != "http2"}
