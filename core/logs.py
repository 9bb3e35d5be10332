"""Captured output: appended to rows by the supervisor, read by page, merged over ranks by time.

Where it is read from is `core.log_blocks`' to know: once an attempt is over, its output is packed into objects.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, func, select, text

from core.database import Database
from core.errors import OutputRemoved
from core.log_blocks import StoredOutput, stored_output
from core.log_filter import EVERYTHING, Effort, LogFilter
from core.log_records import PLATFORM, LogRecord, RecordColumns, encode_records
from core.models import LogChunk, LogObject
from core.object_store import ObjectStore

#: (seq of a chunk, index of a record in it): where the next record of a rank is to be read.
Position = tuple[int, int]
_WHOLE_CHUNK = 1 << 31
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What a record and a chunk cost beside their bytes, so that a page of a million empty lines ends too.
_RECORD_BYTES = 64
_CHUNK_BYTES = 4096


@dataclass(frozen=True)
class ChunkToStore:
    """Some output of one rank that is not stored yet. `resume_*` as in `LogChunk`."""

    job_id: str
    attempt: int
    rank: int
    seq: int
    records: Sequence[LogRecord]
    resume_ns: int
    resume_skip: int


@dataclass(frozen=True)
class ResumePoint:
    """Where the capture of a rank goes on; `next_seq` 0 means that nothing is stored yet."""

    next_seq: int
    last_ns: int
    resume_ns: int
    resume_skip: int
    byte_count: int
    #: frames of the engine's that these bytes came in; 0 once they are packed, when nothing more comes
    record_count: int = field(default=0, compare=False)


@dataclass(frozen=True)
class LogEntry:
    """One line, or one piece of a line that was longer than the engine keeps together."""

    rank: int
    record: LogRecord


@dataclass(frozen=True)
class LogPage:
    """`positions` is where each rank is to be read on; a rank that has no output yet has none."""

    entries: tuple[LogEntry, ...]
    positions: Mapping[int, Position]
    has_more: bool


# No chunk comes to this number, and a page token may still hold it.
_AFTER_ALL: Position = (2**31 - 1, 1)


def append_chunks(database: Database, chunks: Sequence[ChunkToStore]) -> None:
    """Store chunks, all in one transaction. A chunk whose seq is stored already is dropped.

    That can only be the same output captured by a supervisor that was thought dead. So is a chunk of an attempt
    that has been packed: its row counts for nobody and is deleted later. Raises Superseded where a rank's row is
    gone, and nothing is stored then.
    """
    if not chunks:
        return
    rows = [_row(chunk) for chunk in chunks]
    with database.transaction() as connection:
        connection.execute(_APPEND, _columns_of(rows))


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """The values of `_APPEND`. An array of bytes would be sent as text, twice as large and slow to write."""
    payloads = [row["payload"] for row in rows]
    sizes = [len(payload) for payload in payloads]
    columns: dict[str, object] = {name: [row[name] for row in rows] for name in _COLUMNS}
    begins = list(accumulate(sizes[:-1], initial=1))
    return columns | {"payloads": b"".join(payloads), "begins": begins, "sizes": sizes}


_COLUMNS = {
    "job_id": "text",
    "attempt": "int",
    "rank": "int",
    "seq": "int",
    "first_ns": "bigint",
    "last_ns": "bigint",
    "record_count": "int",
    "byte_count": "bigint",
    "resume_ns": "bigint",
    "resume_skip": "int",
}
# One statement, as `Database` has it of plain inserts: a process that was frozen between several kept others from
# its ranks' output until it was thawed.
_APPEND = text(
    f"INSERT INTO log_chunks ({', '.join(_COLUMNS)}, payload)"  # noqa: S608
    f" SELECT {', '.join(_COLUMNS)}, substring(CAST(:payloads AS bytea) FROM begins FOR sizes) FROM unnest("
    f"{', '.join(f'CAST(:{name} AS {kind}[])' for name, kind in _COLUMNS.items())},"
    f" CAST(:begins AS int[]), CAST(:sizes AS int[])) AS u({', '.join(_COLUMNS)}, begins, sizes)"
    " ON CONFLICT DO NOTHING"
)


def _row(chunk: ChunkToStore) -> dict[str, Any]:
    records = RecordColumns.of(chunk.records)
    byte_count = sum(records.sizes())
    if PLATFORM in records.streams:
        byte_count -= sum(len(record.data) for record in records if record.stream == PLATFORM)
    return {
        "job_id": chunk.job_id,
        "attempt": chunk.attempt,
        "rank": chunk.rank,
        "seq": chunk.seq,
        "first_ns": records.times_ns[0],
        "last_ns": records.times_ns[-1],
        "record_count": len(records),
        "byte_count": byte_count,
        "payload": encode_records(records),
        "resume_ns": chunk.resume_ns,
        "resume_skip": chunk.resume_skip,
    }


def resume_point(database: Database, job_id: str, attempt: int, rank: int) -> ResumePoint:
    """Where the capture of a rank's output stopped."""
    of_rank = (LogChunk.job_id == job_id, LogChunk.attempt == attempt, LogChunk.rank == rank)
    with database.transaction() as connection:
        last = connection.execute(
            select(LogChunk.seq, LogChunk.last_ns, LogChunk.resume_ns, LogChunk.resume_skip)
            .where(*of_rank)
            .order_by(LogChunk.seq.desc())
            .limit(1)
        ).first()
        if last is None:
            return _packed_resume_point(connection, job_id, attempt, rank)
        sums = select(func.sum(LogChunk.byte_count), func.sum(LogChunk.record_count)).where(*of_rank)
        byte_count, record_count = connection.execute(sums).one()
    return ResumePoint(
        last.seq + 1, last.last_ns, last.resume_ns, last.resume_skip, int(byte_count), int(record_count)
    )


