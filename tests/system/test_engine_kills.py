"""An engine that is killed starts again, whatever the platform was having it do."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network

import pytest
from docker.errors import DockerException

from core.errors import EngineError
from tests.lab.hosts import Host, Hosts, can_make_hosts
from tests.lab.platform import wait_until
from worker.docker_engine.steps import DockerSteps
from worker.engine import NetworkSpec

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
