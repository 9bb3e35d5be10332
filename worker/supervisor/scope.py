"""What everything that watches one node shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import structlog

from core.database import Database
from core.errors import Unavailable
from core.jobs.stopping import Settled
from core.nodes import NodeRecord
from core.queue import Bell
from core.settings import Settings
from worker.docker_engine.streams import DockerStreams

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5


@dataclass
class NodeScope:
    """The node held, its engine, and the way to rows: verbs run in threads, never on the loop."""

    node: NodeRecord
    database: Database
    bell: Bell
    settings: Settings
    engine: DockerStreams
    #: this process's engines by their own ids, and the node that each is
    engines: dict[str, int] = field(default_factory=dict)
    #: set when there may be a pull to begin
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    #: set when a gang has ended and its network may be removable
    networks_due: asyncio.Event = field(default_factory=asyncio.Event)

    async def verb(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a verb of `core` in a thread, again and again while the database is away.

        Every verb is guarded, so one whose commit went unanswered may be repeated.
        """
        while True:
            try:
                return await asyncio.to_thread(call, *args, **kwargs)
            except Unavailable as error:
                log.warning("verb_put_off", verb=getattr(call, "__name__", "?"), why=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    def ring(self, settled: Settled) -> None:
        """Ring for what follows from a rank's end."""
        for order in settled.stops:
            self.bell.stop(order.worker_group, order.job_id, order.attempt, order.node_id)
        if settled.slots_freed:
            self.bell.schedule(settled.pool_row)
