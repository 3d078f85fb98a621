"""``python -m tools.render FOLDER``: the documentation as plain HTML pages.

Rule: runs inside Atoll's environment (markdown-it-py comes with rich); pages link to one another as the sources do.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt

from tools.environment import ROOT

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ max-width: 50em; margin: 2em auto; font: 16px/1.5 sans-serif }}
table {{ border-collapse: collapse }} td, th {{ border: 1px solid #ccc; padding: .2em .6em }}</style>
{body}
</html>
"""


def pages() -> list[Path]:
    """Every page of the documentation, relative to the root."""
    return sorted(file.relative_to(ROOT) for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def render(page: Path, text: str) -> str:
    """One page as HTML; links between pages follow to their rendered twins."""
    body = MarkdownIt("commonmark").enable("table").render(text)
    body = re.sub(r'(href="(?![a-z]+:)[^"#]*)\.md\b', r"\1.html", body)
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), page.stem)
    return _PAGE.format(title=title, body=body)


def main(folder: Path) -> int:
    for page in pages():
        target = (folder / page).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(page, (ROOT / page).read_text()))
    print(f"{len(pages())} pages in {folder}; begin with {folder / 'README.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
