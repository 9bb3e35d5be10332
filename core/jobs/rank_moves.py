"""The only file that writes a rank's state. Each verb is one guarded UPDATE with one event per rank moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    " FROM unnest(CAST(:nodes AS bigint[])) WITH ORDINALITY AS wanted(node, place)"
    " WHERE job_id = :job AND attempt = :attempt AND rank = wanted.place - 1 AND state = 'WAITING'"
    " RETURNING job_id, attempt, rank)"
    " INSERT INTO job_events (job_id, attempt, rank, state)"
    " SELECT job_id, attempt, rank, 'PLACED' FROM moved RETURNING rank"
)


def place_ranks(connection: Connection, job_id: str, attempt: int, nodes: Sequence[int]) -> bool:
    """WAITING → PLACED for all of an attempt's ranks, rank i on `nodes[i]`; False unless all moved."""
    placed = connection.execute(_PLACE, {"job": job_id, "attempt": attempt, "nodes": list(nodes)})
    return len(placed.all()) == len(nodes)


def record_containers(
    connection: Connection, job_id: str, attempt: int, containers: Mapping[int, str]
) -> list[int]:
    """CREATING → CREATED with each rank's container id; the ranks that moved."""
    moved: list[int] = []
    for rank, container_id in containers.items():
        moved += move_ranks(
            connection,
            job_id,
            attempt,
            RankState.CREATED,
            ranks=[rank],
            sources=frozenset({RankState.CREATING}),
            columns={"container_id": container_id},
        )
    return moved


_RELEASE = text(
    "UPDATE ranks SET released_at = now() WHERE job_id = :job AND attempt = :attempt AND rank = ANY(:ranks)"
    " AND state = ANY(:ended) AND released_at IS NULL RETURNING rank"
)


def release_ranks(connection: Connection, job_id: str, attempt: int, ranks: Sequence[int]) -> list[int]:
    """Free the slots of ranks that have ended and whose containers are gone; those freed by this call."""
    ended = [state.value for state in RANK_ENDED]
    freed = connection.execute(_RELEASE, {"job": job_id, "attempt": attempt, "ranks": list(ranks), "ended": ended})
    return sorted(freed.scalars())
