"""What an executed notebook says of how it ended. Pure; what is not as papermill leaves it says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

_SHOWN_CHARACTERS = 60
#: Of cells that papermill has put in: the parameters that were given.
_INJECTED = "injected-parameters"
#: nbclient's word for it.
_DEAD = "Kernel died"


def where_it_ended(content: bytes, last_line: str) -> str:
    """The cell in which a notebook failed, or was when its kernel or its container ended.

    By its number among the code cells of the notebook that was given, the first line of its source, and the error,
    or else the last line printed. "" where no cell failed.
    """
    last_run: tuple[int, dict[str, Any]] | None = None
    raised: tuple[int, dict[str, Any]] | None = None
    for number, cell in _code_cells(content):
        ran = cell.get("metadata", {}).get("papermill", {})
        if ran.get("exception") or ran.get("status") in ("failed", "running"):
            return _sentence(number, cell, last_line)
        if ran.get("status") == "completed":
            last_run = number, cell
            if raised is None and _error(cell):
                raised = number, cell
    if last_run is not None and _DEAD in last_line:
        # Papermill calls a cell completed whose kernel died, and runs no further one.
        return _sentence(*last_run, last_line)
    # One that was tagged raises-exception: papermill runs the cells after it, and fails all the same.
    return _sentence(*raised, last_line) if raised is not None else ""


def _sentence(number: int, cell: dict[str, Any], last_line: str) -> str:
    error = _error(cell) or last_line
    return f"cell {number} ({_first_line(_text(cell.get('source')))})" + (f": {error}" if error else "")


def _code_cells(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        cells = orjson.loads(content)["cells"]
        found = [cell for cell in cells if cell["cell_type"] == "code"]
        own = [cell for cell in found if _INJECTED not in cell.get("metadata", {}).get("tags", ())]
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return
    yield from enumerate(own, 1)


def _error(cell: dict[str, Any]) -> str:
    """As the last line of a traceback has it."""
    for output in reversed(cell.get("outputs", [])):
        if output.get("output_type") == "error":
            name, value = str(output.get("ename", "")), _text(output.get("evalue"))
            *_, last = value.strip().splitlines() or [""]
            return f"{name}: {last}" if last else name
    return ""


def _first_line(source: str) -> str:
    line = next((line.strip() for line in source.splitlines() if line.strip()), "empty")
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"


def _text(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")
