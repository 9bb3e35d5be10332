"""What everything that watches one node shares, and what all nodes of the process do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import structlog

from core.database import Database
from core.errors import Unavailable
from core.jobs.ending import RankExit, record_exits
from core.jobs.stopping import Settled, release
from core.nodes import NodeRecord
from core.queue import Bell
from core.settings import Settings
from worker.docker_engine.streams import DockerStreams
from worker.supervisor.collecting import Collecting
from worker.supervisor.gathering import Gathering
from worker.supervisor.usage_writer import UsageWriter

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
#: Ends that are seen to at once, in all and of one node. When thousands come, and all are begun, there are so many
#: calls under way that each takes longer than it may. An engine that hangs must not have the most of them.
_FINISHING_AT_ONCE, _FINISHING_OF_NODE = 256, 16


async def verb(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a verb of `core` in a thread, again and again while the database is away.

    Every verb is guarded, so one whose commit went unanswered may be repeated.
    """
    while True:
        try:
            return await asyncio.to_thread(call, *args, **kwargs)
        except Unavailable as error:
            log.warning("verb_put_off", verb=getattr(call, "__name__", "?"), why=str(error))
            await asyncio.sleep(_RETRY_SECONDS)


class ProcessScope:
    """What the watches of all nodes of this process share."""

    def __init__(self, database: Database, bell: Bell, settings: Settings) -> None:
        self.database = database
        self.bell = bell
        self.settings = settings
        #: its engines by their own ids, and the node that each is
        self.engines: dict[str, int] = {}
        #: what its ranks use, on its way to rows
        self.usage = UsageWriter(database)
        self.finishing = asyncio.Semaphore(_FINISHING_AT_ONCE)
        #: what ranks left, on its way to the object store
        self.collecting = Collecting(settings.object_store_url)
        #: what the ranks of an attempt write together, on whatever nodes they are
        self.exits: Gathering[RankExit, Settled] = Gathering(self._record_exits)
        self.releases: Gathering[None, Settled | None] = Gathering(self._release)

    async def _record_exits(self, job_id: str, attempt: int, ends: dict[int, RankExit]) -> Settled:
        settled = await verb(record_exits, self.database, job_id, attempt, ends)
        self.ring(settled)
        return settled

    async def _release(self, job_id: str, attempt: int, ranks: dict[int, None]) -> Settled | None:
        settled = await verb(release, self.database, job_id, attempt, list(ranks))
        if settled is not None:
            self.ring(settled)
        return settled

    def ring(self, settled: Settled) -> None:
        """Ring for what follows from a rank's end."""
        for order in settled.stops:
            self.bell.stop(order.worker_group, order.job_id, order.attempt, order.node_id)
        if settled.slots_freed:
            self.bell.schedule(settled.pool_row)


@dataclass
class NodeScope:
    """The node held, its engine, and the way to rows: verbs run in threads, never on the loop."""

    node: NodeRecord
    process: ProcessScope
    engine: DockerStreams
    #: set when there may be a pull to begin
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    #: set when a gang has ended and its network may be removable
    networks_due: asyncio.Event = field(default_factory=asyncio.Event)

    _finishing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FINISHING_OF_NODE))

    @asynccontextmanager
    async def finishing(self) -> AsyncIterator[None]:
        """To be held while a rank's end is seen to."""
        # The node's own first: whoever waits for that keeps nobody of other nodes waiting.
        async with self._finishing, self.process.finishing:
            yield

    async def verb(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`verb`, for those who have a scope at hand."""
        return await verb(call, *args, **kwargs)

    @property
    def database(self) -> Database:
        """The process's."""
        return self.process.database

    @property
    def bell(self) -> Bell:
        """The process's."""
        return self.process.bell

    @property
    def settings(self) -> Settings:
        """The process's."""
        return self.process.settings
