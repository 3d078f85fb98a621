"""Policy documents over the API and by the command line: behind the real gate, without a port."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from atoll.access import accounts as changes
from atoll.cli import documents as cli
from atoll.cli import main
from atoll.client.local import LocalTransport
from atoll.client.mesh_documents import MeshDocuments
from atoll.client.node import Client
from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.frontends.rest.documents import DocumentsApi
from atoll.planes.mesh.frontends.rest.door import Door
from atoll.resources.accounts import Accounts
from atoll.resources.mesh.document_api import DeleteOrder, DocumentName, DocumentsAsked
from atoll.runtime.http_api import application
from atoll.runtime.http_guard import OPERATOR_NAME, Gate
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from tests.unit.mesh.documents_kit import BOTH, ROUTE, SUBSETS, Kit, order, with_documents

ADDRESS = Address("127.0.0.1", 7070)
TOKEN = "the node's own"  # noqa: S105 - of this test


@dataclass
class Api:
    """``as_user`` by a user's name, empty: nobody; ``operator`` with the node's token."""

    kit: Kit
    accounts: Accounts

    def as_user(self, name: str) -> Client:
        return self._client(name)

    @property
    def operator(self) -> Client:
        return self._client(TOKEN)

    def _client(self, token: str) -> Client:
        door = Door(lambda: self.accounts, "n1")
        gate = Gate(ADDRESS, TOKEN, lambda shown: shown if self.accounts.enabled else "")
        endpoints = DocumentsApi(self.kit.documents, door).endpoints()
        return Client(LocalTransport(application(endpoints, gate, Log("api"), "1", {}), str(ADDRESS)), token)


def with_api(scenario: Callable[[Api], Awaitable[None]], enabled: bool = True) -> None:
    accounts = Accounts()
    for name in ("ann", "bob"):
        accounts = changes.add_user(accounts, name, None)
    accounts = changes.add_role(accounts, changes.ROOT)
    accounts = changes.grant_role(accounts, "ann", changes.ROOT)

    async def run(kit: Kit) -> None:
        await scenario(Api(kit, msgspec.structs.replace(accounts, enabled=enabled)))

    with_documents(run)


def options(*line: str) -> argparse.Namespace:
    return main.parser(lambda client: {}).parse_args(line)


async def refusal(done: Awaitable[object]) -> AtollError:
    with pytest.raises(AtollError) as caught:
        await done
    return caught.value


def test_any_account_may_look_and_administrators_may_change() -> None:
    async def scenario(api: Api) -> None:
        ann, bob, nobody = (MeshDocuments(api.as_user(name)) for name in ("ann", "bob", ""))
        assert [each.outcome for each in (await ann.apply(order(BOTH))).documents] == ["created", "created"]
        assert len(await bob.find(DocumentsAsked())) == 2
        assert len((await bob.diff(order(ROUTE))).documents) == 1
        for change in (
            bob.apply(order(ROUTE)),
            bob.delete(DeleteOrder(names=(DocumentName("vs", "reviews"),))),
        ):
            refused = await refusal(change)
            assert (refused.code, refused.reason) == (Code.DENIED, Reason.PERMISSION_DENIED)
        for asked in (nobody.find(DocumentsAsked()), nobody.apply(order(ROUTE))):
            assert (await refusal(asked)).code is Code.DENIED
        assert [each[0] for each in api.kit.audited] == ["ann", "ann"]

    with_api(scenario)


def test_the_nodes_own_token_is_the_operators() -> None:
    async def scenario(api: Api) -> None:
        await MeshDocuments(api.operator).apply(order(BOTH))
        assert [each[0] for each in api.kit.audited] == [OPERATOR_NAME] * 2

    with_api(scenario, enabled=False)
    with_api(scenario)


def test_a_fault_crosses_the_api_with_its_place() -> None:
    async def scenario(api: Api) -> None:
        refused = await refusal(MeshDocuments(api.operator).apply(order(BOTH.replace("http:", "htpp:"))))
        assert (refused.code, refused.reason) == (Code.INVALID, Reason.CONTENT_INVALID)
        assert refused.facts == {"file": "1.yaml", "line": 6, "column": 3, "path": "spec.htpp"}

    with_api(scenario)


def test_the_commands_apply_show_compare_and_delete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reviews.yaml"
    file.write_text(BOTH)

    async def scenario(api: Api) -> None:
        client = api.operator
        await cli.apply(client, options("apply", "-f", str(tmp_path), "--dry-run"))
        assert capsys.readouterr().out.splitlines() == [
            "DestinationRule/default/reviews created (dry run)",
            "VirtualService/default/reviews created (dry run)",
        ]
        await cli.apply(client, options("apply", "-f", str(file)))
        assert "VirtualService/default/reviews created\n" in capsys.readouterr().out
        assert await cli.diff(client, options("diff", "-f", str(file))) == 0
        file.write_text(BOTH.replace("subset: v1", "subset: v2").replace("{name: v1,", "{name: v2,"))
        assert await cli.diff(client, options("diff", "-f", str(file))) == cli.EXIT_DIFFERENT
        shown = capsys.readouterr().out
        assert "--- mesh/VirtualService/default/reviews\n+++ files/VirtualService/default/reviews\n" in shown
        assert "-        subset: v1\n+        subset: v2\n" in shown
        await cli.get(client, options("get", "vs", "reviews"))
        assert "    - destination:\n        host: reviews\n" in capsys.readouterr().out
        await cli.get(client, options("get"))
        assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
            ["DestinationRule", "default", "reviews"],
            ["VirtualService", "default", "reviews"],
        ]
        await cli.delete(client, options("delete", "vs", "reviews"))
        await cli.delete(client, options("delete", "-f", str(file)))
        assert capsys.readouterr().out.splitlines() == [
            "VirtualService/default/reviews deleted",
            "VirtualService/default/reviews missing",
            "DestinationRule/default/reviews deleted",
        ]
        assert (await refusal(cli.delete(client, options("delete", "vs", "reviews")))).code is Code.NOT_FOUND

    with_api(scenario)


def test_a_difference_of_what_would_be_refused_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reviews.yaml"
    file.write_text(ROUTE)

    async def scenario(api: Api) -> None:
        refused = await refusal(cli.diff(api.operator, options("diff", "-f", str(file))))
        assert refused.code is Code.INVALID
        assert f"{file}:8:44: error: " in capsys.readouterr().err

    with_api(scenario)


@pytest.mark.parametrize(
    "line", [("delete",), ("delete", "vs"), ("apply", "-f", "no-such-file.yaml"), ("get", "servicez")]
)
def test_a_command_that_says_too_little_or_something_wrong_is_refused(line: tuple[str, ...]) -> None:
    async def scenario(api: Api) -> None:
        act = {"delete": cli.delete, "apply": cli.apply, "get": cli.get}[line[0]]
        assert (await refusal(act(api.operator, options(*line)))).code is Code.INVALID

    with_api(scenario)


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(SUBSETS)
    with pytest.raises(AtollError, match=r"no file that ends in \.yaml"):
        cli.files_of([str(tmp_path)])
