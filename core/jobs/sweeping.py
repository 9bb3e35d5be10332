"""What was not rung for: rows whose next step is due and that no step holds. Redis may forget everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text

from core.database import Database
from core.jobs.stopping import StopOrder
from core.models import Job, Node, Rank
from core.states import RANK_ENDED, JobState, RankState

#: A fresh row's ring is given so long to arrive before the sweep rings again.
_PATIENCE = text("interval '2 seconds'")
_TO_LAUNCH = (RankState.PLACED, RankState.CREATING)
_TO_START = (RankState.CREATED, RankState.STARTING)


@dataclass(frozen=True)
class Due:
    """Pools to schedule, and steps to ring for."""

    pools: tuple[int, ...]
    launches: tuple[StopOrder, ...]
    starts: tuple[StopOrder, ...]
    stops: tuple[StopOrder, ...]


def find_due(database: Database) -> Due:
    """Everything that waits for a step which may never have been rung for, or whose holder died."""
    going = and_(Job.stop_requested_at.is_(None), Rank.placed_at < func.now() - _PATIENCE, _unheld())
    stopping = and_(
        Job.stop_requested_at < func.now() - _PATIENCE,
        or_(
            # Not told yet, or told at least the shortest useful grace ago: the step itself knows the job's.
            and_(
                _in((RankState.RUNNING,)),
                or_(Rank.signalled_at.is_(None), Rank.signalled_at < func.now() - _PATIENCE),
            ),
            and_(_in((RankState.CREATING, RankState.STARTING)), _unheld()),
            # Ended without ever running: no exit will be seen, so a stop step removes its container.
            and_(_in(RANK_ENDED), Rank.started_at.is_(None)),
        ),
    )
    with database.transaction() as connection:
        pools = connection.execute(
            select(Job.pool_id)
            .distinct()
            .where(
                Job.state == JobState.QUEUED.value,
                or_(Job.not_before_at.is_(None), Job.not_before_at <= func.now()),
            )
        ).scalars()
        return Due(
            tuple(pools),
            _orders(connection, and_(going, _in(_TO_LAUNCH))),
            _orders(connection, and_(going, _in(_TO_START))),
            _orders(connection, stopping),
        )


def _orders(connection: Connection, condition: ColumnElement[bool]) -> tuple[StopOrder, ...]:
    rows = connection.execute(
        select(Node.worker_group, Rank.job_id, Rank.attempt, Node.id)
        .distinct()
        .select_from(Rank)
        .join(Job, Job.id == Rank.job_id)
        .join(Node, Node.id == Rank.node_id)
        .where(Rank.released_at.is_(None), Rank.attempt == Job.attempt, condition)
    )
    return tuple(StopOrder(row.worker_group, row.job_id, row.attempt, row.id) for row in rows)


def _unheld() -> ColumnElement[bool]:
    return or_(Rank.lease_until.is_(None), Rank.lease_until < func.now())


def _in(states: Iterable[RankState]) -> ColumnElement[bool]:
    return Rank.state.in_([state.value for state in states])
