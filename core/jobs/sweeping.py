"""What was not rung for: rows whose next step is due and that no step holds. Redis may forget everything."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text

from core.database import Database
from core.jobs.stopping import StopOrder
from core.models import Job, Node, Rank
from core.states import RANK_ENDED, JobState, RankState

#: A fresh row's ring is given so long to arrive before the sweep rings again; much longer where the group's
#: workers have rings left to answer: theirs is probably among them, and each sweep would add as many again.
_PATIENCE_SECONDS, _BUSY_PATIENCE_SECONDS = 2, 30
_PATIENCE = text(f"interval '{_PATIENCE_SECONDS} seconds'")
#: Rings of one kind that a sweep makes at the most, the longest awaited first; the next sweep makes more. For
#: groups that are busy few, so that a ring that was lost is found and the others are not doubled.
_MOST, _MOST_OF_BUSY = 1000, 20
_TO_LAUNCH = (RankState.PLACED, RankState.CREATING)
_TO_START = (RankState.CREATED, RankState.STARTING)


@dataclass(frozen=True)
class Due:
    """Pools to schedule, and steps to ring for."""

    pools: tuple[int, ...]
    launches: tuple[StopOrder, ...]
    starts: tuple[StopOrder, ...]
    stops: tuple[StopOrder, ...]


def live_groups(database: Database) -> list[str]:
    """The worker groups whose nodes hold ranks: those that may have something due."""
    with database.transaction() as connection:
        held = select(Rank.rank).where(Rank.node_id == Node.id, Rank.released_at.is_(None)).exists()
        return sorted(connection.execute(select(Node.worker_group).distinct().where(held)).scalars())


def find_due(database: Database, busy: Collection[str] = ()) -> Due:
    """What waits for a step which may never have been rung for, or whose holder died.

    `busy` are worker groups that have not answered all their rings yet.
    """
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
            _orders(connection, and_(going, _in(_TO_LAUNCH)), busy),
            _orders(connection, and_(going, _in(_TO_START)), busy),
            _orders(connection, stopping, busy),
        )


def _orders(
    connection: Connection, condition: ColumnElement[bool], busy: Collection[str]
) -> tuple[StopOrder, ...]:
    is_busy = Node.worker_group.in_(list(busy))
    waited_for_long = func.coalesce(Job.stop_requested_at, Rank.placed_at) < func.now() - func.make_interval(
        0, 0, 0, 0, 0, 0, _BUSY_PATIENCE_SECONDS
    )
    orders: list[StopOrder] = []
    for group, most in ((~is_busy, _MOST), (and_(is_busy, waited_for_long), _MOST_OF_BUSY)):
        if not busy and most == _MOST_OF_BUSY:
            break
        rows = connection.execute(
            select(Node.worker_group, Rank.job_id, Rank.attempt, Node.id)
            .select_from(Rank)
            .join(Job, Job.id == Rank.job_id)
            .join(Node, Node.id == Rank.node_id)
            .where(Rank.released_at.is_(None), Rank.attempt == Job.attempt, condition, group)
            .group_by(Node.worker_group, Rank.job_id, Rank.attempt, Node.id)
            .order_by(func.min(Rank.placed_at))
            .limit(most)
        )
        orders += [StopOrder(row.worker_group, row.job_id, row.attempt, row.id) for row in rows]
    return tuple(orders)


def _unheld() -> ColumnElement[bool]:
    return or_(Rank.lease_until.is_(None), Rank.lease_until < func.now())


def _in(states: Iterable[RankState]) -> ColumnElement[bool]:
    return Rank.state.in_([state.value for state in states])
