"""One platform for all system tests, and the registry that its images come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform
from tests.lab.registry import Registry
from tests.lab.servers import Servers


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    started = Registry()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def platform(servers: Servers, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(
        servers,
        tmp_path_factory.mktemp("platform"),
        registry_config=registry.config,
        orphan_grace_seconds=2,
        pull_stall_seconds=20,
        listing_seconds=1,
    )
    yield started
    started.stop()


@pytest.fixture(scope="session")
def client(platform: Platform) -> ApiClient:
    return platform.client


@pytest.fixture
def busybox(platform: Platform) -> str:
    return BUSYBOX


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
