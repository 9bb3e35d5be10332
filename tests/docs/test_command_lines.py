"""The command line understands every `longshore …` on the pages, also where it is not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from client.command_line.app import app
from tests.docs.pages import PAGES, blocks, prose

_IN_A_TEXT = re.compile(r"`(longshore [^`]+)`")
#: Done while they are read.
_AT_ONCE = ("--install-completion", "--show-completion")


def _lines(page: Path) -> Iterator[tuple[int, str]]:
    """Every command of a page, with its line. Those of several lines are left out: such blocks are run."""
    for block in (each for each in blocks(page) if each.kind != "python"):
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            if line.startswith("longshore ") and line.count("'") % 2 == 0:
                yield number, line
    for number, text in prose(page):
        yield from ((number, command) for command in _IN_A_TEXT.findall(text) if "…" not in command)


def _refusal(line: str) -> str:
    """Why the command line does not take it; empty where it does."""
    words = shlex.split(line, comments=True)[1:]
    ends = [words.index(sign) for sign in ("<", ">", "|", "||", "&&") if sign in words]
    try:
        _read(typer.main.get_command(app), "longshore", words[: min(ends, default=None)], None)
    except TyperException as error:
        return str(error) or type(error).__name__
    return ""


def _read(command: Any, name: str, words: list[str], above: Any) -> None:
    context = command.make_context(name, list(words), parent=above)
    if isinstance(command, TyperGroup):
        rest = [*context._protected_args, *context.args]
        if rest:
            below, found, words = command.resolve_command(context, rest)
            _read(found, below or "", words, context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    refused = [
        f"{number}: {line}: {why}"
        for number, line in _lines(page)
        if not any(option in line for option in _AT_ONCE) and (why := _refusal(line))
    ]
    assert refused == []


@pytest.mark.parametrize(
    "line", ["longshore submt x", "longshore ps --al", "longshore logs", "longshore keys make"]
)
def test_command_that_is_none_is_refused(line: str) -> None:
    assert _refusal(line)


def test_pages_have_commands() -> None:
    assert sum(1 for page in PAGES for _ in _lines(page)) > 60
