"""Fixtures that more than one room uses. Servers are real and start once; each user gets its own database."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from core.database import Database
from tests.lab.platform import RUNNING
from tests.lab.servers import Servers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the platforms said when a test fails."""
    report = yield
    if call.excinfo is not None:
        for platform in RUNNING:
            report.sections.append((f"platform {platform.installation}", platform.story()))
    return report


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def broker_url(servers: Servers) -> str:
    return servers.new_broker()


@pytest.fixture(scope="module")
def database_url(servers: Servers) -> str:
    """A migrated database that no other test module sees."""
    return servers.new_database()


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()
