"""Which attempts' output is to go from rows into objects, and how it is written down that it has.

Objects are written first, then one transaction says that they count, then the chunks are deleted. Whoever dies in
between has changed nothing, or leaves chunks that count for nobody: the next search finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, text

from core.database import Database
from core.errors import NotFound, Superseded
from core.jobs.object_paths import rank_log_path
from core.log_packing import PackedChunk
from core.models import LogChunk, LogObject, PackedAttempt
from core.states import JOB_ENDED

#: Chunks that are read at a time, and deleted in one transaction. One is of 256 KiB at the most.
_READ_AT_ONCE, _DELETED_AT_ONCE = 64, 500

#: (job's key, attempt)
AttemptKey = tuple[str, int]
_BEFORE_ALL: AttemptKey = ("", 0)


@dataclass(frozen=True)
class Found:
    """An attempt with output in rows. `is_packed`: it is in objects already, and the rows are to be deleted."""

    job_id: str
    attempt: int
    is_packed: bool


@dataclass(frozen=True)
class Search:
    """What is due, and where to search on; None where there was nothing more."""

    due: tuple[Found, ...]
    searched_to: AttemptKey | None


@dataclass(frozen=True)
class RankChunks:
    """What one rank has in rows. `resume_*` as in `LogChunk`, of the last."""

    job_id: str
    attempt: int
    rank: int
    chunk_count: int
    byte_count: int
    last_seq: int
    last_ns: int
    resume_ns: int
    resume_skip: int

    @property
    def path(self) -> str:
        """Of its object. Chunks are never changed and are added in order, so that their count says which they are:
        whoever is late with fewer of them, or does again what was done, harms nothing."""
        return rank_log_path(self.job_id, self.attempt, self.rank, self.chunk_count)


@dataclass(frozen=True)
class WrittenObject:
    """One rank's object, as it is in the store."""

    chunks: RankChunks
    block_index: bytes
    object_bytes: int


# A few steps into the key for each attempt, however many chunks it has. What an attempt's ranks say is asked only
# where its job has gone on.
_SEARCH = text(
    "WITH RECURSIVE attempts (job_id, attempt, number) AS ("
    " (SELECT job_id, attempt, 1 FROM log_chunks WHERE (job_id, attempt) > (:job, :attempt)"
    " ORDER BY job_id, attempt LIMIT 1)"
    " UNION ALL SELECT c.job_id, c.attempt, a.number + 1 FROM attempts a CROSS JOIN LATERAL ("
    " SELECT l.job_id, l.attempt FROM log_chunks l WHERE (l.job_id, l.attempt) > (a.job_id, a.attempt)"
    " ORDER BY l.job_id, l.attempt LIMIT 1) c WHERE a.number < :most)"
    " SELECT a.job_id, a.attempt, p.job_id IS NOT NULL AS packed, p.job_id IS NOT NULL OR coalesce("
    " r.holding = 0 AND coalesce(r.released_at, j.ended_at, j.updated_at)"
    " < now() - make_interval(secs => :seconds), false) AS due"
    " FROM attempts a JOIN jobs j ON j.id = a.job_id"
    " LEFT JOIN packed_attempts p ON p.job_id = a.job_id AND p.attempt = a.attempt"
    " LEFT JOIN LATERAL ("
    "SELECT count(*) FILTER (WHERE k.node_id IS NOT NULL AND k.released_at IS NULL) AS holding,"
    " max(k.released_at) AS released_at FROM ranks k WHERE k.job_id = a.job_id AND k.attempt = a.attempt"
    " AND p.job_id IS NULL AND (j.state = ANY(:ended) OR j.attempt > a.attempt)) r"
    " ON j.state = ANY(:ended) OR j.attempt > a.attempt"
    " ORDER BY a.job_id, a.attempt"
)


def find_due(database: Database, after: AttemptKey | None, *, settled_seconds: float, most: int) -> Search:
    """What is due among the next `most` attempts that have chunks.

    That is: all ranks were released so long ago, and the job has ended or is at a later attempt; or it has been
    packed, and has chunks all the same.
    """
    job_id, attempt = after or _BEFORE_ALL
    asked = {
        "job": job_id,
        "attempt": attempt,
        "most": most,
        "seconds": settled_seconds,
        "ended": [state.value for state in JOB_ENDED],
    }
    with database.transaction() as connection:
        rows = connection.execute(_SEARCH, asked).all()
    due = tuple(Found(row.job_id, row.attempt, row.packed) for row in rows if row.due)
    return Search(due, (rows[-1].job_id, rows[-1].attempt) if len(rows) == most else None)


_CHUNKS_OF_RANKS = text(
    "SELECT c.rank, c.chunk_count, c.byte_count, c.last_seq, l.last_ns, l.resume_ns, l.resume_skip"
    " FROM (SELECT rank, count(*) AS chunk_count, CAST(sum(byte_count) AS bigint) AS byte_count,"
    " max(seq) AS last_seq FROM log_chunks WHERE job_id = :job AND attempt = :attempt GROUP BY rank) c"
    " JOIN log_chunks l ON l.job_id = :job AND l.attempt = :attempt AND l.rank = c.rank AND l.seq = c.last_seq"
    " ORDER BY c.rank"
)


