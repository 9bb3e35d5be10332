"""What has become of many jobs since somebody looked last: one look for all who watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, text

from core.database import Database
from core.jobs.reading import JobRecord, read_jobs_by_key
from core.models import JobEvent


@dataclass(frozen=True)
class Move:
    """One transition of a job itself. Ids of one job's moves grow in the order in which they happened."""

    id: int
    at: datetime
    state: str
    reason: str
    status: str
    attempt: int


@dataclass(frozen=True)
class News:
    """A watched job now, None where it is gone, and its moves since the last look, oldest first."""

    job: JobRecord | None
    moves: tuple[Move, ...] = ()


# A job's row is locked by whoever moves it, so within one job no lower id is committed after a higher one.
_MOVES = text(
    "SELECT e.job_id, e.id, e.at, e.state, e.reason, e.message, e.attempt FROM job_events e"
    " JOIN unnest(CAST(:jobs AS text[]), CAST(:afters AS bigint[])) AS w(job_id, after)"
    " ON e.job_id = w.job_id AND e.id > w.after WHERE e.rank IS NULL ORDER BY e.id"
)
_LAST_MOVE = select(func.max(JobEvent.id)).where(JobEvent.job_id == bindparam("job"), JobEvent.rank.is_(None))


def look_at(database: Database, after: Mapping[str, int]) -> dict[str, News]:
    """News of the jobs whose keys (`JobRecord.id`) are given, each since the move of that id."""
    with database.transaction() as connection:
        # The job first: a move that comes between is then told before the state that it led to.
        records = read_jobs_by_key(connection, list(after))
        moves = _moves(connection, after)
    return {key: News(records.get(key), tuple(moves.get(key, ()))) for key in after}


def last_move(database: Database, key: str) -> int:
    """The id of a job's latest move; 0 where it is gone."""
    with database.transaction() as connection:
        return connection.execute(_LAST_MOVE, {"job": key}).scalar() or 0


def _moves(connection: Connection, after: Mapping[str, int]) -> dict[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for row in connection.execute(_MOVES, {"jobs": list(after), "afters": list(after.values())}):
        move = Move(row.id, row.at, row.state, row.reason, row.message, row.attempt)
        found.setdefault(row.job_id, []).append(move)
    return found
