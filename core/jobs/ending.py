"""A container's end becomes a rank's, and, with the last of them, the job's."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.errors import Superseded
from core.jobs import rank_moves
from core.jobs.launching import run_if_all_started
from core.jobs.stopping import LockedJob, Settled, lock_job, settle
from core.models import Job, Notebook, Rank
from core.states import RankState


@dataclass(frozen=True)
class RankExit:
    """What the engine says of an ended container. Times are the engine's; bytes are those captured."""

    exit_code: int
    oom_killed: bool
    started_at: datetime
    ended_at: datetime
    last_line: str
    log_bytes: int
    notebook: bytes | None = None
    #: more of what it printed last, where it failed
    last_lines: str = ""
    #: that ended its program; 0 = none did; None = nobody said
    signal: int | None = None


@dataclass(frozen=True)
class WatchedRank:
    """A rank on a node as the supervisor needs it: what it should find there."""

    job_id: str
    attempt: int
    rank: int
    state: RankState
    container_id: str | None
    released: bool
    keeps_notebook: bool


def record_exit(database: Database, job_id: str, attempt: int, rank: int, end: RankExit) -> Settled:
    """The rank's container has ended and its output is stored: end the rank and judge the job.

    A rank that the platform set about stopping is STOPPED, unless it exited 0; one that ended by itself FAILED,
    although others were being stopped by then. Who was told is known from rows, not from clocks: those of two
    hosts may differ. Raises Superseded where the rank has ended already, or its job is gone.
    """
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        to, reason = _meaning(connection, job, attempt, rank, end)
        moved = rank_moves.move_ranks(
            connection,
            job_id,
            attempt,
            to,
            ranks=[rank],
            sources=frozenset({RankState.CREATED, RankState.STARTING, RankState.RUNNING}),
            reason=reason,
            message=_storable(end.last_line),
            columns={
                "exit_code": end.exit_code,
                "signal": end.signal,
                "oom_killed": end.oom_killed,
                "started_at": end.started_at,
                "ended_at": end.ended_at,
                "log_bytes": end.log_bytes,
                "last_lines": _storable(end.last_lines),
            },
        )
        if not moved:
            raise Superseded(f"rank {rank} of job {job_id} has ended already")
        if end.notebook is not None:
            _keep_notebook(connection, job_id, attempt, rank, end.notebook)
        if run_if_all_started(connection, job):
            job = lock_job(connection, job_id)
        return settle(connection, job)


#: Whether the platform set about ending the rank, and whether it had to kill it.
_TOLD = select(Rank.termination_at, Rank.killed_at).where(
    Rank.job_id == bindparam("job"), Rank.attempt == bindparam("attempt"), Rank.rank == bindparam("rank")
)


def _meaning(
    connection: Connection, job: LockedJob, attempt: int, rank: int, end: RankExit
) -> tuple[RankState, str]:
    """Which end it was. Out of memory, or a signal, is what is known of it, never a guess from the exit code.

    The engine says so of any process of the container: where the rank itself exited 0, it was a child.
    """
    if end.exit_code == 0:
        return RankState.SUCCEEDED, "CHILD_OUT_OF_MEMORY" if end.oom_killed else ""
    if job.stop_requested_at is not None:
        told = connection.execute(_TOLD, {"job": job.id, "attempt": attempt, "rank": rank}).first()
        if told is not None and told.termination_at is not None:
            return RankState.STOPPED, "KILLED" if told.killed_at is not None else "STOPPED"
    if end.oom_killed:
        return RankState.FAILED, "OUT_OF_MEMORY"
    return RankState.FAILED, "SIGNAL" if end.signal else "EXIT_CODE"


def record_lost(database: Database, job_id: str, attempt: int, rank: int, *, reason: str, message: str) -> Settled:
    """The rank's container is not there any more, and nobody knows how it ended. Raises Superseded."""
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        stopped = job.stop_requested_at is not None
        moved = rank_moves.move_ranks(
            connection,
            job_id,
            attempt,
            RankState.STOPPED if stopped else RankState.LOST,
            ranks=[rank],
            sources=frozenset({RankState.CREATED, RankState.STARTING, RankState.RUNNING}),
            reason=reason,
            message=message,
            released=True,
        )
        if not moved:
            raise Superseded(f"rank {rank} of job {job_id} has ended already")
        return settle(connection, job)


def watched_ranks(database: Database, node_id: int) -> list[WatchedRank]:
    """Every rank that holds a slot of the node: those whose containers are there, or are to be."""
    with database.transaction() as connection:
        return _watched(connection, node_id, None)


def watched_rank(database: Database, node_id: int, job_id: str, attempt: int, rank: int) -> WatchedRank | None:
    """One rank of the node, released or not; None where no row explains it."""
    with database.transaction() as connection:
        found = _watched(connection, node_id, (job_id, attempt, rank))
    return found[0] if found else None


def _watched(connection: Connection, node_id: int, one: tuple[str, int, int] | None) -> list[WatchedRank]:
    query = (
        select(
            Rank.job_id,
            Rank.attempt,
            Rank.rank,
            Rank.state,
            Rank.container_id,
            Rank.released_at,
            Job.spec["executor"]["kind"].as_string(),
        )
        .join(Job, Job.id == Rank.job_id)
        .where(Rank.node_id == node_id)
    )
    if one is None:
        query = query.where(Rank.released_at.is_(None))
    else:
        query = query.where(Rank.job_id == one[0], Rank.attempt == one[1], Rank.rank == one[2])
    return [
        WatchedRank(row[0], row[1], row[2], RankState(row[3]), row[4], row[5] is not None, row[6] == "notebook")
        for row in connection.execute(query)
    ]


def _keep_notebook(connection: Connection, job_id: str, attempt: int, rank: int, content: bytes) -> None:
    connection.execute(
        upsert(Notebook)
        .values(job_id=job_id, attempt=attempt, rank=rank, content=zlib.compress(content))
        .on_conflict_do_nothing()
    )


def _storable(line: str) -> str:
    """Postgres text holds no NUL; output may hold anything."""
    return line.replace("\0", "\ufffd")
