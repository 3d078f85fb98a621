"""Questions to all nodes, on a node that is alone."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.store.peers import Member, Peers


async def _double(body: bytes) -> bytes:
    return body * 2


def test_a_node_alone_answers_itself() -> None:
    peers = Peers(Member("a", 1))
    peers.on_ask("double", _double)
    assert loop.run(_ask(peers, "double")) == {"a": b"xx"}
    assert [member.node for member in peers.members()] == ["a"]
    with pytest.raises(ValueError, match="double"):
        peers.on_ask("double", _double)


def test_an_unknown_question_is_refused_by_name() -> None:
    peers = Peers(Member("a", 1))
    peers.on_ask("double", _double)
    with pytest.raises(AtollError, match="'treble'.*double") as caught:
        loop.run(_ask(peers, "treble"))
    assert caught.value.code is Code.NOT_FOUND


async def _ask(peers: Peers, kind: str) -> dict[str, bytes]:
    return dict(await peers.ask_all(kind, b"x"))
