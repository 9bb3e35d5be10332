"""What a job's ranks did, and every move of the job and of them: questions only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from core.database import Database
from core.errors import NotFound
from core.jobs.reading import read_job
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import JobEvent, Node, Rank
from core.states import JobState, RankState


@dataclass(frozen=True)
class RankRecord:
    """One rank of one attempt as stored; times are in UTC. `node` is the node's name, "" before it has one."""

    rank: int
    attempt: int
    state: RankState
    node: str
    container_id: str
    exit_code: int | None
    signal: int | None
    oom_killed: bool
    reason: str
    message: str
    last_lines: str
    log_bytes: int
    placed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class EventRecord:
    """One move: of the job itself where `rank` is None."""

    id: int
    at: datetime
    attempt: int
    rank: int | None
    state: str
    reason: str
    message: str


_RANK_STATES = tuple(state.value for state in RankState)
#: A job and its ranks share the words for some of their states.
_EVENT_STATES = tuple(dict.fromkeys([*(state.value for state in JobState), *_RANK_STATES]))

RANK_LISTING = Listing(
    {
        "rank": ListField(FieldType.NUMBER, Rank.rank),
        "attempt": ListField(FieldType.NUMBER, Rank.attempt),
        "state": ListField(FieldType.ENUM, Rank.state, names=_RANK_STATES),
        "nodeId": ListField(FieldType.TEXT, Node.name, nullable=True, free_text=True),
        "containerId": ListField(FieldType.TEXT, Rank.container_id, nullable=True),
        "exitCode": ListField(FieldType.NUMBER, Rank.exit_code, nullable=True),
        "signal": ListField(FieldType.NUMBER, Rank.signal, nullable=True),
        "outOfMemory": ListField(FieldType.BOOL, Rank.oom_killed),
        "reason": ListField(FieldType.TEXT, Rank.reason, free_text=True),
        "status": ListField(FieldType.TEXT, Rank.message, free_text=True, unbounded=True),
        "logBytes": ListField(FieldType.NUMBER, Rank.log_bytes),
        "placeTime": ListField(FieldType.TIME, Rank.placed_at, nullable=True),
        "startTime": ListField(FieldType.TIME, Rank.started_at, nullable=True),
        "endTime": ListField(FieldType.TIME, Rank.ended_at, nullable=True),
    },
    (OrderTerm("rank"),),
    ListField(FieldType.NUMBER, Rank.rank),
)

EVENT_LISTING = Listing(
    {
        "time": ListField(FieldType.TIME, JobEvent.at),
        "attempt": ListField(FieldType.NUMBER, JobEvent.attempt),
        "rank": ListField(FieldType.NUMBER, JobEvent.rank, nullable=True),
        "state": ListField(FieldType.ENUM, JobEvent.state, names=_EVENT_STATES),
        "reason": ListField(FieldType.TEXT, JobEvent.reason, free_text=True),
        "status": ListField(FieldType.TEXT, JobEvent.message, free_text=True, unbounded=True),
    },
    (OrderTerm("time"),),
    ListField(FieldType.NUMBER, JobEvent.id),
)

_RANK_COLUMNS = (
    Rank.rank,
    Rank.attempt,
    Rank.state,
    Node.name.label("node"),
    Rank.container_id,
    Rank.exit_code,
    Rank.signal,
    Rank.oom_killed,
    Rank.reason,
    Rank.message,
    Rank.last_lines,
    Rank.log_bytes,
    Rank.placed_at,
    Rank.started_at,
    Rank.ended_at,
)
_EVENT_COLUMNS = (
    JobEvent.id,
    JobEvent.at,
    JobEvent.attempt,
    JobEvent.rank,
    JobEvent.state,
    JobEvent.reason,
    JobEvent.message,
)


def list_ranks(
    database: Database, account: str, job_id: str, query: ListQuery, *, attempt: int | None = None
) -> Page[RankRecord]:
    """The ranks of one attempt of the account's job, by default the latest. Raises NotFound."""
    with database.transaction() as connection:
        job = read_job(connection, account, job_id)
        of_attempt = Rank.attempt == (job.attempt if attempt is None else attempt)
        base = (
            select(*_RANK_COLUMNS)
            .outerjoin(Node, Node.id == Rank.node_id)
            .where(Rank.job_id == job.id, of_attempt)
        )
        return select_page(connection, base, RANK_LISTING, query, _rank)


def get_rank(
    database: Database, account: str, job_id: str, rank: int, *, attempt: int | None = None
) -> RankRecord:
    """One rank. Raises NotFound."""
    with database.transaction() as connection:
        job = read_job(connection, account, job_id)
        row = connection.execute(
            select(*_RANK_COLUMNS)
            .outerjoin(Node, Node.id == Rank.node_id)
            .where(
                Rank.job_id == job.id,
                Rank.attempt == (job.attempt if attempt is None else attempt),
                Rank.rank == rank,
            )
        ).first()
    if row is None:
        raise rank_not_found(account, job_id, str(rank))
    return _rank(dict(row._mapping))


def rank_not_found(account: str, job_id: str, rank: str) -> NotFound:
    """The answer for a rank that the job does not have, or that no job can have."""
    return NotFound(f"there is no rank accounts/{account}/batchJobs/{job_id}/ranks/{rank}")


def list_events(database: Database, account: str, job_id: str, query: ListQuery) -> Page[EventRecord]:
    """Every move of the account's job and of its ranks. Raises NotFound."""
    with database.transaction() as connection:
        job = read_job(connection, account, job_id)
        base = select(*_EVENT_COLUMNS).where(JobEvent.job_id == job.id)
        return select_page(connection, base, EVENT_LISTING, query, lambda fields: EventRecord(**fields))


def _rank(fields: dict[str, Any]) -> RankRecord:
    fields["state"] = RankState(fields["state"])
    fields["node"] = fields["node"] or ""
    fields["container_id"] = fields["container_id"] or ""
    return RankRecord(**fields)