def chunks_of_ranks(database: Database, job_id: str, attempt: int) -> list[RankChunks]:
    """What each rank that printed anything has in rows."""
    with database.transaction() as connection:
        return _chunks_of_ranks(connection, job_id, attempt)


def _chunks_of_ranks(connection: Connection, job_id: str, attempt: int) -> list[RankChunks]:
    rows = connection.execute(_CHUNKS_OF_RANKS, {"job": job_id, "attempt": attempt})
    return [RankChunks(job_id, attempt, *row) for row in rows]


_READ = (
    select(LogChunk.seq, LogChunk.first_ns, LogChunk.last_ns, LogChunk.payload)
    .where(
        LogChunk.job_id == bindparam("job"),
        LogChunk.attempt == bindparam("attempt"),
        LogChunk.rank == bindparam("rank"),
        LogChunk.seq > bindparam("after"),
        LogChunk.seq <= bindparam("last"),
    )
    .order_by(LogChunk.seq)
    .limit(_READ_AT_ONCE)
)


def read_chunks(database: Database, wanted: RankChunks) -> Iterator[PackedChunk]:
    """The chunks of a rank, in order; between two readings no transaction is open.

    Raises Superseded where they are not all there: somebody else has packed them and deletes them.
    """
    count, after = 0, -1
    key = {"job": wanted.job_id, "attempt": wanted.attempt, "rank": wanted.rank, "last": wanted.last_seq}
    while count < wanted.chunk_count:
        with database.transaction() as connection:
            rows = connection.execute(_READ, {**key, "after": after}).all()
        if not rows:
            raise Superseded(f"chunks of rank {wanted.rank} of job {wanted.job_id} have gone")
        yield from (PackedChunk(*row) for row in rows)
        count, after = count + len(rows), rows[-1].seq


# Against a deletion: whoever deletes locks the job first, and then its ranks, as this does. The job goes on else.
_JOB = text("SELECT account_id, ended_at, updated_at FROM jobs WHERE id = :job FOR KEY SHARE")
# Against an append: it waits for its rank's row.
_RANKS = text("SELECT released_at FROM ranks WHERE job_id = :job AND attempt = :attempt ORDER BY rank FOR UPDATE")


def record_packed(database: Database, job_id: str, attempt: int, objects: Sequence[WrittenObject]) -> None:
    """From now on the attempt's output is what is in these objects.

    Raises Superseded where that was said before, or where a rank has other chunks now than those that were packed;
    NotFound where the job has gone, and nothing leads to the objects any more.
    """
    key = {"job": job_id, "attempt": attempt}
    with database.transaction() as connection:
        job = connection.execute(_JOB, key).first()
        if job is None:
            raise NotFound(f"job {job_id} is gone")
        released = [row.released_at for row in connection.execute(_RANKS, key) if row.released_at is not None]
        if _is_packed(connection, job_id, attempt):
            raise Superseded(f"attempt {attempt} of job {job_id} has been packed already")
        if _chunks_of_ranks(connection, job_id, attempt) != [each.chunks for each in objects]:
            raise Superseded(f"attempt {attempt} of job {job_id} has been given more output")
        connection.execute(
            insert(PackedAttempt).values(
                job_id=job_id,
                attempt=attempt,
                account_id=job.account_id,
                ended_at=max(released, default=job.ended_at or job.updated_at),
                object_bytes=sum(each.object_bytes for each in objects),
            )
        )
        connection.execute(insert(LogObject), [_row(each) for each in objects])


def _is_packed(connection: Connection, job_id: str, attempt: int) -> bool:
    query = select(PackedAttempt.attempt).where(PackedAttempt.job_id == job_id, PackedAttempt.attempt == attempt)
    return connection.execute(query).first() is not None


def _row(written: WrittenObject) -> dict[str, object]:
    chunks = written.chunks
    return {
        "job_id": chunks.job_id,
        "attempt": chunks.attempt,
        "rank": chunks.rank,
        "path": chunks.path,
        "block_index": written.block_index,
        "object_bytes": written.object_bytes,
        "byte_count": chunks.byte_count,
        "last_seq": chunks.last_seq,
        "last_ns": chunks.last_ns,
        "resume_ns": chunks.resume_ns,
        "resume_skip": chunks.resume_skip,
    }


_DELETE = text(
    "DELETE FROM log_chunks c USING (SELECT l.rank, l.seq FROM log_chunks l"
    " JOIN packed_attempts p ON p.job_id = l.job_id AND p.attempt = l.attempt"
    " WHERE l.job_id = :job AND l.attempt = :attempt ORDER BY l.rank, l.seq LIMIT :most) d"
    " WHERE c.job_id = :job AND c.attempt = :attempt AND c.rank = d.rank AND c.seq = d.seq"
)


def delete_chunks(database: Database, job_id: str, attempt: int) -> int:
    """Delete the chunks of an attempt that has been packed; how many there were."""
    count = 0
    while True:
        with database.transaction() as connection:
            asked = {"job": job_id, "attempt": attempt, "most": _DELETED_AT_ONCE}
            deleted = connection.execute(_DELETE, asked).rowcount
        count += deleted
        if deleted < _DELETED_AT_ONCE:
            return count
