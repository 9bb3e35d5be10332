"""Holding one node: its lease taken, renewed, and everything stopped the moment it cannot be."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from core.database import Database
from core.errors import NodeUnreachable, Unavailable
from core.nodes import NodeRecord, drop_lease, record_silence, take_lease
from core.queue import Bell
from core.settings import Settings
from worker.docker_engine.streams import DockerStreams
from worker.supervisor.node_watch import NodeWatch
from worker.supervisor.scope import NodeScope

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 10.0
_RETAKE_SECONDS = 0.5


async def hold_node(
    node: NodeRecord,
    owner: str,
    database: Database,
    bell: Bell,
    settings: Settings,
    engines: dict[str, int],
) -> None:
    """Watch the node whenever this process has its lease; until cancelled.

    `engines` says which node each engine of this process is, by the engine's own id.
    """
    while True:
        try:
            await _until_taken(node, owner, database, settings)
            log.info("node_taken", node=node.name, owner=owner)
            await _while_held(node, owner, database, bell, settings, engines)
        finally:
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(drop_lease, database, node.id, owner)
        log.warning("node_let_go", node=node.name, owner=owner)
        await asyncio.sleep(_RETAKE_SECONDS)


async def _while_held(
    node: NodeRecord, owner: str, database: Database, bell: Bell, settings: Settings, engines: dict[str, int]
) -> None:
    """Watch until the lease is lost or the watch fails."""
    watching = asyncio.ensure_future(_watch(node, database, bell, settings, engines))
    renewing = asyncio.ensure_future(_while_renewed(node, owner, database, settings))
    try:
        await asyncio.wait({watching, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and (fault := watching.exception()) is not None:
            log.error("node_watch_failed", node=node.name, exc_info=fault)
    finally:
        watching.cancel()
        renewing.cancel()
        await asyncio.gather(watching, renewing, return_exceptions=True)


async def _watch(
    node: NodeRecord, database: Database, bell: Bell, settings: Settings, engines: dict[str, int]
) -> None:
    """Watch a node that is held; until cancelled."""
    engine = await _client_of(node, database, settings)
    try:
        await NodeWatch(NodeScope(node, database, bell, settings, engine, engines)).run()
    finally:
        await engine.close()


async def _client_of(node: NodeRecord, database: Database, settings: Settings) -> DockerStreams:
    """A client of the node's engine; where there can be none, the node says why for as long as it is held."""
    while True:
        try:
            return DockerStreams(
                node.endpoint, settings.installation, timeout_seconds=settings.engine_timeout_seconds
            )
        except NodeUnreachable as error:
            log.warning("engine_not_reachable", node=node.name, why=str(error))
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(record_silence, database, node.id, str(error))
        await asyncio.sleep(_AGAIN_SECONDS)


async def _until_taken(node: NodeRecord, owner: str, database: Database, settings: Settings) -> None:
    while True:
        with contextlib.suppress(Unavailable):
            if await _take(node, owner, database, settings):
                return
        await asyncio.sleep(settings.lease_seconds / 10)


async def _take(node: NodeRecord, owner: str, database: Database, settings: Settings) -> bool:
    """Take or renew the lease. Cancelled, it waits for its thread, which could take what was just dropped."""
    taking = asyncio.ensure_future(asyncio.to_thread(take_lease, database, node.id, owner, settings.lease_seconds))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        await asyncio.gather(taking, return_exceptions=True)
        raise


async def _while_renewed(node: NodeRecord, owner: str, database: Database, settings: Settings) -> None:
    """Return when the lease is another's, or could not be renewed while it ran."""
    loop = asyncio.get_running_loop()
    held_until = loop.time() + settings.lease_seconds
    while loop.time() < held_until:
        await asyncio.sleep(settings.lease_seconds / 3)
        asked_at = loop.time()
        try:
            if not await _take(node, owner, database, settings):
                return
        except Unavailable as error:
            log.warning("lease_not_renewed", node=node.name, why=str(error))
            continue
        held_until = asked_at + settings.lease_seconds
