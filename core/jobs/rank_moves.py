"""The only file that writes a rank's state. Each verb is one guarded UPDATE with one event per rank moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, TextClause, text

from core.states import RANK_ENDED, RankState, sources_of_rank

_INSERT = text(
    "INSERT INTO ranks (job_id, attempt, rank, state)"
    " SELECT :job, :attempt, g, 'WAITING' FROM generate_series(0, :last) AS g"
)


#: For the statement that stores a job by itself, after its CTE `made`.
RANKS_OF_MADE = (
    "INSERT INTO ranks (job_id, attempt, rank, state)"
    " SELECT made.id, 1, g, 'WAITING' FROM made, generate_series(0, :num_ranks - 1) AS g"
)


def insert_ranks(connection: Connection, job_id: str, attempt: int, num_ranks: int) -> None:
    """Write an attempt's ranks, WAITING; one statement whatever their number."""
    connection.execute(_INSERT, {"job": job_id, "attempt": attempt, "last": num_ranks - 1})


def move_ranks(
    connection: Connection,
    job_id: str,
    attempt: int,
    to: RankState,
    *,
    ranks: Sequence[int] | None = None,
    node_id: int | None = None,
    sources: frozenset[RankState] | None = None,
    unheld_unless: RankState | None = None,
    if_job_pending: bool = False,
    reason: str = "",
    message: str = "",
    columns: Mapping[str, Any] | None = None,
    lease_seconds: float | None = None,
    released: bool = False,
) -> list[int]:
    """Move an attempt's ranks to `to`; the ranks that moved, in order.

    `ranks` and `node_id` narrow which; `sources` defaults to every state that may become `to`. With
    `unheld_unless`, only ranks in that state, or whose step's lease has run out. With `if_job_pending`, only
    while the job is PENDING and not being stopped. End states set `ended_at` unless `columns` brings the
    engine's own time. `lease_seconds` gives the caller's step its hold; `released` frees the slot.
    """
    changes = dict(columns or {})
    if to in RANK_ENDED:
        changes.update(reason=reason, message=message)
    statement = _move_statement(
        tuple(sorted(changes)),
        recorded=to in RANK_ENDED,
        ends=to in RANK_ENDED and "ended_at" not in changes,
        leased=lease_seconds is not None,
        released=released,
        some_ranks=ranks is not None,
        on_node=node_id is not None,
        unheld=unheld_unless is not None,
        if_job_pending=if_job_pending,
    )
    moved = connection.execute(
        statement,
        {
            **{f"set_{name}": value for name, value in changes.items()},
            "job": job_id,
            "attempt": attempt,
            "to": to.value,
            "allowed": [state.value for state in (sources_of_rank(to) if sources is None else sources)],
            "ranks": list(ranks or ()),
            "node": node_id,
            "free": unheld_unless.value if unheld_unless else None,
            "lease": lease_seconds,
            "reason": reason,
            "message": message,
        },
    )
    return sorted(moved.scalars())


@lru_cache(maxsize=256)
def _move_statement(
    changed: tuple[str, ...],
    *,
    recorded: bool,
    ends: bool,
    leased: bool,
    released: bool,
    some_ranks: bool,
    on_node: bool,
    unheld: bool,
    if_job_pending: bool,
) -> TextClause:
    """The SQL of one shape of move. As text, once per shape: these run a dozen times for every job, and
    building them out of expressions each time costs more than running them."""
    sets = ["state = :to", *(f"{name} = :set_{name}" for name in changed)]
    sets.append("lease_until = now() + make_interval(secs => :lease)" if leased else "lease_until = NULL")
    if recorded:
        sets.append("recorded_at = clock_timestamp()")
    if ends:
        sets.append("ended_at = now()")
    if released:
        sets.append("released_at = now()")
    conditions = ["job_id = :job", "attempt = :attempt", "state = ANY(:allowed)"]
    if some_ranks:
        conditions.append("rank = ANY(:ranks)")
    if on_node:
        conditions.append("node_id = :node")
    if unheld:
        conditions.append("(state = :free OR lease_until < now())")
    if if_job_pending:
        conditions.append(
            "EXISTS (SELECT 1 FROM jobs WHERE id = :job AND jobs.attempt = :attempt AND jobs.state = 'PENDING'"
            " AND stop_requested_at IS NULL)"
        )
    return text(
        f"WITH moved AS (UPDATE ranks SET {', '.join(sets)} WHERE {' AND '.join(conditions)}"  # noqa: S608
        " RETURNING job_id, attempt, rank)"
        " INSERT INTO job_events (job_id, attempt, rank, state, reason, message)"
        " SELECT job_id, attempt, rank, CAST(:to AS text), CAST(:reason AS text), CAST(:message AS text)"
        " FROM moved RETURNING rank"
    )


