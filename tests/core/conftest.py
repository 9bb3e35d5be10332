"""What tests of placement begin with."""

from __future__ import annotations

import pytest

from core.database import Database
from tests.core.placing_site import Site


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)
