"""A whole platform in good health, of which the tests of the doctor break one thing at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import pytest

from deploy.secret_keys import ensure_keys
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers


@pytest.fixture(scope="package")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Four processes, whose one node has been seen by its supervisor."""
    started = Platform(servers, tmp_path_factory.mktemp("p"))
    try:
        wait_until(
            lambda: bool(started.query("SELECT 1 FROM nodes WHERE lease_until > now() AND seen_at IS NOT NULL")),
            60,
            "the supervisor has seen the node",
        )
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="package")
def healthy(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The variables with which the doctor finds nothing wrong."""
    home = tmp_path_factory.mktemp("home")
    ensure_keys(home / "secret-keys")
    # As deploy/up leaves it.
    (home / "venv").symlink_to(sys.prefix)
    return {
        **{name: value for name, value in platform.environment.items() if name.startswith("LONGSHORE_")},
        "LONGSHORE_HOME": str(home),
        "LONGSHORE_URL": platform.url,
    }