_PLACE = text(
    "WITH moved AS (UPDATE ranks SET state = 'PLACED', node_id = wanted.node, placed_at = now()"
    " FROM unnest(CAST(:jobs AS text[]), CAST(:attempts AS int[]), CAST(:ranks AS int[]),"
    " CAST(:nodes AS bigint[])) AS wanted(job, attempt, rank, node)"
    " WHERE ranks.job_id = wanted.job AND ranks.attempt = wanted.attempt AND ranks.rank = wanted.rank"
    " AND state = 'WAITING' RETURNING ranks.job_id, ranks.attempt, ranks.rank),"
    " told AS (INSERT INTO job_events (job_id, attempt, rank, state)"
    " SELECT job_id, attempt, rank, 'PLACED' FROM moved)"
    " SELECT job_id, count(*) FROM moved GROUP BY job_id"
)


def place_ranks(connection: Connection, placed: Mapping[tuple[str, int], Sequence[int]]) -> None:
    """WAITING → PLACED: of each (job, attempt), rank i on the i-th of its nodes. One statement for all of them.

    Raises RuntimeError where a job has not that many ranks WAITING, and then nothing must be committed.
    """
    asked: dict[str, list[Any]] = {"jobs": [], "attempts": [], "ranks": [], "nodes": []}
    for (job_id, attempt), nodes in placed.items():
        asked["jobs"] += [job_id] * len(nodes)
        asked["attempts"] += [attempt] * len(nodes)
        asked["ranks"] += range(len(nodes))
        asked["nodes"] += nodes
    moved: dict[str, int] = {row[0]: row[1] for row in connection.execute(_PLACE, asked)}
    for (job_id, attempt), nodes in placed.items():
        if moved.get(job_id, 0) != len(nodes):
            raise RuntimeError(f"job {job_id} is QUEUED with ranks of attempt {attempt} that are not WAITING")


_CREATED = text(
    "WITH moved AS (UPDATE ranks SET state = 'CREATED', container_id = made.container, lease_until = NULL"
    " FROM unnest(CAST(:ranks AS int[]), CAST(:containers AS text[])) AS made(rank, container)"
    " WHERE job_id = :job AND attempt = :attempt AND ranks.rank = made.rank AND state = 'CREATING'"
    " RETURNING job_id, attempt, ranks.rank)"
    " INSERT INTO job_events (job_id, attempt, rank, state)"
    " SELECT job_id, attempt, rank, 'CREATED' FROM moved RETURNING rank"
)


def record_containers(
    connection: Connection, job_id: str, attempt: int, containers: Mapping[int, str]
) -> list[int]:
    """CREATING → CREATED with each rank's container id; the ranks that moved. One statement for all of them."""
    made = connection.execute(
        _CREATED,
        {
            "job": job_id,
            "attempt": attempt,
            "ranks": list(containers),
            "containers": list(containers.values()),
        },
    )
    return sorted(made.scalars())


_RUNNING = text(
    "WITH moved AS (UPDATE ranks SET state = 'RUNNING', started_at = seen.at, lease_until = NULL"
    " FROM unnest(CAST(:ranks AS int[]), CAST(:times AS timestamptz[])) AS seen(rank, at)"
    " WHERE job_id = :job AND attempt = :attempt AND ranks.rank = seen.rank AND state = 'STARTING'"
    " RETURNING job_id, attempt, ranks.rank)"
    " INSERT INTO job_events (job_id, attempt, rank, state)"
    " SELECT job_id, attempt, rank, 'RUNNING' FROM moved RETURNING rank"
)


