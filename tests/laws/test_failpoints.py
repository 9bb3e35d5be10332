"""Every crash point is named once, is used at one place, and is armed by whoever kills there."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from core.failpoints import Point
from tests.core.packing_lab import CRASHES
from tests.faults.crash_points import CRASH_POINTS

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "api", "worker")


def uses(source: str) -> list[str]:
    """The point that each call of `failpoint` names; "?" where that cannot be read off."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
            point = node.args[0] if node.args else None
            is_named = isinstance(point, ast.Attribute) and isinstance(point.value, ast.Name)
            found.append(point.attr if is_named and point.value.id == "Point" else "?")  # type: ignore[union-attr]
    return found


def used_in_the_code() -> Counter[str]:
    return Counter(
        name for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) for name in uses(path.read_text())
    )


def test_failpoint_in_the_code_is_used_at_one_place() -> None:
    assert used_in_the_code() == Counter(point.name for point in Point)


def test_failpoint_in_the_code_is_armed_by_a_cell_of_the_exhaustive_crash_test_or_a_test_of_its_own() -> None:
    armed = {crash.point.name for crash in CRASH_POINTS} | {point.name for point in CRASHES}
    unarmed = used_in_the_code().keys() - armed
    assert not unarmed, f"no cell of F-1 kills at {sorted(unarmed)}: add one to tests/faults/crash_points.py"


def test_walk_over_the_code_sees_each_way_to_call() -> None:
    assert uses("failpoint(Point.PLACED, job)\nfailpoint(which)\nfailpoint('placed')\nother(Point.PLACED)") == [
        "PLACED",
        "?",
        "?",
    ]
