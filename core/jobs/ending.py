"""A container's end becomes a rank's, and, with the last of them, the job's."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.errors import Superseded
from core.jobs import rank_moves
from core.jobs.rank_moves import RankEnd
from core.jobs.starting import run_if_all_started
from core.jobs.stopping import LockedJob, Settled, lock_job, settle
from core.jobs.verdict import ENGINE_RESTARTED
from core.models import Job, Notebook, Rank
from core.states import RankState

#: What an engine says, when it is started again, of an end that it did not see.
_UNSEEN_EXITS = frozenset({0, 255})


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
    #: its engine was started anew after the container was, and does not keep containers running
    engine_restarted: bool = False


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


def record_exits(database: Database, job_id: str, attempt: int, ends: Mapping[int, RankExit]) -> Settled:
    """Containers of these ranks have ended and their output is stored: end the ranks and judge the job.

    A rank that the platform set about stopping is STOPPED, unless it exited 0; one that ended by itself FAILED,
    although others were being stopped by then. Who was told is known from rows, not from clocks: those of two
    hosts may differ. Of ends that come together the first given counts as the first seen. A rank that has ended
    already is passed over; raises Superseded where all have, or the job is gone.
    """
    notebooks = {rank: zlib.compress(end.notebook) for rank, end in ends.items() if end.notebook is not None}
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        told = _told(connection, job, attempt, ends)
        moved = rank_moves.record_ends(
            connection, job_id, attempt, [_rank_end(rank, end, told.get(rank)) for rank, end in ends.items()]
        )
        if not moved:
            raise Superseded(f"ranks {', '.join(map(str, sorted(ends)))} of job {job_id} have ended already")
        for rank in notebooks.keys() & set(moved):
            _keep_notebook(connection, job_id, attempt, rank, notebooks[rank])
        if run_if_all_started(connection, job):
            job = lock_job(connection, job_id)
        return settle(connection, job)


#: Of those that the platform set about ending: whether it had to kill them.
_TOLD = text(
    "SELECT rank, killed_at IS NOT NULL AS killed FROM ranks WHERE job_id = :job AND attempt = :attempt"
    " AND rank = ANY(:ranks) AND termination_at IS NOT NULL"
)


def _told(connection: Connection, job: LockedJob, attempt: int, ranks: Iterable[int]) -> dict[int, bool]:
    if job.stop_requested_at is None:
        return {}
    rows = connection.execute(_TOLD, {"job": job.id, "attempt": attempt, "ranks": list(ranks)})
    return {row.rank: row.killed for row in rows}


def _rank_end(rank: int, end: RankExit, killed: bool | None) -> RankEnd:
    """`killed`: None where the platform had not set about ending the rank."""
    to, reason = _meaning(end, killed)
    return RankEnd(
        rank=rank,
        to=to,
        reason=reason,
        message=_storable(end.last_line),
        exit_code=None if end.engine_restarted and end.exit_code in _UNSEEN_EXITS else end.exit_code,
        signal=end.signal,
        oom_killed=end.oom_killed,
        started_at=end.started_at,
        ended_at=end.ended_at,
        log_bytes=end.log_bytes,
        last_lines=_storable(end.last_lines),
    )


def _meaning(end: RankExit, killed: bool | None) -> tuple[RankState, str]:
    """Which end it was. Out of memory, or a signal, is what is known of it, never a guess from the exit code.

    An engine that is restarted tells its containers to end, and does not say so: a program that then exits 0 has
    not done its work.

    The engine says so of any process of the container: where the rank itself exited 0, it was a child.
    """
    if end.engine_restarted and killed is None:
        return RankState.FAILED, ENGINE_RESTARTED
    if end.exit_code == 0 and not end.engine_restarted:
        return RankState.SUCCEEDED, "CHILD_OUT_OF_MEMORY" if end.oom_killed else ""
    if killed is not None:
        return RankState.STOPPED, "KILLED" if killed else "STOPPED"
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
        return [_watched(row) for row in connection.execute(_HOLDING, {"node": node_id})]


def watched_rank(database: Database, node_id: int, job_id: str, attempt: int, rank: int) -> WatchedRank | None:
    """One rank of the node, released or not; None where no row explains it."""
    key = {"node": node_id, "job": job_id, "attempt": attempt, "rank": rank}
    with database.transaction() as connection:
        found = connection.execute(_ONE, key).first()
    return None if found is None else _watched(found)


# Built once: every node is asked about every few seconds.
_ON_NODE = (
    select(
        Rank.job_id,
        Rank.attempt,
        Rank.rank,
        Rank.state,
        Rank.container_id,
        Rank.released_at,
        Job.spec["executor"]["kind"].as_string().label("executor"),
    )
    .join(Job, Job.id == Rank.job_id)
    .where(Rank.node_id == bindparam("node"))
)
_HOLDING = _ON_NODE.where(Rank.released_at.is_(None))
_ONE = _ON_NODE.where(
    Rank.job_id == bindparam("job"), Rank.attempt == bindparam("attempt"), Rank.rank == bindparam("rank")
)


def _watched(row: Row[Any]) -> WatchedRank:
    released, is_notebook = row.released_at is not None, row.executor == "notebook"
    state = RankState(row.state)
    return WatchedRank(row.job_id, row.attempt, row.rank, state, row.container_id, released, is_notebook)


#: The rank's lock is waited for: one that is being ended brings its own notebook, which is to stay.
_RUNS = text(
    "SELECT 1 FROM ranks WHERE job_id = :job AND attempt = :attempt AND rank = :rank AND state = :running"
    " FOR SHARE"
)


def keep_running_notebook(database: Database, job_id: str, attempt: int, rank: int, content: bytes) -> None:
    """What a notebook has come to, of a rank that is still running; of any other nothing is kept."""
    running = {"job": job_id, "attempt": attempt, "rank": rank, "running": RankState.RUNNING.value}
    packed = zlib.compress(content)
    with database.transaction() as connection:
        if connection.execute(_RUNS, running).first() is not None:
            _keep_notebook(connection, job_id, attempt, rank, packed)


def _keep_notebook(connection: Connection, job_id: str, attempt: int, rank: int, packed: bytes) -> None:
    """`packed` is compressed already: that takes a second for a large one, and others wait for the locks."""
    connection.execute(
        upsert(Notebook)
        .values(
            job_id=job_id,
            attempt=attempt,
            rank=rank,
            account_id=select(Job.account_id).where(Job.id == job_id).scalar_subquery(),
            content=packed,
        )
        .on_conflict_do_update(constraint="pk_notebooks", set_={"content": packed, "kept_at": func.now()})
    )


def _storable(line: str) -> str:
    """Postgres text holds no NUL; output may hold anything."""
    return line.replace("\0", "\ufffd")
