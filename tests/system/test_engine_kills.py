"""An engine that is killed starts again, whatever the platform was having it do, and starts no rank twice."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import pytest
from docker.errors import DockerException

from core.errors import EngineError, StartInDoubt
from core.jobs.launching import RankLimits
from tests.lab.hosts import Host, Hosts, can_make_hosts
from tests.lab.images import BUSYBOX, import_busybox
from tests.lab.platform import wait_until
from worker.docker_engine.steps import DockerSteps
from worker.engine import ContainerSpec, NetworkSpec, RankKey
from worker.rank_start import Contents, start_once
from worker.step_lease import StepLease

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())
#: One kill in two or three finds a network that is half removed: engines 20.10 would start no more.
_KILLS = 5
_BLOCKS = 200


@pytest.fixture
def host() -> Iterator[Host]:
    lab = Hosts(1)
    try:
        yield lab.hosts[0]
    finally:
        lab.end()


def test_engine_killed_while_networks_come_and_go_starts_again(host: Host) -> None:
    over = threading.Event()
    made = [0, 0, 0]
    makers = [threading.Thread(target=_make_and_remove, args=(host, made, n, over)) for n in range(len(made))]
    for maker in makers:
        maker.start()
    try:
        for _ in range(_KILLS):
            enough = sum(made) + len(made)
            wait_until(partial(_are, made, enough), 60, "networks come and go")
            time.sleep(random.uniform(0, 0.5))  # the moment of the kill: nothing is waited for
            host.kill()
            host.start()
    finally:
        over.set()
        for maker in makers:
            maker.join(60)


def test_rank_that_an_engine_may_have_started_before_it_died_is_not_started_again(host: Host) -> None:
    import_busybox(host.engine)
    steps, held = DockerSteps(host.socket, timeout_seconds=20), StepLease(60)
    block = IPv4Network("10.210.0.0/24")
    steps.ensure_network(NetworkSpec("kills", block, False, {}))
    before = steps.create(_container("a", block[2]))
    host.kill()
    host.start()
    after = steps.create(_container("b", block[3]))
    doubt = start_once(steps, before, Contents(), held, looked_at=True)
    assert isinstance(doubt, StartInDoubt)
    assert _status(steps, before) == "created"
    assert isinstance(start_once(steps, after, Contents(), held, looked_at=True), datetime)
    assert _status(steps, after) == "running"


def _container(job: str, address: IPv4Address) -> ContainerSpec:
    return ContainerSpec(
        key=RankKey(job, 1, 0),
        image=BUSYBOX,
        entrypoint=None,
        command=("sleep", "600"),
        environment={},
        labels={},
        limits=RankLimits(cpu_count=0.5, memory_bytes=64 << 20, pids=64),
        network="kills",
        address=address,
    )


def _status(steps: DockerSteps, container: str) -> str:
    seen = steps.observe(container)
    return "" if seen is None else seen.status


def _are(made: list[int], enough: int) -> bool:
    return sum(made) >= enough


def _make_and_remove(host: Host, made: list[int], number: int, over: threading.Event) -> None:
    steps: DockerSteps | None = None
    for serial in itertools.count():
        if over.is_set():
            return
        block = IPv4Network(f"10.{210 + number}.{serial % _BLOCKS}.0/29")
        spec = NetworkSpec(f"kills-{number}-{serial}", block, False, {})
        try:
            steps = steps or DockerSteps(host.socket, timeout_seconds=20)
            steps.ensure_network(spec)
            host.engine.api.remove_network(spec.name)
            made[number] += 1
        except (EngineError, DockerException, OSError):
            # It is being killed, or what was half made before is in the way: the next block will do.
            time.sleep(0.05)
