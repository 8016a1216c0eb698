"""The documentation, as tests read it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted((*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"))
FENCE = re.compile(r"(?ms)^```.*?^```$")


def prose(page: Path) -> str:
    """Without code blocks."""
    return FENCE.sub("", page.read_text())


def section(page: Path, heading: str) -> str:
    """From a heading, written with its signs, to the next of its level or above."""
    text = prose(page)
    begin = text.index(f"\n{heading}\n") + len(heading) + 2
    level = len(heading) - len(heading.lstrip("#"))
    end = re.compile(rf"(?m)^#{{1,{level}}} ").search(text, begin)
    return text[begin : end.start() if end else len(text)]


def first_column(table: str) -> list[str]:
    """Of every row whose first cell begins with code."""
    return re.findall(r"(?m)^\| `([^`]+)`", table)


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
