"""House rules about files: names that say nothing are refused, and modules stay readable."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "api", "worker", "client", "deploy", "tests")
EMPTY_NAMES = {"utils", "helpers", "common", "base", "manager", "service"}
MOST_LINES = 600


def modules() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_modules_are_named_for_what_they_do() -> None:
    assert not [str(path) for path in modules() if path.stem in EMPTY_NAMES]


def test_modules_begin_with_what_lives_in_them() -> None:
    assert not [str(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]


def test_modules_are_short_enough_to_read() -> None:
    assert not [str(path) for path in modules() if path.read_text().count("\n") > MOST_LINES]
