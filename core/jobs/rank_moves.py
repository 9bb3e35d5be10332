"""The only file that writes a rank's state. Each verb is one guarded UPDATE with one event per rank moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger as SqlBigInteger
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    column,
    func,
    insert,
    literal,
    select,
    text,
    update,
    values,
)
from sqlalchemy import Integer as SqlInteger

from core.models import JobEvent, Rank
from core.states import RANK_ENDED, RankState, sources_of_rank


def insert_ranks(connection: Connection, job_id: str, attempt: int, num_ranks: int) -> None:
    """Write an attempt's ranks, WAITING; one statement whatever their number."""
    connection.execute(
        text(
            "INSERT INTO ranks (job_id, attempt, rank, state)"
            " SELECT :job, :attempt, g, 'WAITING' FROM generate_series(0, :last) AS g"
        ),
        {"job": job_id, "attempt": attempt, "last": num_ranks - 1},
    )


def move_ranks(
    connection: Connection,
    job_id: str,
    attempt: int,
    to: RankState,
    *,
    ranks: Sequence[int] | None = None,
    node_id: int | None = None,
    sources: frozenset[RankState] | None = None,
    guard: ColumnElement[bool] | None = None,
    reason: str = "",
    message: str = "",
    columns: Mapping[str, Any] | None = None,
) -> list[int]:
    """Move an attempt's ranks to `to`; the ranks that moved, in order.

    `ranks` and `node_id` narrow which; `sources` defaults to every state that may become `to`; `guard` is
    one more condition. End states set `ended_at` unless `columns` brings the engine's own time.
    """
    allowed = sources_of_rank(to) if sources is None else sources
    conditions: list[ColumnElement[bool]] = [
        Rank.job_id == job_id,
        Rank.attempt == attempt,
        Rank.state.in_([state.value for state in allowed]),
    ]
    if ranks is not None:
        conditions.append(Rank.rank.in_(list(ranks)))
    if node_id is not None:
        conditions.append(Rank.node_id == node_id)
    if guard is not None:
        conditions.append(guard)
    changes: dict[str, Any] = {"state": to.value, "lease_until": None, **(columns or {})}
    if to in RANK_ENDED:
        changes.setdefault("ended_at", func.now())
        changes.update(reason=reason, message=message)
    moved = (
        update(Rank)
        .where(*conditions)
        .values(**changes)
        .returning(Rank.job_id, Rank.attempt, Rank.rank)
        .cte("moved")
    )
    event = (
        insert(JobEvent)
        .from_select(
            ["job_id", "attempt", "rank", "state", "reason", "message"],
            select(
                moved.c.job_id,
                moved.c.attempt,
                moved.c.rank,
                literal(to.value),
                literal(reason),
                literal(message),
            ),
        )
        .add_cte(moved)
        .returning(JobEvent.rank)
    )
    return sorted(rank for (rank,) in connection.execute(event) if rank is not None)


def place_ranks(connection: Connection, job_id: str, attempt: int, nodes: Sequence[int]) -> bool:
    """WAITING → PLACED for all of an attempt's ranks, rank i on `nodes[i]`; False unless all moved."""
    wanted = values(column("rank", SqlInteger), column("node_id", SqlBigInteger), name="wanted").data(
        list(enumerate(nodes))
    )
    moved = (
        update(Rank)
        .where(
            Rank.job_id == job_id,
            Rank.attempt == attempt,
            Rank.rank == wanted.c.rank,
            Rank.state == RankState.WAITING.value,
        )
        .values(state=RankState.PLACED.value, node_id=wanted.c.node_id, placed_at=func.now())
        .returning(Rank.job_id, Rank.attempt, Rank.rank)
        .cte("moved")
    )
    event = (
        insert(JobEvent)
        .from_select(
            ["job_id", "attempt", "rank", "state"],
            select(moved.c.job_id, moved.c.attempt, moved.c.rank, literal(RankState.PLACED.value, Text)),
        )
        .add_cte(moved)
        .returning(JobEvent.rank)
    )
    return len(connection.execute(event).all()) == len(nodes)


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


def release_ranks(connection: Connection, job_id: str, attempt: int, ranks: Sequence[int]) -> list[int]:
    """Free the slots of ranks that have ended and whose containers are gone; those freed by this call."""
    rows = connection.execute(
        update(Rank)
        .where(
            Rank.job_id == job_id,
            Rank.attempt == attempt,
            Rank.rank.in_(list(ranks)),
            Rank.state.in_([state.value for state in RANK_ENDED]),
            Rank.released_at.is_(None),
        )
        .values(released_at=func.now())
        .returning(Rank.rank)
    )
    return sorted(rank for (rank,) in rows)
