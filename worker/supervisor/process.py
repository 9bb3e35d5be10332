"""The supervisor process: its signals, and one holder for each node of its group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Collection

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
    holders: dict[NodeRecord, asyncio.Task[None]] = {}
    engines: dict[str, int] = {}
    while not told_to_end.is_set():
        nodes = await _nodes(database, settings)
        if nodes is not None:
            await _let_go([holders.pop(node) for node in set(holders) - set(nodes)])
            for node in nodes:
                if node in holders and holders[node].done():
                    log.error("holder_failed", node=node.name, exc_info=holders[node].exception())
                if node not in holders or holders[node].done():
                    holding = hold_node(node, owner, database, bell, settings, engines)
                    holders[node] = asyncio.create_task(holding)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told_to_end.wait(), _LOOK_SECONDS)
    await _let_go(holders.values())
    bell.close()
    database.close()


async def _let_go(holders: Collection[asyncio.Task[None]]) -> None:
    """End the watch over nodes that are deleted, or whose engine is another now, or over all."""
    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)


async def _nodes(database: Database, settings: Settings) -> list[NodeRecord] | None:
    """The group's nodes; None where they cannot be known now, which lets go of nothing."""
    try:
        return await asyncio.to_thread(nodes_of_group, database, settings.worker_group)
    except Unavailable as error:
        log.warning("nodes_not_read", why=str(error))
        return None
