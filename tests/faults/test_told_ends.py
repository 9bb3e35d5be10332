"""An engine that dies after it has told of an end and before it may have written it down: the end stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.failpoints import Point
from tests.faults.harness.chaos import thaw
from tests.faults.harness.engines import Engines, EnginesWanted
from tests.faults.harness.orders import Orders
from tests.lab.hosts import can_make_hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "orders")


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    started = Engines(EnginesWanted(hosts=1), tmp_path)
    yield started
    started.end()


@pytest.fixture
def platform(servers: Servers, engines: Engines, orders: Orders, tmp_path: Path) -> Iterator[Platform]:
    started = Platform(
        servers,
        tmp_path,
        endpoints=engines.endpoints,
        sockets=engines.sockets,
        network=engines.network,
        variables=lambda process, environment: orders.variables(process),
        lease_seconds=30,
        listing_seconds=1,
        **engines.settings,
    )
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("command", "state", "reason", "code"),
    [("echo done; exit 7", "FAILED", "EXIT_CODE", 7), ("echo done", "COMPLETED", "", 0)],
)
def test_end_that_an_engine_told_of_before_it_was_killed_is_the_ranks_own(
    platform: Platform, engines: Engines, orders: Orders, command: str, state: str, reason: str, code: int
) -> None:
    (host,) = engines.hosts.hosts
    job = platform.client.shell(f"sleep 1; {command}", image=BUSYBOX)["id"]
    # It stops where it has heard of the end and has not asked for anything else.
    order = orders.give("supervisor", Point.EXIT_SEEN, job, action="freeze")
    wait_until(lambda: order.is_taken, 60, "the supervisor has heard of the end", every=0.005)
    host.kill()
    thaw(platform.pid("supervisor"))
    host.start_as_a_service()
    done = platform.client.wait_end(job, 120)
    assert (done["state"], done["reason"]) == (state, reason), done["status"]
    (rank,) = platform.client.ranks(job)
    assert (rank["exitCode"], platform.client.lines(job)) == (code, ["done"])
