"""Holding one node: its lease taken, renewed, and everything stopped the moment it cannot be."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from core.database import Database
from core.errors import Unavailable
from core.nodes import NodeRecord, drop_lease, take_lease
from core.queue import Bell
from core.settings import Settings
from worker.docker_engine.streams import DockerStreams
from worker.supervisor.node_watch import NodeWatch
from worker.supervisor.scope import NodeScope

log = structlog.get_logger(__name__)


async def hold_node(node: NodeRecord, owner: str, database: Database, bell: Bell, settings: Settings) -> None:
    """Watch the node whenever this process has its lease; until cancelled."""
    while True:
        await _until_taken(node, owner, database, settings)
        log.info("node_taken", node=node.name, owner=owner)
        engine = DockerStreams(
            node.endpoint, settings.installation, timeout_seconds=settings.engine_timeout_seconds
        )
        watching = asyncio.ensure_future(NodeWatch(NodeScope(node, database, bell, settings, engine)).run())
        renewing = asyncio.ensure_future(_while_renewed(node, owner, database, settings))
        try:
            await asyncio.wait({watching, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and (fault := watching.exception()) is not None:
                log.error("node_watch_failed", node=node.name, exc_info=fault)
        finally:
            for part in (watching, renewing):
                part.cancel()
                with contextlib.suppress(asyncio.CancelledError, ExceptionGroup):
                    await part
            await engine.close()
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(drop_lease, database, node.id, owner)
        log.warning("node_let_go", node=node.name, owner=owner)


async def _until_taken(node: NodeRecord, owner: str, database: Database, settings: Settings) -> None:
    while True:
        with contextlib.suppress(Unavailable):
            if await asyncio.to_thread(take_lease, database, node.id, owner, settings.lease_seconds):
                return
        await asyncio.sleep(settings.lease_seconds / 10)


async def _while_renewed(node: NodeRecord, owner: str, database: Database, settings: Settings) -> None:
    """Return when the lease is another's, or could not be renewed while it ran."""
    loop = asyncio.get_running_loop()
    held_until = loop.time() + settings.lease_seconds
    while loop.time() < held_until:
        await asyncio.sleep(settings.lease_seconds / 3)
        asked_at = loop.time()
        try:
            if not await asyncio.to_thread(take_lease, database, node.id, owner, settings.lease_seconds):
                return
        except Unavailable as error:
            log.warning("lease_not_renewed", node=node.name, why=str(error))
            continue
        held_until = asked_at + settings.lease_seconds
