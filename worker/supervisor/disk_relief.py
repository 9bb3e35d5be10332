"""A node's disk that a rank has all but filled: that rank's job is ended, so that the others can go on.

As a kubelet does under disk pressure, with one rule more: nobody is ended whose end would not mend it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from core.errors import EngineError
from core.jobs.evicting import evict
from core.nodes import EngineFacts
from worker.engine import RankKey
from worker.supervisor.scope import NodeScope

log = structlog.get_logger(__name__)

_MIB = 1 << 20


class DiskRelief:
    """Of one node. `floor_bytes` is the free disk that placing asks for; at half of that, something is done."""

    def __init__(self, scope: NodeScope, floor_bytes: int) -> None:
        self._scope = scope
        self._least_bytes = floor_bytes // 2
        self._free_bytes = 0
        self._is_short = asyncio.Event()
        #: whose end is waited for: no second one is ended for what the first one's end will free
        self._ending: RankKey | None = None

    def notice(self, facts: EngineFacts) -> None:
        """What the engine has just said of its disk."""
        if facts.free_disk_bytes is None or facts.free_disk_bytes >= self._least_bytes:
            self._ending = None
            return
        self._free_bytes = facts.free_disk_bytes
        self._is_short.set()

    async def relieve(self) -> None:
        """End a job whenever the disk is short and one of its ranks is why, until cancelled."""
        while True:
            await self._is_short.wait()
            self._is_short.clear()
            await self._look()

    async def _look(self) -> None:
        free = self._free_bytes
        try:
            written = await self._scope.engine.written_bytes()
        except EngineError as error:
            # It may be long about that, on the disks that are asked about; that says nothing of the node.
            log.warning("written_bytes_unknown", node=self._scope.node.name, why=str(error))
            return
        if self._ending in written:
            return
        self._ending = rank_to_end(free, self._least_bytes, written)
        if self._ending is not None:
            await self._end(self._ending, written[self._ending], free)

    async def _end(self, key: RankKey, written: int, free: int) -> None:
        scope = self._scope
        status = (
            f"rank {key.rank} has written {written // _MIB} MiB to the disk of node {scope.node.name},"
            f" which had {free // _MIB} MiB left"
        )
        log.warning("rank_fills_disk", job=key.job_id, rank=key.rank, written=written, free=free)
        settled = await scope.verb(evict, scope.database, key.job_id, key.attempt, status=status)
        if settled is not None:
            scope.process.ring(settled)


def rank_to_end(free: int, least: int, written: Mapping[RankKey, int]) -> RankKey | None:
    """Whoever has written most, if there is room again without it; all in bytes. None: it is not the ranks."""
    most = max(written, key=lambda key: (written[key], key.container_name), default=None)
    return most if most is not None and free + written[most] >= least else None
