"""The table of settings in docs/settings.md, made of `core.settings`.

python -m tests.docs.settings_table      writes it anew
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.settings import Settings
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- written by python -m tests.docs.settings_table -->", "<!-- to here -->"
_UNITS = ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)


def settings_table() -> str:
    """A line for each setting, in the order of the code."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join(("| variable | default | |", "| --- | --- | --- |", *rows))


def _row(name: str, field: FieldInfo) -> str:
    said = (field.description or "").replace("|", r"\|")
    bounds = _bounds(field)
    return f"| `LONGSHORE_{name.upper()}` | {_default(name, field.default)} | {said}{bounds} |"


def _default(name: str, value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if value is None or value == "":
        return "none"
    text = f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
    if isinstance(value, int) and name.endswith("_bytes"):
        text += next((f" ({value // size} {unit}B)" for unit, size in _UNITS if value and value % size == 0), "")
    return text


def _bounds(field: FieldInfo) -> str:
    """What else it must be, beyond not being negative."""
    least = next((each.ge for each in field.metadata if getattr(each, "ge", None)), None)
    most = next((each.le for each in field.metadata if getattr(each, "le", None)), None)
    found = [f"at least {least:g}" if least else "", f"at most {most:,}" if most else ""]
    text = ", ".join(filter(None, found))
    return f" ({text})" if text else ""


def write_table() -> None:
    """Put the table between its two marks."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}")


if __name__ == "__main__":
    write_table()
