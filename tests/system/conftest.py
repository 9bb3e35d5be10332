"""One platform for all system tests, and the registry that its images come from; three hosts for those of gangs.

The hosts are made when first asked for and serve every module; each module that uses them has its own platform.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.places import free_port
from tests.lab.api_client import ApiClient
from tests.lab.host_pool import start_platform
from tests.lab.hosts import Hosts
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.judge import Judge
from tests.lab.platform import Platform
from tests.lab.registry import Registry
from tests.lab.servers import Servers

_WORKER_PORT, _SUPERVISOR_PORT = free_port(), free_port()
#: Where the platform's worker and supervisor tell what they measure.
WORKER_METRICS, SUPERVISOR_METRICS = (f"http://127.0.0.1:{port}" for port in (_WORKER_PORT, _SUPERVISOR_PORT))


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
        worker_metrics_port=_WORKER_PORT,
        supervisor_metrics_port=_SUPERVISOR_PORT,
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


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """Three hosts with an engine each, in one swarm that the first one manages."""
    lab = Hosts(3)
    try:
        lab.swarm()
        yield lab
    finally:
        lab.end()


@pytest.fixture(scope="session")
def hosts_registry(hosts: Hosts) -> Iterator[Registry]:
    """A registry that the three hosts reach; this machine's own engine does not trust it."""
    started = Registry(hosts.gateway)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def hosts_platform(
    servers: Servers, hosts: Hosts, hosts_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform of this module's own, with the three hosts in a pool of theirs."""
    folder = tmp_path_factory.mktemp("hosts")
    started = start_platform(servers, folder, hosts, registry_config=hosts_registry.config)
    yield started
    started.stop()


@pytest.fixture
def judge(hosts_platform: Platform, hosts: Hosts) -> Iterator[Judge]:
    """Watches rows and engines from before the test; whatever the test says, nothing may have gone wrong."""
    watching = Judge(hosts_platform, hosts.hosts)
    try:
        yield watching
        faults = list(watching.settle())
        print(watching.figures)
        assert faults == []
    finally:
        watching.stop()
