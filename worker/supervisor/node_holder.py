"""Holding one node: its lease taken, renewed, and everything stopped the moment it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

import structlog

from core.database import Database
from core.errors import NodeUnreachable, Unavailable
from core.nodes import NodeRecord, drop_lease, record_silence, take_lease
from core.settings import Settings
from worker.docker_engine.streams import DockerStreams
from worker.docker_engine.transport import EngineAccess
from worker.measures import NODES_HELD
from worker.supervisor.leases import Leases
from worker.supervisor.node_watch import NodeWatch
from worker.supervisor.scope import NodeScope, ProcessScope

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 5.0
_RETAKE_SECONDS = 0.5


async def hold_node(
    node: NodeRecord,
    owner: str,
    process: ProcessScope,
    woken: asyncio.Event,
    leases: Leases,
) -> None:
    """Watch the node whenever this process has its lease; until cancelled.

    `woken` is set when there may be a pull to begin on the node; `leases` renews those of all nodes.
    """
    while True:
        try:
            taken_at = await _until_taken(node, owner, process.database, process.settings)
            log.info("node_taken", node=node.name, owner=owner)
            watch = _watch(node, process, woken)
            await _while_held(node, watch, leases.while_held(node.id, taken_at))
        finally:
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(drop_lease, process.database, node.id, owner)
        log.warning("node_let_go", node=node.name, owner=owner)
        await asyncio.sleep(_RETAKE_SECONDS)


async def _while_held(
    node: NodeRecord, watch: Coroutine[None, None, None], held: Coroutine[None, None, None]
) -> None:
    """Watch until the lease is lost or the watch fails."""
    watching = asyncio.ensure_future(watch)
    renewing = asyncio.ensure_future(held)
    try:
        await asyncio.wait({watching, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and (fault := watching.exception()) is not None:
            log.error("node_watch_failed", node=node.name, exc_info=fault)
    finally:
        watching.cancel()
        renewing.cancel()
        await asyncio.gather(watching, renewing, return_exceptions=True)


async def _watch(node: NodeRecord, process: ProcessScope, woken: asyncio.Event) -> None:
    """Watch a node that is held; until cancelled."""
    engine = await _client_of(node, process.database, process.settings)
    try:
        with NODES_HELD.track_inprogress():
            await NodeWatch(NodeScope(node, process, engine, woken)).run()
    finally:
        await engine.close()


async def _client_of(node: NodeRecord, database: Database, settings: Settings) -> DockerStreams:
    """A client of the node's engine; where there can be none, the node says why for as long as it is held."""
    while True:
        try:
            return DockerStreams(
                node.endpoint,
                settings.installation,
                timeout_seconds=settings.engine_timeout_seconds,
                access=EngineAccess.of(settings),
                probe_image=settings.disk_probe_image,
            )
        except NodeUnreachable as error:
            log.warning("engine_not_reachable", node=node.name, why=str(error))
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(record_silence, database, node.id, str(error))
        await asyncio.sleep(_AGAIN_SECONDS)


async def _until_taken(node: NodeRecord, owner: str, database: Database, settings: Settings) -> float:
    """Take the lease; the loop's time when it was asked for."""
    while True:
        asked_at = asyncio.get_running_loop().time()
        with contextlib.suppress(Unavailable):
            if await _take(node, owner, database, settings):
                return asked_at
        await asyncio.sleep(settings.lease_seconds / 10)


async def _take(node: NodeRecord, owner: str, database: Database, settings: Settings) -> bool:
    """Take the lease. Cancelled, it waits for its thread, which could take what was just dropped."""
    taking = asyncio.ensure_future(asyncio.to_thread(take_lease, database, node.id, owner, settings.lease_seconds))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        await asyncio.gather(taking, return_exceptions=True)
        raise
