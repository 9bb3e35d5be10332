"""Captured output on its way to rows: gathered from every rank, stored in one transaction at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from core.errors import Superseded
from core.log_records import PLATFORM, LogRecord
from core.logs import ChunkToStore, ResumePoint, append_chunks
from worker.docker_engine.log_frames import LogFrame
from worker.engine import RankKey
from worker.supervisor.scope import NodeScope
from worker.supervisor.waiting import is_set_within

log = structlog.get_logger(__name__)

#: A rank whose unstored output reaches this waits for the database; the engine's log file holds the rest.
HIGH_WATER_BYTES = 1 << 20
#: How much later an engine may write a frame than others that it stamped after it. Its readers of stdout and of
#: stderr stamp what they read and then wait for each other: seen out of order by milliseconds on a busy host.
_DISORDER_NS = 1_000_000_000
#: A chunk is what one page read decompresses at the least.
_CHUNK_BYTES = 256 << 10
TRUNCATION = (
    "longshore: the first {} bytes of this rank's output are kept, and nothing of what it printed after them\n"
)


@dataclass
class RankBuffer:
    """One rank's output that is not stored yet, and where its capture stands.

    An engine gives its log in the order in which it was written, from a time stamp on. Time stamps are nearly in
    that order, not quite; so capture resumes at one that lies safely back (`resume_ns`), and the first
    `resume_skip` frames given from there are those that were taken.
    """

    key: RankKey
    next_seq: int
    last_ns: int
    resume_ns: int
    resume_skip: int
    byte_count: int
    #: more than this is not kept
    limit_bytes: int
    #: the rank has printed more than is kept, and its log says so
    is_cut: bool = False
    last_line: bytes = b""
    pending: list[LogRecord] = field(default_factory=list)
    pending_bytes: int = 0
    #: where capture will resume once that lies far enough back
    _next_ns: int = 0
    _next_skip: int = 0
    #: the latest stamp of all
    _newest_ns: int = 0

    @classmethod
    def at(cls, key: RankKey, point: ResumePoint, limit_bytes: int) -> RankBuffer:
        """Going on from what is stored."""
        buffer = cls(
            key, point.next_seq, point.last_ns, point.resume_ns, point.resume_skip, point.byte_count, limit_bytes
        )
        buffer._next_ns, buffer._next_skip = point.resume_ns, point.resume_skip
        buffer._newest_ns = point.last_ns
        return buffer

    def add(self, frame: LogFrame) -> None:
        """Take a frame. Times never go back within a rank, so that they can be a sort key."""
        self._count(frame.time_ns)
        self.last_ns = max(self.last_ns, frame.time_ns)
        data = frame.data[: self.limit_bytes - self.byte_count]
        self.byte_count += len(data)
        if data or not frame.data:
            self._append(frame.stream, data)
        if len(data) < len(frame.data):
            self.is_cut = True
            # In the transaction that stores the last byte: whoever goes on from there knows that all is said.
            self._append(PLATFORM, TRUNCATION.format(self.byte_count).encode())
        if not frame.data.isspace():
            self.last_line = frame.data

    def _append(self, stream: int, data: bytes) -> None:
        self.pending.append(LogRecord(self.last_ns, stream, data))
        self.pending_bytes += len(data)

    def taken_before(self) -> Callable[[LogFrame], bool]:
        """Whether each frame of a reading that begins at `resume_ns` was taken before it; to be asked of all of
        them, in their order."""
        since, skip = self.resume_ns, self.resume_skip

        def asked(frame: LogFrame) -> bool:
            nonlocal skip
            if frame.time_ns < since:
                return True
            skip -= 1
            return skip >= 0

        return asked

    def _count(self, time_ns: int) -> None:
        self.resume_skip += time_ns >= self.resume_ns
        self._next_skip += time_ns >= self._next_ns
        if time_ns <= self._newest_ns:
            return
        self._newest_ns = time_ns
        if time_ns - self._next_ns > _DISORDER_NS:
            self.resume_ns, self.resume_skip = self._next_ns, self._next_skip
            # No frame before this one bears its stamp or a later one, whoever has taken them: it is the first.
            self._next_ns, self._next_skip = time_ns, 1

    def take(self) -> list[ChunkToStore]:
        """Everything pending, as chunks of bounded size. Only the last one says where capture resumes."""
        chunks: list[ChunkToStore] = []
        records, self.pending, self.pending_bytes = self.pending, [], 0
        begin, size = 0, 0
        for index, record in enumerate(records):
            size += len(record.data)
            if size >= _CHUNK_BYTES and index + 1 < len(records):
                chunks.append(self._chunk(records[begin : index + 1]))
                begin, size = index + 1, 0
        if begin < len(records):
            chunks.append(self._chunk(records[begin:]))
        return chunks

    def _chunk(self, records: list[LogRecord]) -> ChunkToStore:
        # All chunks of one `take` are stored in one transaction, so one resume point serves them all.
        chunk = ChunkToStore(
            self.key.job_id,
            self.key.attempt,
            self.key.rank,
            self.next_seq,
            records,
            self.resume_ns,
            self.resume_skip,
        )
        self.next_seq += 1
        return chunk


class LogWriter:
    """Stores the buffers of one node's ranks every `log_flush_seconds`, and at once where asked."""

    def __init__(self, scope: NodeScope) -> None:
        self._scope = scope
        self._dirty: dict[RankKey, RankBuffer] = {}
        self._noted = asyncio.Event()
        self._asked = asyncio.Event()
        self._stored = asyncio.Condition()

    def note(self, buffer: RankBuffer) -> None:
        """This buffer has something to store."""
        self._dirty[buffer.key] = buffer
        self._noted.set()

    async def flush(self, buffer: RankBuffer) -> None:
        """Return when everything that the buffer holds now is stored."""
        while buffer.key in self._dirty:
            self._asked.set()
            async with self._stored:
                if buffer.key in self._dirty:
                    await self._stored.wait()

    async def run(self) -> None:
        """Store what is noted, until cancelled."""
        while True:
            # A node that is quiet costs nothing.
            await self._noted.wait()
            await is_set_within(self._asked, self._scope.settings.log_flush_seconds)
            self._asked.clear()
            await self._store()
            if not self._dirty:
                self._noted.clear()

    async def _store(self) -> None:
        taken = dict(self._dirty)
        chunks = [chunk for buffer in taken.values() for chunk in buffer.take()]
        if chunks:
            await self._append(chunks)
        async with self._stored:
            for key, buffer in taken.items():
                if not buffer.pending:
                    self._dirty.pop(key, None)
            self._stored.notify_all()

    async def _append(self, chunks: list[ChunkToStore]) -> None:
        try:
            await self._scope.verb(append_chunks, self._scope.database, chunks)
        except Superseded:
            # A chunk whose job is gone must not take the others with it.
            for chunk in chunks:
                try:
                    await self._scope.verb(append_chunks, self._scope.database, [chunk])
                except Superseded:
                    log.warning("chunk_dropped", job=chunk.job_id, rank=chunk.rank, seq=chunk.seq)
