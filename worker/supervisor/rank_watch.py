"""One container, from its start to its slot being free: output captured, end recorded, container removed.

The order at the end is fixed: exit seen → output stored → what it left collected → exit committed → container
removed → slot freed.
Whoever dies in between is followed by one that finds the container, or the row, and goes on from there.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from core.errors import EngineError, NodeUnreachable, Superseded
from core.failpoints import Point, failpoint
from core.jobs.ending import RankExit, record_lost
from core.tracing import job_span
from worker.engine import Observation, RankKey
from worker.executors.notebook import EXECUTED_NOTEBOOK
from worker.executors.notebook_result import where_it_ended
from worker.supervisor.log_writer import LogWriter
from worker.supervisor.output_capture import OutputCapture, OutputLimits
from worker.supervisor.rank_outputs import RankOutputsCollector
from worker.supervisor.running_notebook import keep_while_running
from worker.supervisor.scope import NodeScope
from worker.supervisor.told_exits import ToldExits
from worker.supervisor.waiting import Patience, is_set_within

log = structlog.get_logger(__name__)

#: What a process leaves that SIGKILL has ended, and how late its reason may be.
_KILLED = 137
_LATE_SECONDS = 0.5


class RankWatch:
    """The watch over one rank's container. `is_new` says that its start was just seen: nothing is stored yet."""

    def __init__(
        self,
        scope: NodeScope,
        writer: LogWriter,
        key: RankKey,
        container_id: str,
        told: ToldExits,
        engine_began: Callable[[], Awaitable[datetime | None]],
        *,
        keeps_notebook: bool,
        in_gang: bool,
        output_limits: OutputLimits,
        is_new: bool,
    ) -> None:
        self._scope = scope
        self._output = OutputCapture(scope, writer, key, container_id, output_limits)
        self._outputs = RankOutputsCollector(scope, key, container_id)
        self.key = key
        self._told = told
        #: of an engine that ends its containers when it is restarted; by its own clock
        self._engine_began = engine_began
        self.container_id = container_id
        self._keeps_notebook = keeps_notebook
        self._in_gang = in_gang
        self._is_new = is_new
        self.ended = asyncio.Event()
        #: the engine has said that a process of the container was killed for its memory
        self.out_of_memory = asyncio.Event()
        #: the engine was asked, by whomever, to kill the container
        self.killed_by_call = False

    async def run(self) -> None:
        """Watch until the slot is free. Raises NodeUnreachable where the engine goes away for long."""
        if not self._is_new:
            await self._output.resume()
        await self._follow()
        patience = Patience(self._scope.settings.output_patience_seconds)
        while not await self._finish(is_last_try=patience.is_over):
            # So that no other end is kept waiting for it.
            await patience.pause()

    async def _finish(self, *, is_last_try: bool) -> bool:
        """From the end that was seen to the free slot; whether it came to that. What keeps it is that not all of
        the output can be read, unless this try is the last."""
        async with self._scope.finishing():
            failpoint(Point.EXIT_SEEN, self.key.job_id, f"rank-{self.key.rank}")
            unread = ""
            if await self._output.read_rest():
                if not is_last_try:
                    return False
                unread = self._output.give_up()
            seen = await self._drained()
            if seen is None:
                await self._record_vanished()
                return True
            if not await self._outputs.may_be_there():
                await self._conclude(seen, unread)
                return True
        # As long as it takes, and so while no other end is kept waiting for it.
        note = await self._outputs.collect()
        async with self._scope.finishing():
            await self._conclude(seen, "; ".join(filter(None, (unread, note))))
        return True

    async def _follow(self) -> None:
        if not self._keeps_notebook:
            await self._output.follow(self.ended)
            return
        keeping = asyncio.create_task(keep_while_running(self._scope, self.key, self.container_id, self.ended))
        try:
            await self._output.follow(self.ended)
        finally:
            # What it keeps must not come after what the end brings.
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _drained(self) -> Observation | None:
        """How the container has ended, once all that was read of it is stored; None where it has vanished."""
        seen = await self._scope.engine.observe(self.container_id)
        await self._output.flush()
        failpoint(Point.OUTPUT_DRAINED, self.key.job_id, f"rank-{self.key.rank}")
        return seen

    async def _conclude(self, seen: Observation, note: str = "") -> None:
        """From the end's record to the free slot. `note`: what is to be said of its output and its outputs."""
        with job_span("rank end", self.key.job_id, attempt=self.key.attempt, rank=self.key.rank):
            await self._record_end(seen, note)
            failpoint(Point.END_COMMITTED, self.key.job_id, f"rank-{self.key.rank}")
            await self._scope.engine.remove(self.container_id)
        failpoint(Point.CONTAINER_REMOVED, self.key.job_id, f"rank-{self.key.rank}")
        await self._free()

    def _signal(self, seen: Observation) -> int | None:
        """Which signal ended the program; 0 for none, None where nobody has said."""
        if self._output.ended_by_signal is not None:
            return seen.exit_code - 128 if self._output.ended_by_signal else 0
        if seen.exit_code <= 128:
            return 0
        # An init that is killed itself says nothing any more; only the engine, or its host, can do that.
        return signal.SIGKILL.value if seen.exit_code == _KILLED and self.killed_by_call else None

    async def _judged(self, seen: Observation) -> tuple[Observation, bool]:
        """What is known of the end, and whether it is the doing of the engine: of one that ends its containers
        when it is restarted, and was restarted after the container's start."""
        told = self._told.own_exit(self.container_id)
        if told is not None:
            return replace(seen, exit_code=told), False
        restarted_at = await self._engine_began()
        return seen, bool(restarted_at and seen.started_at and seen.started_at < restarted_at)

    async def _record_end(self, seen: Observation, kept_note: str) -> None:
        seen, engine_restarted = await self._judged(seen)
        notebook, note = await self._read_notebook()
        last_line = await self._output.last_line()
        if notebook is not None and seen.exit_code:
            last_line = where_it_ended(notebook, last_line) or last_line
        end = RankExit(
            exit_code=seen.exit_code,
            oom_killed=await self._ran_out_of_memory(seen),
            started_at=seen.started_at or datetime.now(UTC),
            ended_at=seen.ended_at or datetime.now(UTC),
            last_line="; ".join(filter(None, (note or last_line or seen.error, kept_note))),
            log_bytes=self._output.byte_count,
            notebook=notebook,
            last_lines=await self._output.last_lines() if seen.exit_code else "",
            signal=self._signal(seen),
            engine_restarted=engine_restarted,
        )
        try:
            await self._scope.process.exits.give(self.key, end)
        except Superseded as error:
            log.info("exit_superseded", job=self.key.job_id, rank=self.key.rank, why=str(error))
            return
        log.info("rank_exited", job=self.key.job_id, rank=self.key.rank, code=seen.exit_code)

    async def _ran_out_of_memory(self, seen: Observation) -> bool:
        """What the engine says. On a busy host it may say so as an event only, and after the end: in 1 of 30 ends
        on 20.10 the container's own record never had it. So an end that looks like a kill is given a moment."""
        if seen.exit_code == _KILLED and not seen.oom_killed:
            await is_set_within(self.out_of_memory, _LATE_SECONDS)
        return seen.oom_killed or self.out_of_memory.is_set()

    async def _read_notebook(self) -> tuple[bytes | None, str]:
        """The executed notebook where there is one to keep, and a sentence where it cannot be kept."""
        if not self._keeps_notebook:
            return None, ""
        limit = self._scope.settings.notebook_max_bytes
        try:
            return (
                await self._scope.engine.read_file(self.container_id, EXECUTED_NOTEBOOK, limit_bytes=limit),
                "",
            )
        except NodeUnreachable:
            raise
        except EngineError as error:
            return None, f"the executed notebook was not kept: {error}"

    async def _record_vanished(self) -> None:
        log.warning("container_vanished", job=self.key.job_id, rank=self.key.rank)
        try:
            settled = await self._scope.verb(
                record_lost,
                self._scope.database,
                self.key.job_id,
                self.key.attempt,
                self.key.rank,
                reason="CONTAINER_VANISHED",
                message="its container was removed by someone else",
            )
        except Superseded:
            await self._free()
            return
        self._scope.process.ring(settled)
        self._scope.bell.schedule(settled.pool_row)

    async def _free(self) -> None:
        await self._scope.process.releases.give(self.key, None)
        if self._in_gang:
            self._scope.networks_due.set()
