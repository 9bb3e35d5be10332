"""Fixtures that more than one room uses. Servers are real and start once; each user gets its own database."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator, Iterator

import pytest

from core.database import Database
from tests.lab.platform import RUNNING
from tests.lab.servers import Servers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the platforms said when a test fails. In CI a test that its machine cannot run has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and any(item.iter_markers("skipif")):
        report.outcome = "failed"
    if call.excinfo is not None:
        for platform in RUNNING:
            report.sections.append((f"platform {platform.installation}", platform.story()))
    return report


#: Files of tests that take less are not named at the end.
_LONG_SECONDS = 20.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the time went: a file of many short tests is in no list of long tests."""
    spent: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("seconds by file")
    for file, seconds in sorted(spent.items(), key=lambda each: -each[1]):
        if seconds >= _LONG_SECONDS:
            terminalreporter.write_line(f"{seconds:6.0f} {file}")
    terminalreporter.write_line(f"{sum(spent.values()):6.0f} all")


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
