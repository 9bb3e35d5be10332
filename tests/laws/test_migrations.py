"""Migrations run beside the version before, which goes on reading and writing what it knows until it is replaced.

So a migration takes nothing away and asks nothing that an older version does not give: columns and tables are
dropped by the release after the one that uses them last.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from migrations.head import head

VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"
#: Before the first release nothing ran that had to be spared. Migrations after this one keep the law.
LAST_BEFORE_THE_LAW = "0014"
#: (file's number, what it does) → why no older version minds.
ALLOWED: dict[tuple[str, str], str] = {}

_TAKES_AWAY = {"drop_table", "drop_column", "rename_table", "drop_constraint"}
_SQL = re.compile(r"\b(?:drop\s+(?:table|column)|rename\s+(?:column|to)|set\s+not\s+null)\b", re.IGNORECASE)


def breaches(source: str) -> list[str]:
    """What a migration does, outside of its downgrade, that a version before it may not survive."""
    found: list[str] = []
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name == "downgrade":
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found += _of_call(node, node.func.attr)
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [match.group(0).lower() for match in _SQL.finditer(node.value)]
    return found


def _of_call(call: ast.Call, name: str) -> list[str]:
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in _TAKES_AWAY:
        return [name]
    if name == "alter_column" and {"new_column_name", "type_"} & options.keys():
        return ["alter_column: a name or a type"]
    if name == "alter_column" and _is_false(options.get("nullable")):
        return ["alter_column: not null"]
    if name == "add_column":
        column = call.args[1] if len(call.args) > 1 else None
        given = {k.arg: k.value for k in column.keywords} if isinstance(column, ast.Call) else {}
        if _is_false(given.get("nullable")) and "server_default" not in given:
            return ["add_column: not null and no default"]
    return []


def _is_false(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def test_migrations_take_nothing_from_the_version_before() -> None:
    strays = []
    for path in sorted(VERSIONS.glob("[0-9]*_*.py")):
        number = path.name.partition("_")[0]
        if number > LAST_BEFORE_THE_LAW:
            strays += [(number, each) for each in breaches(path.read_text()) if (number, each) not in ALLOWED]
    assert not strays, strays
    assert head() >= LAST_BEFORE_THE_LAW


def test_what_a_version_before_would_miss_is_seen() -> None:
    for statement in (
        "op.drop_table('ranks')",
        "op.drop_column('ranks', 'signal')",
        "op.alter_column('ranks', 'signal', new_column_name='number')",
        "op.alter_column('notebooks', 'account_id', nullable=False)",
        "op.add_column('jobs', sa.Column('pool', sa.Text(), nullable=False))",
        "op.execute('ALTER TABLE jobs RENAME COLUMN state TO stage')",
        "op.execute('ALTER TABLE jobs ALTER pool_id SET NOT NULL')",
    ):
        assert breaches(f"def upgrade():\n    {statement}\n"), statement
        assert not breaches(f"def downgrade():\n    {statement}\n"), statement
    harmless = "op.add_column('jobs', sa.Column('pool', sa.Text(), server_default='', nullable=False))"
    assert not breaches(f"def upgrade():\n    {harmless}\n")
