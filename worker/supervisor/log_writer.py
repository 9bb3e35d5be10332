"""Captured output on its way to rows: gathered from every rank, stored in one transaction at a time."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

import structlog

from core.errors import Superseded
from core.log_records import PLATFORM, RecordColumns
from core.logs import ChunkToStore, ResumePoint, append_chunks
from worker.docker_engine.log_frames import PIECE_BYTES
from worker.engine import RankKey
from worker.measures import LOG_BYTES
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
#: What an engine's file takes for a frame beside its data, at the most: sizes, source and time of each, and of a
#: piece of a long line, which is 16 KiB, also whose it is (moby's `logger/local`).
_FRAME_BYTES, _DATA_SHARE = 48, 1.01
TRUNCATION = (
    "longshore: the first {} bytes of this rank's output are kept, and nothing of what it printed after them\n"
)
#: `{}`: bytes.
UNREAD = (
    "longshore: the first {} bytes of this rank's output are kept; the engine did not say whether there is more\n"
)


def in_file_bytes(byte_count: int, record_count: int) -> int:
    """What so much output in so many frames takes in an engine's files, at the most."""
    return int(byte_count * _DATA_SHARE) + record_count * _FRAME_BYTES


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
    #: nor what may be beyond this in the engine's files, and so not in the first of them
    file_limit_bytes: int | None = None
    record_count: int = 0
    #: the rank has printed more than is kept, and its log says so
    is_cut: bool = False
    last_line: bytes = b""
    pending: RecordColumns = field(default_factory=RecordColumns)
    pending_bytes: int = 0
    #: where capture will resume once that lies far enough back
    _next_ns: int = 0
    _next_skip: int = 0
    #: the latest stamp of all
    _newest_ns: int = 0

    @classmethod
    def at(
        cls, key: RankKey, point: ResumePoint, limit_bytes: int, file_limit_bytes: int | None = None
    ) -> RankBuffer:
        """Going on from what is stored."""
        buffer = cls(
            key,
            point.next_seq,
            point.last_ns,
            point.resume_ns,
            point.resume_skip,
            point.byte_count,
            limit_bytes,
            file_limit_bytes,
            point.record_count,
        )
        buffer._next_ns, buffer._next_skip = point.resume_ns, point.resume_skip
        buffer._newest_ns = point.last_ns
        return buffer

    @property
    def is_full(self) -> bool:
        """Whether a further frame may be the one that is beyond a limit."""
        limit = self.file_limit_bytes
        in_file = in_file_bytes(self.byte_count + PIECE_BYTES, self.record_count + 1)
        return self.byte_count >= self.limit_bytes or (limit is not None and in_file > limit)

    def add(self, frames: RecordColumns) -> None:
        """Take frames, to the one that is beyond the limit. Times are kept such that they never go back within a
        rank, so that they can be a sort key."""
        ends = list(accumulate(frames.sizes()))
        whole = self._room_for(ends)
        if whole < len(frames):
            self._append(frames[:whole], ends[whole - 1] if whole else 0)
            self._cut(frames[whole : whole + 1])
            whole += 1
        elif ends:
            self._append(frames, ends[-1])
        self.last_line = next(
            (data for data in reversed(frames.data[:whole]) if not data.isspace()), self.last_line
        )

    def _room_for(self, ends: list[int]) -> int:
        """How many frames are kept whole, of those that end so many bytes from here."""
        count = len(ends)
        if ends and self.byte_count + ends[-1] > self.limit_bytes:
            count = bisect_right(ends, self.limit_bytes - self.byte_count)
        limit = self.file_limit_bytes
        if limit is not None and count and self._in_file(ends, count - 1) > limit:
            count = bisect_right(range(count), limit, key=lambda at: self._in_file(ends, at))
        return count

    def _in_file(self, ends: list[int], at: int) -> int:
        """Where the frame of that place ends in the engine's files, at the most."""
        return in_file_bytes(self.byte_count + ends[at], self.record_count + at + 1)

    def _append(self, frames: RecordColumns, size: int) -> None:
        times = frames.times_ns
        self._count(times)
        if times and (times[0] < self.last_ns or times != sorted(times)):
            times = list(accumulate(times, max, initial=self.last_ns))[1:]
        self.pending.extend(RecordColumns(times, frames.streams, frames.data))
        self.pending_bytes += size
        self.byte_count += size
        self.record_count += len(times)
        self.last_ns = self.pending.times_ns[-1] if times else self.last_ns

    def _cut(self, frame: RecordColumns) -> None:
        """The beginning of one that there is no room for, and that nothing more is kept."""
        room = self.limit_bytes - self.byte_count
        if room:
            kept = frame.data[0][:room]
            self._append(RecordColumns(frame.times_ns, frame.streams, [kept]), len(kept))
        else:
            self._count(frame.times_ns)
            self.last_ns = max(self.last_ns, *frame.times_ns)
        self.is_cut = True
        # In the transaction that stores the last byte: whoever goes on from there knows that all is said.
        self.say(TRUNCATION.format(self.byte_count))

    def say(self, sentence: str) -> None:
        """Have the rank's log say something that is not the rank's own."""
        said = sentence.encode()
        self.pending.append(self.last_ns, PLATFORM, said)
        self.pending_bytes += len(said)

    def new_reading(self) -> Reading:
        """For what an engine gives from `resume_ns` on."""
        return Reading(self.resume_ns, self.resume_skip)

    def _count(self, times: list[int]) -> None:
        """The same as by `_count_one` each, where no time goes back."""
        if not times or times[0] < self._newest_ns or times != sorted(times):
            for time_ns in times:
                self._count_one(time_ns)
            return
        at = 0
        while at < len(times):
            # None before it is later than where capture will resume, by so much that this one takes its place.
            later = bisect_right(times, max(self._newest_ns, self._next_ns + _DISORDER_NS), at)
            self.resume_skip += later - at
            self._next_skip += later - at
            if later < len(times):
                self._count_one(times[later])
            at = later + 1
        self._newest_ns = times[-1]

    def _count_one(self, time_ns: int) -> None:
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
        records, self.pending, self.pending_bytes = self.pending, RecordColumns(), 0
        ends = list(accumulate(records.sizes()))
        begin, size = 0, 0
        while begin < len(records):
            end = bisect_left(ends, size + _CHUNK_BYTES, begin) + 1
            chunks.append(self._chunk(records[begin:end]))
            begin, size = end, ends[min(end, len(ends)) - 1]
        return chunks

    def _chunk(self, records: RecordColumns) -> ChunkToStore:
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


@dataclass
class Reading:
    """One reading of an engine's log: what of it was taken by the readings before it."""

    since_ns: int
    skip: int

    def fresh(self, frames: RecordColumns) -> RecordColumns:
        """Those that were not, of the next frames; to be asked of all of them, in their order."""
        if frames and min(frames.times_ns) < self.since_ns:
            frames = RecordColumns.of(frame for frame in frames if frame.time_ns >= self.since_ns)
        skipped = min(self.skip, len(frames))
        self.skip -= skipped
        return frames[skipped:] if skipped else frames


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
            LOG_BYTES.inc(sum(sum(RecordColumns.of(chunk.records).sizes()) for chunk in chunks))
        except Superseded:
            # A chunk whose job is gone must not take the others with it.
            for chunk in chunks:
                try:
                    await self._scope.verb(append_chunks, self._scope.database, [chunk])
                except Superseded:
                    log.warning("chunk_dropped", job=chunk.job_id, rank=chunk.rank, seq=chunk.seq)
