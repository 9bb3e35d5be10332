"""docs/troubleshooting.md, and statuses in docs/hosts.md, quote what the platform says; every reason is told."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import core.secret_use  # noqa: F401  its errors are of the family
import worker.launcher  # noqa: F401
from core import errors
from core.jobs import ending, retrying, verdict
from core.placement import sentences
from tests.docs.pages import ROOT, prose, table

_PAGE = ROOT / "docs" / "troubleshooting.md"
_ROOMS = ("api", "client", "core", "deploy", "worker")
_SPAN = re.compile(r"(?<!`)`([^`]+)`")
_REASON = re.compile(r"[A-Z][A-Z_]{3,}")


@cache
def _said() -> str:
    """Every string of the code, a line each, with `…` for what is put in; and what the shell scripts say."""
    found = [(ROOT / "deploy" / "python-environment.sh").read_text()]
    for room in _ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            found += _strings(ast.parse(path.read_text()))
    return "\n".join(found)


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # str.format's holes are as those of an f-string.
            yield node.value.replace("{}", "…")


def _quoted() -> list[tuple[int, str]]:
    """What stands as code in the first column of a table."""
    return [
        (number, span)
        for number, text in prose(_PAGE)
        if text.startswith("| ")
        for span in _SPAN.findall(text.split(" | ")[0])
    ]


def test_quoted_sentences_are_said_by_the_code() -> None:
    quoted = _quoted()
    assert len(quoted) > 100
    assert [f"{number}: {span}" for number, span in quoted if span not in _said()] == []


@pytest.mark.parametrize("heading", ["TLS", "SSH"])
def test_statuses_of_nodes_are_said_by_the_code(heading: str) -> None:
    quoted = [span for row in table(ROOT / "docs" / "hosts.md", heading) for span in _SPAN.findall(row[0])]
    assert len(quoted) > 5
    assert [span for span in quoted if span not in _said()] == []


def _reasons() -> set[str]:
    """Of every engine's error, of waiting, and what the modules of verdicts call so."""
    family = [errors.EngineError]
    for each in family:
        family += each.__subclasses__()
    found = {each.reason for each in family} | retrying.PLATFORM_REASONS | retrying.OVERRUN_REASONS
    for module in (ending, retrying, verdict, sentences):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        found |= {text for text in _strings(tree) if _REASON.fullmatch(text)}
    return found - _NO_REASONS


#: Words of those modules in capitals that are no reasons.
_NO_REASONS = frozenset({"RETRY"})


def test_every_reason_is_in_the_table() -> None:
    listed = [row[0].strip("`") for row in table(_PAGE, "Reasons")]
    assert len(listed) == len(set(listed))
    assert _reasons() - set(listed) == set()


def test_reasons_that_are_named_are_in_the_code() -> None:
    listed = {row[0].strip("`") for row in table(_PAGE, "Reasons")}
    assert [reason for reason in listed if reason not in _said().splitlines()] == []
