"""The documentation is executed: what exists is documented, links resolve, and commands are the real ones.

Rule: each test compares a page with the code that it describes; a page that lags behind turns the build red.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from atoll import errors
from tools import mutants, reference, render, soak, tree
from tools.environment import ROOT

REFERENCE = ROOT / "docs" / "reference"

# Pages that code points at and that are not written yet; this may only shrink.
PAGES_TO_COME: set[str] = set()

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def test_continuous_integration_runs_the_readme_test_command() -> None:
    readme = re.findall(r"^    (python3 dev\.py \w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    script = re.findall(r"^exec (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert readme == ["python3 dev.py up", "python3 dev.py test"]
    assert script == [readme[1]]


@pytest.mark.parametrize("page", render.pages(), ids=str)
def test_internal_links_resolve(page: Path) -> None:
    text = _FENCE.sub("", (ROOT / page).read_text())
    inside = [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    broken = [link for link in inside if not _resolves(page, link)]
    assert not broken


def test_pages_that_code_points_at_exist() -> None:
    named = set()
    for file in [each for place in ("src", "tests", "tools") for each in (ROOT / place).rglob("*.py")]:
        text = re.sub(r"/\s*\n\s*", "/", file.read_text())  # a path may be broken over two lines
        named |= set(re.findall(r"\bdocs/[a-z0-9/-]+\.md", text))
    assert {page for page in named if not (ROOT / page).exists()} == PAGES_TO_COME


def test_every_page_is_linked_from_another() -> None:
    linked = set()
    for page in render.pages():
        for link in _LINK.findall((ROOT / page).read_text()):
            linked.add((ROOT / page.parent / link.split("#")[0]).resolve())
    lonely = [str(page) for page in render.pages() if (ROOT / page).resolve() not in linked]
    assert lonely == ["README.md"]


@pytest.mark.parametrize("kind", [errors.Code, errors.Reason])
def test_every_error_code_is_in_the_reference(kind: type[errors.Code] | type[errors.Reason]) -> None:
    page = (REFERENCE / "errors.md").read_text()
    assert not [each.value for each in kind if f"\n| `{each.value}` | " not in page]


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    names = {match.group().lower() for line in asked if (match := re.match(r"[A-Za-z0-9_.-]+", line))}
    page = (REFERENCE / "dependencies.md").read_text()
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+\| [^|]+\|$", page, re.MULTILINE))
    assert names == listed
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert not {name for name in names if name not in pinned | {name.replace("_", "-") for name in pinned}}


def test_every_decision_is_in_the_index() -> None:
    files = {file.name for file in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    listed = set(re.findall(r"\(([0-9]{4}-[^)]+)\)", (ROOT / "docs" / "adr" / "README.md").read_text()))
    assert listed == files
    assert len({name[:4] for name in files}) == len(files), "two decisions share a number"


def test_changelog_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"].split(".dev")[0]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None and newest[1] == version


def test_contributing_lists_every_command_of_the_tooling() -> None:
    commands = set(
        re.findall(r"^def _(\w+)\(arguments", (ROOT / "tools" / "main.py").read_text(), re.MULTILINE)
    )
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert not {name for name in commands - {"help"} if f"`dev.py {name}" not in page}


@pytest.mark.parametrize("page", reference.GENERATED)
def test_generated_tables_are_those_of_the_code(page: str) -> None:
    written = (REFERENCE / page).read_text()
    assert written == reference.current(page), (
        "run `python3 dev.py docs`, which writes it, and commit the page"
    )


def test_every_setting_command_and_metric_is_generated() -> None:
    assert "| `store.url` | `ATOLL_STORE_URL` | `--store-url URL` |" in reference.settings_table()
    assert "### `atoll up`" in reference.commands_list()
    assert "| `atoll_store_revision` | gauge |" in reference.metrics_table()


def test_mutants_still_apply_and_name_tests_that_exist() -> None:
    for mutant in mutants.every():
        checked = tree.patch(ROOT, mutant.file, "--check")
        assert not checked.returncode, checked.stderr
        path, _, name = mutant.test.partition("::")
        assert f"def {name.split('::')[-1].split('[')[0]}(" in (ROOT / path).read_text(), mutant


def test_suites_of_fault_tests_have_plain_names() -> None:
    assert "selftest" in soak.suites()
    written = [text.count("mark.soak(") for text in (file.read_text() for file in _test_files())]
    found = [len(soak.marks(text)) for text in (file.read_text() for file in _test_files())]
    assert written == found, "the first argument of a soak mark is its suite's name, as a literal"


def _test_files() -> list[Path]:
    return [file for file in sorted((ROOT / "tests").rglob("test_*.py")) if file.name != "test_docs.py"]


def _resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / page.parent / path) if path else ROOT / page
    if not target.exists():
        return False
    return not anchor or anchor in _anchors(target.read_text())


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
