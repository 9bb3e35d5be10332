"""Law 4: a state moves only in one file per noun. Walks the syntax trees of everything that runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "api", "worker", "client", "deploy")
#: The row class whose `state` a statement writes → the only file that may.
OWNERS = {"Job": "core/jobs/job_moves.py", "Rank": "core/jobs/rank_moves.py"}
#: Raw SQL that gives the column a value. In an f-string each piece is a string of its own, so an UPDATE whose
#: assignments are put in later counts as one that does.
_SQL = {
    row: re.compile(rf"insert into {table} \([^)]*\bstate\b|update {table} set (?:$|(?:(?! where ).)*\bstate =)")
    for table, row in (("jobs", "Job"), ("ranks", "Rank"))
}
_WRITERS = {"insert", "update", "upsert"}


def writes_of_state(source: str) -> list[tuple[str, int]]:
    """(row class, line) of each statement that may write a guarded state: a statement construct over Job or
    Rank whose values name `state` or are not spelled out, raw SQL over their tables, or an attribute set."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
            row = _written_row(node.func.value)
            spelled_out = all(keyword.arg is not None for keyword in node.keywords) and not node.args
            if row and (not spelled_out or any(keyword.arg == "state" for keyword in node.keywords)):
                found.append((row, node.lineno))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            sql = " ".join(node.value.lower().split(" "))
            found += [(row, node.lineno) for row, pattern in _SQL.items() if pattern.search(sql)]
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Attribute) and target.attr == "state" for target in targets):
                found.append(("Job", node.lineno))
    return found


def _written_row(expression: ast.expr) -> str | None:
    """The guarded row class at the root of `update(Job).where(…)` and alike."""
    while True:
        if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name):
            if expression.func.id in _WRITERS and expression.args:
                row = expression.args[0]
                if isinstance(row, ast.Name) and row.id in OWNERS:
                    return row.id
            return None
        if isinstance(expression, ast.Call):
            expression = expression.func
        elif isinstance(expression, ast.Attribute):
            expression = expression.value
        else:
            return None


def test_state_write_outside_its_file_is_none() -> None:
    strays = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            strays += [
                f"{name}:{line} writes the state of a {row}"
                for row, line in writes_of_state(path.read_text())
                if OWNERS[row] != name
            ]
    assert not strays, strays


def test_state_write_in_its_own_file_is_seen() -> None:
    for row, name in OWNERS.items():
        rows = {found for found, _ in writes_of_state((ROOT / name).read_text())}
        assert row in rows, f"the walk finds no write of {row} in {name}: it has gone blind"


def test_writes_of_state_spelled_in_each_known_way_are_seen() -> None:
    for source in (
        "update(Job).where(Job.id == 1).values(state='RUNNING')",
        "update(Rank).where(Rank.rank == 1).values(**changes)",
        "insert(Job).values({'state': 'X'})",
        "text('UPDATE jobs SET state = 1')",
        "text('INSERT INTO ranks (a, state) VALUES (1, 2)')",
        "text(f'UPDATE ranks SET {sets} WHERE x')",
        "job.state = 'RUNNING'",
    ):
        assert writes_of_state(source), source
    assert not writes_of_state("update(Job).where(Job.state == 'QUEUED').values(status='waits')")
    assert not writes_of_state("text('UPDATE jobs SET status = 1 WHERE state = 2')")
