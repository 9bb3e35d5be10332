"""One listening connection for all nodes of a process: who is woken is told by a node's row id.

A connection for each node would take up the server's hundred with as many nodes.
"""

from __future__ import annotations

import asyncio

import structlog

from core import wakeups
from core.errors import Unavailable
from core.images import WAKE_CHANNEL

log = structlog.get_logger(__name__)

_RECONNECT_SECONDS = 0.5


class Wakeups:
    """`of(node)` is set when somebody has work for that node, and for all nodes when a connection was lost."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._events: dict[int, asyncio.Event] = {}

    def of(self, node_id: int) -> asyncio.Event:
        """The node's event; whoever waits for it clears it."""
        return self._events.setdefault(node_id, asyncio.Event())

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async for node_id in wakeups.listen(self._database_url, WAKE_CHANNEL):
                    if node_id.isdigit() and int(node_id) in self._events:
                        self._events[int(node_id)].set()
            except Unavailable as error:
                log.warning("wakeups_interrupted", why=str(error))
            await asyncio.sleep(_RECONNECT_SECONDS)
            for event in self._events.values():
                event.set()
