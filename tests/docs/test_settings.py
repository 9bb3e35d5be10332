"""docs/settings.md has every variable that the code reads, as the code has it, and none besides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.settings import Settings
from tests.docs.pages import PAGES, ROOT
from tests.docs.settings_table import BEGIN, END, PAGE, settings_table

_VARIABLE = re.compile(r"\bLONGSHORE_[A-Z][A-Z_]*[A-Z]\b")
_ROOMS = ("api", "client", "core", "deploy", "migrations", "worker")


def _variables_of_the_code() -> set[str]:
    """Those that stand anywhere in it, and the settings, whose names are put together."""
    files = [path for room in _ROOMS for path in (ROOT / room).rglob("*") if _is_text(path)]
    found = {
        name
        for path in (*files, *ROOT.glob("docker-compose*.yml"))
        for name in _VARIABLE.findall(path.read_text())
    }
    return found | {f"LONGSHORE_{name.upper()}" for name in Settings.model_fields}


def _is_text(path: Path) -> bool:
    is_code = path.suffix in (".py", ".sh", ".yml") or not path.suffix
    return path.is_file() and is_code and "cache" not in str(path.relative_to(ROOT))


def test_table_is_as_the_code_has_it() -> None:
    _, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, _ = rest.partition(END)
    assert table.strip() == settings_table(), "python -m tests.docs.settings_table writes it anew"


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_variable_of_the_code_is_on_the_page() -> None:
    named = set(_VARIABLE.findall(PAGE.read_text()))
    assert named == _variables_of_the_code()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_variables_that_there_are(page: Path) -> None:
    assert set(_VARIABLE.findall(page.read_text())) <= _variables_of_the_code()
