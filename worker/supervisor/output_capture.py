"""What one container prints, on its way into rows: followed while it runs, read to its end, cut at a limit."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from core.database import Database
from core.errors import ContainerGone, NodeUnreachable, NoObjectStore, OutputRemoved
from core.log_records import PLATFORM
from core.logs import LogEntry, LogPage, ResumePoint, read_page, resume_point
from worker.docker_engine.faults import last_line_of
from worker.engine import RankKey
from worker.supervisor.log_writer import HIGH_WATER_BYTES, UNREAD, LogWriter, RankBuffer
from worker.supervisor.scope import NodeScope
from worker.supervisor.waiting import is_set_within

log = structlog.get_logger(__name__)

#: A container that ends within this is read once, after its end: most short jobs need no open stream.
_SHORT_SECONDS = 0.1
#: How long an open stream may give nothing after the end was reported, before it is read afresh instead.
_LINGER_SECONDS = 1.0
#: Engines are asked again after so long when a stream ended and the container had not.
_REOPEN_SECONDS = 0.5
#: What of a failed rank's output is kept with the rank: no more than this many lines and bytes.
_LAST_LINES = 20
_LAST_LINES_BYTES = 4096
_FROM_THE_START = ResumePoint(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class OutputLimits:
    """How much of a rank's output is kept, and how large the engine's files of it become (None: not known)."""

    byte_count: int
    file_bytes: int | None = None


class OutputCapture:
    """The output of one rank's container."""

    def __init__(
        self, scope: NodeScope, writer: LogWriter, key: RankKey, container_id: str, limits: OutputLimits
    ) -> None:
        self._scope, self._writer = scope, writer
        self._key, self._container_id = key, container_id
        self._limits = limits
        self._buffer = RankBuffer.at(key, _FROM_THE_START, limits.byte_count, limits.file_bytes)
        #: the last lines as the engine has them, where they are beyond what is kept
        self._tail: list[bytes] = []
        #: what the container's init has said of the end, if it has
        self.ended_by_signal: bool | None = None

    @property
    def byte_count(self) -> int:
        """Of what is kept."""
        return self._buffer.byte_count

    async def resume(self) -> None:
        """Go on where an earlier capture stopped."""
        key, limits = self._key, self._limits
        point = await self._scope.verb(resume_point, self._scope.database, key.job_id, key.attempt, key.rank)
        self._buffer = RankBuffer.at(key, point, max(limits.byte_count, point.byte_count), limits.file_bytes)
        self._buffer.is_cut = self._buffer.is_full and await self._was_cut()

    async def follow(self, ended: asyncio.Event) -> None:
        """Keep the output until the container has ended or is gone."""
        if await is_set_within(ended, _SHORT_SECONDS):
            return
        while True:
            if self._buffer.is_cut:
                await is_set_within(ended, self._scope.settings.listing_seconds)
            else:
                await self._follow_stream(ended)
            if ended.is_set():
                return
            seen = await self._scope.engine.observe(self._container_id)
            if seen is None or seen.ended:
                return
            await is_set_within(ended, _REOPEN_SECONDS)

    async def read_rest(self) -> str:
        """Of a container that has ended: all that there is still to read; why not, where not all of it came.

        Raises NodeUnreachable where the engine is away, and not only its answer to this.
        """
        while True:
            taken = self._buffer.record_count
            try:
                # Following may stop short of the last line (it does on engines 20.10); reading afresh does not.
                await self._read(follow=False)
                if self._buffer.is_cut:
                    await self._read_tail()
            except NodeUnreachable as error:
                await self._scope.engine.observe(self._container_id)
                log.warning("output_put_off", job=self._key.job_id, rank=self._key.rank, why=str(error))
                if self._buffer.record_count == taken:
                    return str(error)
            else:
                return ""

    def give_up(self) -> str:
        """Have the output say that there may be more, which cannot be read; the same for the rank's own message.

        Of output that is cut nothing more is kept anyway.
        """
        if self._buffer.is_cut:
            return ""
        self._buffer.say(UNREAD.format(self._buffer.byte_count))
        self._writer.note(self._buffer)
        return f"the engine did not say whether it printed more than the first {self._buffer.byte_count} bytes"

    async def flush(self) -> None:
        """Return when everything that was read is stored."""
        await self._writer.flush(self._buffer)

    async def last_line(self) -> str:
        """The last line that is not empty, shortened for a person's eyes."""
        line = next((line for line in reversed(self._tail) if not line.isspace()), self._buffer.last_line)
        if not line and self.byte_count:
            line = b"".join(await self._stored_lines(1))
        return last_line_of(line.decode("utf-8", "replace").strip())

    async def last_lines(self) -> str:
        """The end of what a failed rank printed, for people and for the rules that say what is tried again."""
        lines = self._tail or await self._stored_lines(_LAST_LINES)
        return b"".join(lines)[-_LAST_LINES_BYTES:].decode("utf-8", "replace")

    async def _follow_stream(self, ended: asyncio.Event) -> None:
        reading = asyncio.ensure_future(self._read(follow=True))
        ending = asyncio.ensure_future(ended.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            taken_ns = -1
            while not reading.done() and taken_ns < self._buffer.last_ns:
                taken_ns = self._buffer.last_ns
                await asyncio.wait({reading}, timeout=_LINGER_SECONDS)
        finally:
            ending.cancel()
            reading.cancel()
            await asyncio.wait({reading, ending})
        if not reading.cancelled():
            reading.result()

    async def _read(self, *, follow: bool) -> None:
        """Take every frame after the last one taken; those taken are the first of what an engine gives again."""
        buffer = self._buffer
        if buffer.is_cut:
            return
        reading = buffer.new_reading()
        try:
            pieces = self._scope.engine.log_pieces(
                self._container_id, since_ns=reading.since_ns, follow=follow, on_end=self._hear_end
            )
            async with contextlib.aclosing(pieces):
                async for frames in pieces:
                    fresh = reading.fresh(frames)
                    if not fresh:
                        continue
                    buffer.add(fresh)
                    self._writer.note(buffer)
                    if buffer.is_cut:
                        return
                    if buffer.pending_bytes >= HIGH_WATER_BYTES:
                        await self.flush()
        except ContainerGone:
            return
        except NodeUnreachable as error:
            if not follow:
                # What was not read now would be taken for what there was: whoever comes next goes on from here.
                raise
            # The engine's restart ends every stream; whether it is away for long the caller finds out.
            log.warning("log_stream_lost", job=self._key.job_id, rank=self._key.rank, why=str(error))

    async def _read_tail(self) -> None:
        """What was printed last, which is what people want to see of a program that failed."""
        try:
            pieces = self._scope.engine.log_pieces(
                self._container_id, since_ns=0, follow=False, last=_LAST_LINES, on_end=self._hear_end
            )
            self._tail = [data async for frames in pieces for data in frames.data]
        except ContainerGone:
            return

    def _hear_end(self, by_signal: bool) -> None:
        self.ended_by_signal = by_signal

    async def _was_cut(self) -> bool:
        page = await self._last_entries(1)
        return bool(page) and page[0].record.stream == PLATFORM

    async def _stored_lines(self, count: int) -> list[bytes]:
        """The last that are stored, oldest first."""
        return [entry.record.data for entry in reversed(await self._last_entries(count))]

    async def _last_entries(self, count: int) -> tuple[LogEntry, ...]:
        """The last that are stored, newest first."""
        key = self._key
        page = await self._scope.verb(_last_page, self._scope.database, key.job_id, key.attempt, key.rank, count)
        return page.entries


def _last_page(database: Database, job_id: str, attempt: int, rank: int, count: int) -> LogPage:
    try:
        return read_page(database, job_id, attempt, ranks=[rank], limit=count, from_head=False)
    except (NoObjectStore, OutputRemoved):
        # It was packed, so the rank was released while this process was frozen: nobody waits for its last lines.
        return LogPage((), {}, has_more=False)