def _packed_resume_point(connection: Connection, job_id: str, attempt: int, rank: int) -> ResumePoint:
    packed = connection.execute(
        select(
            LogObject.last_seq,
            LogObject.last_ns,
            LogObject.resume_ns,
            LogObject.resume_skip,
            LogObject.byte_count,
        ).where(LogObject.job_id == job_id, LogObject.attempt == attempt, LogObject.rank == rank)
    ).first()
    return ResumePoint(0, 0, 0, 0, 0) if packed is None else ResumePoint(packed[0] + 1, *packed[1:])


def read_page(
    database: Database,
    job_id: str,
    attempt: int,
    *,
    store: ObjectStore | None = None,
    ranks: Sequence[int] | None,
    limit: int,
    from_head: bool,
    wanted: LogFilter = EVERYTHING,
    since_ns: int = 0,
    positions: Mapping[int, Position] | None = None,
    effort: Effort | None = None,
) -> LogPage:
    """Up to `limit` entries, merged by time, oldest first from the head or newest first from the tail.

    `positions` are those of the page before, in the same direction. They are kept per rank, so that a late
    line of one rank is never jumped over because another rank was ahead. They hold whether the attempt's output is
    in rows or in the `store`. A page ends when it has examined as much as its effort allows, wanted or not: it may
    be short, even empty, and have more after it.

    Raises Unavailable where the store does not answer, NoObjectStore where there is none, OutputRemoved where the
    retention of the output is over, whatever was read of it before.
    """
    effort = effort or Effort()
    with stored_output(database, store, job_id, attempt, ranks) as output:
        at: dict[int, Position] = dict(positions or {})
        with_output = output.ranks() if ranks is None else ranks
        streams = [
            _rank_entries(output, rank, at.get(rank), from_head, since_ns) for rank in sorted(set(with_output))
        ]
        merged = heapq.merge(
            *streams,
            key=lambda item: (item[0].record.time_ns, item[0].rank),
            reverse=not from_head,
        )
        entries: list[LogEntry] = []
        for entry, next_position in merged:
            if len(entries) == limit or effort.is_spent:
                return LogPage(tuple(entries), at, has_more=True)
            is_of_new_chunk = at.get(entry.rank, (-1, 0))[0] != next_position[0]
            effort.spend(len(entry.record.data) + _RECORD_BYTES + _CHUNK_BYTES * is_of_new_chunk)
            at[entry.rank] = next_position
            if wanted.matches(entry.record):
                entries.append(entry)
    return LogPage(tuple(entries), at, has_more=False)


def page_in_place_of(
    removed: OutputRemoved, ranks: Sequence[int] | None, positions: Mapping[int, Position] | None
) -> LogPage:
    """What there is to read where output has been removed: the platform's word for it, once, and nothing after it.

    It is given whatever was asked for, since an empty page would say that the ranks printed nothing like it.
    """
    rank, at = min(ranks or [0]), dict(positions or {})
    if _AFTER_ALL in at.values():
        return LogPage((), at, has_more=False)
    time_ns = (removed.removed_at - _EPOCH) // timedelta(microseconds=1) * 1000
    entry = LogEntry(rank, LogRecord(time_ns, PLATFORM, f"longshore: {removed}\n".encode()))
    return LogPage((entry,), {**at, rank: _AFTER_ALL}, has_more=False)


def _rank_entries(
    output: StoredOutput, rank: int, position: Position | None, from_head: bool, since_ns: int
) -> Iterator[tuple[LogEntry, Position]]:
    """One rank's entries in reading order, each with the position after it; one chunk in memory at a time."""
    while True:
        seq = position[0] if position is not None else None
        chunk = output.next_chunk(rank, seq, from_head=from_head, since_ns=since_ns)
        if chunk is None:
            return
        index = position[1] if position is not None and seq == chunk.seq else None
        for entry_index in _reading_order(len(chunk.records), index, from_head):
            record = chunk.records[entry_index]
            if record.time_ns >= since_ns:
                yield LogEntry(rank, record), (chunk.seq, entry_index + 1 if from_head else entry_index)
            elif not from_head:
                return
        position = (chunk.seq + 1, 0) if from_head else (chunk.seq - 1, _WHOLE_CHUNK)


def _reading_order(count: int, index: int | None, from_head: bool) -> range:
    """Which records of a chunk are still to be read: from `index` on, or those before it, backwards."""
    if from_head:
        return range(index or 0, count)
    return range(min(count, _WHOLE_CHUNK if index is None else index) - 1, -1, -1)