def record_starts(
    connection: Connection, job_id: str, attempt: int, started_at: Mapping[int, datetime]
) -> list[int]:
    """STARTING → RUNNING with the time at which each rank was started; the ranks that moved."""
    seen = connection.execute(
        _RUNNING,
        {
            "job": job_id,
            "attempt": attempt,
            "ranks": list(started_at),
            "times": list(started_at.values()),
        },
    )
    return sorted(seen.scalars())


@dataclass(frozen=True)
class RankEnd:
    """How one rank ended, by what the engine says of its container. Times are the engine's."""

    rank: int
    to: RankState
    reason: str
    message: str
    #: None = not known
    exit_code: int | None
    #: that ended it; 0 = none did, None = not known
    signal: int | None
    oom_killed: bool
    started_at: datetime
    ended_at: datetime
    log_bytes: int
    last_lines: str


# Ends that were written down first are told from later ones by `recorded_at`: those of one statement keep the
# order in which they are given. The statement begins when the job's lock is had, so after any other one's end.
_ENDED = text(
    "WITH moved AS (UPDATE ranks SET state = seen.state, reason = seen.reason, message = seen.message,"
    " exit_code = seen.code, signal = seen.signal, oom_killed = seen.oom, started_at = seen.started,"
    " ended_at = seen.ended,"
    " log_bytes = seen.bytes, last_lines = seen.lines, lease_until = NULL,"
    " recorded_at = statement_timestamp() + seen.place * interval '1 microsecond'"
    " FROM unnest(CAST(:ranks AS int[]), CAST(:states AS text[]), CAST(:reasons AS text[]),"
    " CAST(:messages AS text[]), CAST(:codes AS int[]), CAST(:signals AS int[]), CAST(:ooms AS bool[]),"
    " CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]), CAST(:byte_counts AS bigint[]),"
    " CAST(:lines AS text[])) WITH ORDINALITY"
    " AS seen(rank, state, reason, message, code, signal, oom, started, ended, bytes, lines, place)"
    " WHERE job_id = :job AND attempt = :attempt AND ranks.rank = seen.rank AND ranks.state = ANY(:allowed)"
    " RETURNING job_id, attempt, ranks.rank, seen.place, ranks.state, ranks.reason, ranks.message)"
    " INSERT INTO job_events (job_id, attempt, rank, state, reason, message)"
    " SELECT job_id, attempt, rank, state, reason, message FROM moved ORDER BY place RETURNING rank"
)
_MAY_END = [state.value for state in (RankState.CREATED, RankState.STARTING, RankState.RUNNING)]


def record_ends(connection: Connection, job_id: str, attempt: int, ends: Sequence[RankEnd]) -> list[int]:
    """CREATED, STARTING or RUNNING → how each rank's container ended; the ranks that moved."""
    moved = connection.execute(
        _ENDED,
        {
            "job": job_id,
            "attempt": attempt,
            "allowed": _MAY_END,
            "ranks": [end.rank for end in ends],
            "states": [end.to.value for end in ends],
            "reasons": [end.reason for end in ends],
            "messages": [end.message for end in ends],
            "codes": [end.exit_code for end in ends],
            "signals": [end.signal for end in ends],
            "ooms": [end.oom_killed for end in ends],
            "starts": [end.started_at for end in ends],
            "ends": [end.ended_at for end in ends],
            "byte_counts": [end.log_bytes for end in ends],
            "lines": [end.last_lines for end in ends],
        },
    )
    return sorted(moved.scalars())


_RELEASE = text(
    "UPDATE ranks SET released_at = now() WHERE job_id = :job AND attempt = :attempt AND rank = ANY(:ranks)"
    " AND state = ANY(:ended) AND released_at IS NULL RETURNING rank"
)


def release_ranks(connection: Connection, job_id: str, attempt: int, ranks: Sequence[int]) -> list[int]:
    """Free the slots of ranks that have ended and whose containers are gone; those freed by this call."""
    ended = [state.value for state in RANK_ENDED]
    freed = connection.execute(_RELEASE, {"job": job_id, "attempt": attempt, "ranks": list(ranks), "ended": ended})
    return sorted(freed.scalars())
