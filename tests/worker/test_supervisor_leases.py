"""A supervisor's hold on its nodes: it does not slip while there is much to do, and it does when nothing moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from core.database import Database
from core.enrolment import ensure_first_account
from core.nodes import drop_lease, ensure_node, ensure_pool, nodes_of_group, take_lease
from worker.supervisor import leases as leases_module
from worker.supervisor.leases import Leases

GROUP, SECONDS = "busy", 1.0


@pytest.fixture
def node(database: Database) -> Iterator[int]:
    ensure_first_account(database, account="busy", user_email="b@busy.test", key_file_has_key=True)
    ensure_pool(database, account="busy")
    ensure_node(
        database,
        account="busy",
        name="one",
        endpoint="unix:///tmp/busy.sock",
        worker_group=GROUP,
        cpu_count=1,
        memory_bytes=1 << 30,
    )
    (row,) = [each.id for each in nodes_of_group(database, GROUP)]
    assert take_lease(database, row, "me", SECONDS)
    yield row
    for owner in ("me", "another"):
        drop_lease(database, row, owner)


async def hold(leases: Leases, node: int, blocked_seconds: float) -> bool:
    """Whether the node is still held after the loop was kept busy for so long."""
    renewing = asyncio.create_task(leases.run())
    held = asyncio.create_task(leases.while_held(node, asyncio.get_running_loop().time()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(blocked_seconds)
    await asyncio.sleep(SECONDS / 4)
    is_held = not held.done()
    for task in (renewing, held):
        task.cancel()
    await asyncio.gather(renewing, held, return_exceptions=True)
    return is_held


def test_lease_is_kept_while_the_loop_is_busy_for_longer_than_it_lasts(database: Database, node: int) -> None:
    assert asyncio.run(hold(Leases(database, "me", SECONDS), node, 3 * SECONDS))
    assert not take_lease(database, node, "another", SECONDS)


def test_lease_runs_out_when_the_loop_hangs(
    database: Database, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "_HUNG_SECONDS", SECONDS)
    assert not asyncio.run(hold(Leases(database, "me", SECONDS), node, 4 * SECONDS))
    assert take_lease(database, node, "another", SECONDS)


def test_lease_that_is_anothers_by_now_is_let_go_of(database: Database, node: int) -> None:
    drop_lease(database, node, "me")
    assert take_lease(database, node, "another", 60)
    assert not asyncio.run(hold(Leases(database, "me", SECONDS), node, 0.6 * SECONDS))
