"""Services from a file: read, read again, and a wrong file changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.errors import AtollError
from atoll.planes.mesh.service.sources.static_file import StaticFile
from atoll.resources.mesh.services import MeshService

HOST = "ledger.default.svc.cluster.local"
ONE = "services:\n- {name: ledger, endpoints: [{address: 10.0.0.5, port: 8080, labels: {version: v1}}]}\n"
WRONG = {
    "no YAML": ("services: [", "line"),
    "an unknown field": ("services: [{name: a, hosts: []}]", "hosts"),
    "a wrong type": ("services: [{name: a, endpoints: [{address: b, port: many}]}]", "endpoints"),
    "an unknown protocol": ("services: [{name: a, ports: [{number: 80, protocol: smtp}]}]", "smtp"),
}


class Told:
    def __init__(self) -> None:
        self.services: dict[str, MeshService | None] = {}

    def __call__(self, changed: Mapping[str, MeshService | None]) -> None:
        self.services.update(changed)


def test_a_file_is_read_and_followed_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "services.yaml", Told()
    path.write_text(ONE)

    async def scenario() -> None:
        source = StaticFile(path, "cluster.local", look_every_s=0.01)
        await source.start(told)
        first = told.services[HOST]
        assert first is not None and first.endpoints[0].labels == {"version": "v1"}
        following = asyncio.ensure_future(source.run())
        path.write_text("services: [")
        await _until(lambda: source.complaints == 1)
        assert told.services == {HOST: first}
        path.write_text(ONE.replace("ledger", "books"))
        await _until(lambda: told.services[HOST] is None)
        assert told.services["books.default.svc.cluster.local"] is not None
        following.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_keeps_the_node_from_starting_and_says_where(name: str, tmp_path: Path) -> None:
    text, says = WRONG[name]
    path = tmp_path / "services.yaml"
    path.write_text(text)
    with pytest.raises(AtollError, match=f"services.yaml is wrong.*{says}"):
        asyncio.run(StaticFile(path, "cluster.local").start(Told()))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AtollError, match="nowhere.yaml cannot be read"):
        asyncio.run(StaticFile(tmp_path / "nowhere.yaml", "cluster.local").start(Told()))


async def _until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
