"""The supervisor process: its signals, and one holder for each node of its group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket

import structlog

from core.database import Database
from core.errors import Unavailable
from core.nodes import NodeRecord, nodes_of_group
from core.queue import Bell, make_celery
from core.settings import Settings
from worker.supervisor.node_holder import hold_node

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0
_CONNECTIONS = 10


def run_supervisor(settings: Settings) -> None:
    """Watch the group's nodes until SIGTERM or SIGINT. Containers go on running; only the watch ends."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    database = Database(settings.database_url, pool_size=_CONNECTIONS)
    bell = Bell(make_celery(settings.broker_url))
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    holders: dict[int, asyncio.Task[None]] = {}
    while not told_to_end.is_set():
        for node in await _nodes(database, settings):
            if node.id not in holders or holders[node.id].done():
                holders[node.id] = asyncio.create_task(hold_node(node, owner, database, bell, settings))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told_to_end.wait(), _LOOK_SECONDS)
    for holder in holders.values():
        holder.cancel()
    await asyncio.gather(*holders.values(), return_exceptions=True)
    bell.close()
    database.close()


async def _nodes(database: Database, settings: Settings) -> list[NodeRecord]:
    try:
        return await asyncio.to_thread(nodes_of_group, database, settings.worker_group)
    except Unavailable as error:
        log.warning("nodes_not_read", why=str(error))
        return []
