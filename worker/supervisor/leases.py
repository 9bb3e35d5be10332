"""The leases of one process, renewed together: one statement for all nodes, however many it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from core.database import Database
from core.errors import Unavailable
from core.nodes import renew_leases

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.5


class Leases:
    """What `owner` holds, and until when by this process's own clock. `run` renews it."""

    def __init__(self, database: Database, owner: str, seconds: float) -> None:
        self._database = database
        self._owner = owner
        self._seconds = seconds
        # Its own: a renewal must not stand in line behind whatever else there is to write.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leases")
        self._held_until: dict[int, float] = {}
        self._lost: dict[int, asyncio.Event] = {}

    async def while_held(self, node_id: int, asked_at: float) -> None:
        """Return when the lease that was asked for then (loop time) is another's, or was not renewed in time."""
        lost = self._lost[node_id] = asyncio.Event()
        self._held_until[node_id] = asked_at + self._seconds
        try:
            loop = asyncio.get_running_loop()
            while not lost.is_set() and (left := self._held_until[node_id] - loop.time()) > 0:
                await asyncio.wait({waiting := asyncio.ensure_future(lost.wait())}, timeout=left)
                waiting.cancel()
        finally:
            del self._held_until[node_id], self._lost[node_id]

    async def run(self) -> None:
        """Renew at each third of the lease, sooner what could not be renewed; until cancelled."""
        wait = self._seconds / 3
        while True:
            await asyncio.sleep(wait)
            wait = self._seconds / 3 if await self._renew() else _AGAIN_SECONDS

    async def _renew(self) -> bool:
        """Whether everything is renewed or known to be lost."""
        asked_at = asyncio.get_running_loop().time()
        nodes = list(self._held_until)
        if not nodes:
            return True
        try:
            renewed, lost = await asyncio.get_running_loop().run_in_executor(
                self._thread, renew_leases, self._database, nodes, self._owner, self._seconds
            )
        except Unavailable as error:
            log.warning("leases_not_renewed", why=str(error))
            return False
        self._note(renewed, lost, asked_at)
        return len(renewed) + len(lost) == len(nodes)

    def _note(self, renewed: Collection[int], lost: Collection[int], asked_at: float) -> None:
        for node_id in renewed:
            if node_id in self._held_until:
                self._held_until[node_id] = max(self._held_until[node_id], asked_at + self._seconds)
        for node_id in lost:
            if node_id in self._lost:
                self._lost[node_id].set()
