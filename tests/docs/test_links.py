"""Every link within the documentation goes to a page, a file and a heading that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links

_TEST = re.compile(r"\btests/[\w/]+\.py(?:::\w+)?")


@pytest.mark.parametrize("page", (*PAGES, ROOT / "CHANGELOG.md"), ids=lambda page: page.name)
def test_links_go_where_something_is(page: Path) -> None:
    broken = [
        f"{page.relative_to(ROOT)}:{line}: {link}" for line, link in links(page) if not _is_there(page, link)
    ]
    assert broken == []


def _is_there(page: Path, link: str) -> bool:
    if link.startswith(("https://", "http://", "mailto:")):
        return True
    path, _, anchor = link.partition("#")
    there = (page.parent / path).resolve() if path else page
    return there.exists() and (not anchor or (there.suffix == ".md" and anchor in anchors(there)))


def test_readme_names_every_page() -> None:
    named = {(ROOT / link.partition("#")[0]).resolve() for _, link in links(ROOT / "README.md")}
    assert [page.name for page in PAGES[1:] if page not in named] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_are_there(page: Path) -> None:
    named = [each.partition("::") for each in _TEST.findall(page.read_text())]
    missing = [
        f"{path}::{name}"
        for path, _, name in named
        if not (ROOT / path).is_file() or (name and f"\ndef {name}(" not in (ROOT / path).read_text())
    ]
    assert missing == []
