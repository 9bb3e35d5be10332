"""One container, from its start to its slot being free: output captured, end recorded, container removed.

The order at the end is fixed: exit seen → output stored → exit committed → container removed → slot freed.
Whoever dies in between is followed by one that finds the container, or the row, and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import UTC, datetime

import structlog

from core.errors import ContainerGone, EngineError, NodeUnreachable, Superseded
from core.failpoints import Point, failpoint
from core.jobs.ending import RankExit, record_lost
from core.logs import ResumePoint, read_page, resume_point
from worker.docker_engine.faults import last_line_of
from worker.engine import Observation, RankKey
from worker.executors.notebook import EXECUTED_NOTEBOOK
from worker.supervisor.log_writer import HIGH_WATER_BYTES, LogWriter, RankBuffer
from worker.supervisor.scope import NodeScope

log = structlog.get_logger(__name__)

#: A container that ends within this is read once, after its end: most short jobs need no open stream.
_SHORT_SECONDS = 0.1
#: How long an open stream may go on after the end was reported, before it is read afresh instead.
_LINGER_SECONDS = 1.0
#: Engines are asked again after so long when a stream ended and the container had not.
_REOPEN_SECONDS = 0.5
#: What a process leaves that SIGKILL has ended, and how late its reason may be.
_KILLED = 137
_LATE_SECONDS = 0.5
#: What of a failed rank's output is kept with the rank: no more than this many lines and bytes.
_LAST_LINES = 20
_LAST_LINES_BYTES = 4096
_FROM_THE_START = ResumePoint(0, 0, 0, 0, 0)


class RankWatch:
    """The watch over one rank's container. `is_new` says that its start was just seen: nothing is stored yet."""

    def __init__(
        self,
        scope: NodeScope,
        writer: LogWriter,
        key: RankKey,
        container_id: str,
        *,
        keeps_notebook: bool,
        in_gang: bool,
        is_new: bool,
    ) -> None:
        self._scope = scope
        self._writer = writer
        self.key = key
        self._container_id = container_id
        self._keeps_notebook = keeps_notebook
        self._in_gang = in_gang
        self._is_new = is_new
        self.ended = asyncio.Event()
        #: the engine has said that a process of the container was killed for its memory
        self.out_of_memory = asyncio.Event()
        #: the engine was asked, by whomever, to kill the container
        self.killed_by_call = False
        #: of an engine that ends its containers when it is restarted, where this one was found by a listing
        self.engine_started_at: datetime | None = None
        #: what the container's init has said of the end, if it has
        self._by_signal: bool | None = None

    async def run(self) -> None:
        """Watch until the slot is free. Raises NodeUnreachable where the engine goes away for long."""
        point = _FROM_THE_START
        if not self._is_new:
            point = await self._scope.verb(
                resume_point, self._scope.database, self.key.job_id, self.key.attempt, self.key.rank
            )
        buffer = RankBuffer.at(self.key, point)
        await self._capture_until_end(buffer)
        async with self._scope.finishing():
            await self._finish(buffer)

    async def _finish(self, buffer: RankBuffer) -> None:
        """From the end to the free slot, in the order that is fixed."""
        failpoint(Point.EXIT_SEEN, self.key.job_id, f"rank-{self.key.rank}")
        # Following may stop short of the last line (it does on engines 20.10); reading afresh does not.
        await self._read(buffer, follow=False)
        seen = await self._scope.engine.observe(self._container_id)
        await self._writer.flush(buffer)
        failpoint(Point.OUTPUT_DRAINED, self.key.job_id, f"rank-{self.key.rank}")
        if seen is None:
            await self._record_vanished()
            return
        await self._record_end(buffer, seen)
        failpoint(Point.END_COMMITTED, self.key.job_id, f"rank-{self.key.rank}")
        await self._scope.engine.remove(self._container_id)
        failpoint(Point.CONTAINER_REMOVED, self.key.job_id, f"rank-{self.key.rank}")
        await self._free()

    async def _capture_until_end(self, buffer: RankBuffer) -> None:
        """Keep the output until the container has ended or is gone."""
        if await self._ended_within(_SHORT_SECONDS):
            return
        while True:
            await self._follow(buffer)
            if self.ended.is_set():
                return
            seen = await self._scope.engine.observe(self._container_id)
            if seen is None or seen.ended:
                return
            await self._ended_within(_REOPEN_SECONDS)

    async def _follow(self, buffer: RankBuffer) -> None:
        reading = asyncio.ensure_future(self._read(buffer, follow=True))
        ending = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait({reading}, timeout=_LINGER_SECONDS)
        finally:
            ending.cancel()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self, buffer: RankBuffer, *, follow: bool) -> None:
        """Take every frame after the last one taken: those taken are the first of what an engine gives again."""
        since, taken_before = buffer.resume_ns, buffer.taken_before()
        try:
            async for frame in self._scope.engine.log_frames(
                self._container_id, since_ns=since, follow=follow, on_end=self._hear_end
            ):
                if taken_before(frame):
                    continue
                buffer.add(frame)
                self._writer.note(buffer)
                if buffer.pending_bytes >= HIGH_WATER_BYTES:
                    await self._writer.flush(buffer)
        except ContainerGone:
            return
        except NodeUnreachable as error:
            # The engine's restart ends every stream; whether it is away for long the caller finds out.
            log.warning("log_stream_lost", job=self.key.job_id, rank=self.key.rank, why=str(error))

    def _hear_end(self, by_signal: bool) -> None:
        self._by_signal = by_signal

    def _signal(self, seen: Observation) -> int | None:
        """Which signal ended the program; 0 for none, None where nobody has said."""
        if self._by_signal is not None:
            return seen.exit_code - 128 if self._by_signal else 0
        if seen.exit_code <= 128:
            return 0
        # An init that is killed itself says nothing any more; only the engine, or its host, can do that.
        return signal.SIGKILL.value if seen.exit_code == _KILLED and self.killed_by_call else None

    def _outlived_by(self, seen: Observation) -> bool:
        """Whether the engine's present run began after the container was started; both by the engine's clock."""
        if self.engine_started_at is None or seen.started_at is None:
            return False
        return seen.started_at < self.engine_started_at

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)
        return self.ended.is_set()

    async def _record_end(self, buffer: RankBuffer, seen: Observation) -> None:
        notebook, note = await self._read_notebook()
        last_line = await self._last_line(buffer)
        end = RankExit(
            exit_code=seen.exit_code,
            oom_killed=await self._ran_out_of_memory(seen),
            started_at=seen.started_at or datetime.now(UTC),
            ended_at=seen.ended_at or datetime.now(UTC),
            last_line=note or last_line or seen.error,
            log_bytes=buffer.byte_count,
            notebook=notebook,
            last_lines=await self._last_lines() if seen.exit_code else "",
            signal=self._signal(seen),
            engine_restarted=self._outlived_by(seen),
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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.out_of_memory.wait(), _LATE_SECONDS)
        return seen.oom_killed or self.out_of_memory.is_set()

    async def _read_notebook(self) -> tuple[bytes | None, str]:
        """The executed notebook where there is one to keep, and a sentence where it cannot be kept."""
        if not self._keeps_notebook:
            return None, ""
        limit = self._scope.settings.notebook_max_bytes
        try:
            return (
                await self._scope.engine.read_file(self._container_id, EXECUTED_NOTEBOOK, limit_bytes=limit),
                "",
            )
        except NodeUnreachable:
            raise
        except EngineError as error:
            return None, f"the executed notebook was not kept: {error}"

    async def _last_line(self, buffer: RankBuffer) -> str:
        line = buffer.last_line
        if not line and buffer.byte_count:
            line = b"".join(await self._stored_lines(1))
        return last_line_of(line.decode("utf-8", "replace").strip())

    async def _last_lines(self) -> str:
        """The end of what a failed rank printed, for people and for the rules that say what is tried again."""
        return b"".join(await self._stored_lines(_LAST_LINES))[-_LAST_LINES_BYTES:].decode("utf-8", "replace")

    async def _stored_lines(self, count: int) -> list[bytes]:
        """The last that are stored, oldest first."""
        page = await self._scope.verb(
            read_page,
            self._scope.database,
            self.key.job_id,
            self.key.attempt,
            ranks=[self.key.rank],
            limit=count,
            from_head=False,
        )
        return [entry.record.data for entry in reversed(page.entries)]

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
