"""Pages of documentation, read into their blocks, links and tables. Pure but for reading the files.

What becomes of a block is said where it stands, so that readers of the page see it too:

    ```sh              is run by bash
    ```python          is executed
    ```text            is what the block of sh before it prints; `…` stands for anything
    ```json NAME       is that schema of the OpenAPI document; NAME `job`: a body, or a part of one, of a new job
    ```filter          is one filter of jobs a line
    ```mermaid         is a picture, compared with the code by a test of its own
    <!-- run: WORDS -->        before an indented block: as if it were fenced with these words
    <!-- not run: WHY -->      before any block: it is shown, and this is why it is not tried
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"```+")
_MARK = re.compile(r"<!-- (run|not run): (.+) -->")
_HEADING = re.compile(r"#{1,6} (.+)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")


@dataclass(frozen=True)
class Block:
    """A block of code. `kind` "" = it is marked as nothing; `not_run` says why it is not tried."""

    page: Path
    line: int
    kind: str
    name: str
    text: str
    not_run: str = ""

    @property
    def place(self) -> str:
        """As an editor and a terminal take it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """Every block of a page, in its order."""
    return tuple(_blocks(page, page.read_text().splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    mark, line, before = "", 0, ""
    while line < len(lines):
        begin, text = line, lines[line]
        words = ""
        if fence := _FENCE.match(text):
            words = text[fence.end() :]
            line = next(i for i in range(line + 1, len(lines)) if lines[i].startswith(fence[0]))
            inner = lines[begin + 1 : line]
        elif text.startswith("    ") and not before:
            while line + 1 < len(lines) and (lines[line + 1].startswith("    ") or not lines[line + 1].strip()):
                line += 1
            inner = [each[4:] for each in lines[begin : line + 1]]
        else:
            mark = text if _MARK.fullmatch(text) else mark if not text else ""
            before, line = "" if mark else text, line + 1
            continue
        found = _MARK.fullmatch(mark)
        if found and found[1] == "run":
            words = found[2]
        kind, _, name = words.partition(" ")
        why = found[2] if found and found[1] == "not run" else ""
        yield Block(page, begin + 1, kind, name, "\n".join(inner).rstrip() + "\n", why)
        mark, before, line = "", "", line + 1


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines that are in no block, with their numbers."""
    inside: set[int] = set()
    lines = page.read_text().splitlines()
    for block in blocks(page):
        first = block.line
        inside.update(
            range(first, first + block.text.count("\n") + 2 if lines[first - 1].startswith("```") else 0)
        )
        inside.update(range(first, first + block.text.count("\n")))
    yield from ((number, text) for number, text in enumerate(lines, 1) if number not in inside)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What `#…` may name on a page, as GitHub makes it of headings."""
    found: set[str] = set()
    for _, text in prose(page):
        if heading := _HEADING.fullmatch(text):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            plain = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            number = 0
            anchor = plain
            while anchor in found:
                number += 1
                anchor = f"{plain}-{number}"
            found.add(anchor)
    return frozenset(found)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Where the page's links go, each with its line. What is quoted as code is none."""
    text = "\n".join(text for _, text in _whole(page))
    text = _CODE.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), text)
    for link in _LINK.finditer(text):
        yield text.count("\n", 0, link.start()) + 1, link[1]


def _whole(page: Path) -> Iterator[tuple[int, str]]:
    """Every line, those of blocks empty."""
    kept = dict(prose(page))
    count = len(page.read_text().splitlines())
    yield from ((number, kept.get(number, "")) for number in range(1, count + 1))


def table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without the one that names the columns."""
    rows: list[list[str]] = []
    below = False
    for _, text in prose(page):
        if _HEADING.fullmatch(text):
            if rows:
                break
            below = text.lstrip("# ") == heading
        elif below and text.startswith("|"):
            rows.append([cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", text)[1:-1]])
        elif rows:
            break
    return rows[2:]
