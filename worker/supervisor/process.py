"""The supervisor process: its signals, and one holder for each node of its group."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from core.database import Database
from core.errors import Unavailable
from core.jobs.gang_networks import free_unused_blocks
from core.nodes import NodeRecord, nodes_of_group
from core.queue import Bell, make_celery
from core.settings import Settings
from worker.heartbeat import Heartbeat
from worker.supervisor.leases import Leases
from worker.supervisor.node_holder import hold_node
from worker.supervisor.scope import ProcessScope
from worker.supervisor.waiting import is_set_within
from worker.supervisor.wake import Wakeups

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0
#: Of the database, and threads that use them. They wait for commits most of their time.
_CONNECTIONS = 16
#: Allocations between two looks for reference cycles. What is under way here outlives Python's own 700 of them
#: many times over and is taken for long-lived, so that the whole heap is searched again and again: half of the
#: time at 25,000 watched ranks.
_COLLECT_AFTER = 100_000


def run_supervisor(settings: Settings) -> None:
    """Watch the group's nodes until SIGTERM or SIGINT. Containers go on running; only the watch ends."""
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    database = Database(settings.database_url, pool_size=_CONNECTIONS + 1)
    bell = Bell(make_celery(settings.broker_url))
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="verb"))
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    holders: dict[NodeRecord, asyncio.Task[None]] = {}
    process = ProcessScope(database, bell, settings)
    wakeups = Wakeups(settings.database_url)
    heartbeat = Heartbeat(settings.heartbeat_file, settings.lease_seconds / 3)
    leases = Leases(database, owner, settings.lease_seconds, heartbeat.beat)
    of_all = [
        asyncio.create_task(wakeups.run(), name="wakeups"),
        asyncio.create_task(leases.run(), name="leases"),
        asyncio.create_task(process.usage.run(), name="usage"),
        asyncio.create_task(_free_blocks(database), name="free_blocks"),
    ]
    while not told_to_end.is_set():
        nodes = await _nodes(database, settings)
        if nodes is not None:
            await _let_go([holders.pop(node) for node in set(holders) - set(nodes)])
            for node in nodes:
                if node in holders and holders[node].done():
                    log.error("holder_failed", node=node.name, exc_info=holders[node].exception())
                if node not in holders or holders[node].done():
                    holding = hold_node(node, owner, process, wakeups.of(node.id), leases)
                    holders[node] = asyncio.create_task(holding)
        await is_set_within(told_to_end, _LOOK_SECONDS)
    await _let_go([*holders.values(), *of_all])
    await process.usage.write_all()
    process.collecting.close()
    bell.close()
    database.close()


async def _let_go(holders: Collection[asyncio.Task[None]]) -> None:
    """End the watch over nodes that are deleted, or whose engine is another now, or over all."""
    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)


async def _free_blocks(database: Database) -> None:
    """Free the address blocks of gangs that are over; of all nodes at once, and so not once for each of them."""
    while True:
        with contextlib.suppress(Unavailable):
            await asyncio.to_thread(free_unused_blocks, database)
        await asyncio.sleep(_LOOK_SECONDS)


async def _nodes(database: Database, settings: Settings) -> list[NodeRecord] | None:
    """The group's nodes; None where they cannot be known now, which lets go of nothing."""
    try:
        return await asyncio.to_thread(nodes_of_group, database, settings.worker_group)
    except Unavailable as error:
        log.warning("nodes_not_read", why=str(error))
        return None
