"""What has been stored of many attempts' output since somebody looked last: one look for all who follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, text

from core.database import Database
from core.log_records import decode_records
from core.logs import LogEntry, Position
from core.models import LogChunk

#: (job's key, attempt)
Attempt = tuple[str, int]
#: No more chunks of one rank are read in one look: what it leaves is for the next.
_CHUNKS_OF_A_RANK = 16
_EDGE = (
    select(LogChunk.rank, (func.max(LogChunk.seq) + 1).label("next_seq"))
    .where(LogChunk.job_id == bindparam("job"), LogChunk.attempt == bindparam("attempt"))
    .group_by(LogChunk.rank)
)
# A few steps into an index for each rank, however much they have printed before.
_NEW = text(
    "SELECT c.rank, c.seq, c.payload FROM ranks r"
    " LEFT JOIN unnest(CAST(:ranks AS int[]), CAST(:seqs AS int[])) AS w(rank, seq) ON w.rank = r.rank"
    " CROSS JOIN LATERAL (SELECT l.rank, l.seq, l.payload FROM log_chunks l WHERE l.job_id = r.job_id"
    " AND l.attempt = r.attempt AND l.rank = r.rank AND l.seq >= coalesce(w.seq, 0) ORDER BY l.seq LIMIT :most) c"
    " WHERE r.job_id = :job AND r.attempt = :attempt ORDER BY c.rank, c.seq"
)


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry, and where its rank is to be read on after it."""

    entry: LogEntry
    after: Position


def edge(database: Database, attempt: Attempt) -> dict[int, int]:
    """The seq of each rank's next chunk; ranks without output have none."""
    with database.transaction() as connection:
        rows = connection.execute(_EDGE, {"job": attempt[0], "attempt": attempt[1]})
        return {row.rank: row.next_seq for row in rows}


def look_at(database: Database, next_seqs: Mapping[Attempt, Mapping[int, int]]) -> dict[Attempt, list[NewEntry]]:
    """New entries of each attempt, rank by rank in order, from the chunk of that seq on."""
    with database.transaction() as connection:
        return {attempt: _new_entries(connection, attempt, seqs) for attempt, seqs in next_seqs.items()}


def _new_entries(connection: Connection, attempt: Attempt, seqs: Mapping[int, int]) -> list[NewEntry]:
    asked = {
        "job": attempt[0],
        "attempt": attempt[1],
        "ranks": list(seqs),
        "seqs": list(seqs.values()),
        "most": _CHUNKS_OF_A_RANK,
    }
    return [
        NewEntry(LogEntry(row.rank, record), (row.seq, index + 1))
        for row in connection.execute(_NEW, asked).all()
        for index, record in enumerate(decode_records(row.payload))
    ]
