"""The policy documents that our own pages show are taken, and refer to nothing that they do not name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.policy import document_orders
from atoll.resources.mesh.document_api import FileText
from tests.unit.mesh.documents_kit import service

DOCS = Path(__file__).resolve().parents[3] / "docs"
SERVICES = (
    *("reviews", "reviews-next", "ratings", "orders", "carts", "search", "search-next", "shop", "api"),
    *("payments", "details"),
)
WRONG_ON_PURPOSE = ("how-to/apply-policy.md",)


def _blocks() -> list[tuple[str, int, str]]:
    found = []
    for path in sorted(DOCS.rglob("*.md")):
        name = str(path.relative_to(DOCS))
        texts = re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
        found += [(name, number, text) for number, text in enumerate(texts, 1) if "apiVersion:" in text]
    return [each for each in found if each[0] not in WRONG_ON_PURPOSE]


BLOCKS = _blocks()


@pytest.mark.parametrize(
    ("name", "number", "text"), BLOCKS, ids=[f"{name}-{number}" for name, number, _ in BLOCKS]
)
def test_a_document_on_a_page_is_taken(name: str, number: int, text: str) -> None:
    services = {each.host: each for each in (service(known, "v1", "v2") for known in SERVICES)}
    files = document_orders.read_files([FileText(f"{name}-{number}", text)], "default")
    prepared = document_orders.prepare(document_view.empty_view(), files, services, force=False)
    assert [str(each) for each in prepared.errors] == []
    assert prepared.changes


def test_the_pages_show_documents() -> None:
    assert len(BLOCKS) >= 13
