"""What tests of placement, and of what ended attempts leave, begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.database import Database
from tests.core.packing_lab import PackingLab
from tests.core.placing_site import Site


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


@pytest.fixture
def lab(database: Database, tmp_path: Path) -> PackingLab:
    return PackingLab(database, tmp_path / "objects")
