"""Which revision this code wants the database to be at. Without alembic, which only those that migrate need."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def head() -> str:
    """The newest revision that this code knows. Files are named `<revision>_<what it does>.py`; revisions grow."""
    return max(file.name.partition("_")[0] for file in (Path(__file__).parent / "versions").glob("[0-9]*_*.py"))
