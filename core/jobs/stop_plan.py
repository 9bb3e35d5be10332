"""What a stop step finds to do on a node, and what it did. The signals themselves are the worker's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, case, func, or_, select, update

from core.database import Database
from core.models import Job, Node, Rank
from core.spec import spec_from_json
from core.states import RANK_ENDED, RankState


class StopAction(StrEnum):
    """What a rank that is to be stopped needs now."""

    TERMINATE = "TERMINATE"  # it has not been told yet
    KILL = "KILL"  # it was told, and its grace period is over
    REMOVE = "REMOVE"  # it never ran, or its step died: whatever is there goes


@dataclass(frozen=True)
class StopPlan:
    """`grace_seconds` is the job's; `actions` has every rank of the node that needs something now."""

    endpoint: str
    grace_seconds: float
    actions: tuple[tuple[int, StopAction], ...]

    def ranks_to(self, action: StopAction) -> tuple[int, ...]:
        """The ranks that need this, in order."""
        return tuple(rank for rank, needed in self.actions if needed is action)


def plan_stop(database: Database, job_id: str, attempt: int, node_id: int) -> StopPlan | None:
    """What to do on the node for a job that is being stopped; None where the job is not, or is gone."""
    with database.transaction() as connection:
        job = connection.execute(
            select(Job.spec, Node.endpoint)
            .join(Node, Node.id == node_id)
            .where(Job.id == job_id, Job.attempt == attempt, Job.stop_requested_at.is_not(None))
        ).first()
        if job is None:
            return None
        grace = spec_from_json(job.spec).effective_stop_grace_seconds
        held = Rank.lease_until > func.now()
        rows = connection.execute(
            select(
                Rank.rank,
                case(
                    (Rank.state.in_([state.value for state in RANK_ENDED]), StopAction.REMOVE.value),
                    (
                        Rank.state.in_([RankState.CREATING.value, RankState.STARTING.value]),
                        case((held, ""), else_=StopAction.REMOVE.value),
                    ),
                    (Rank.signalled_at.is_(None), StopAction.TERMINATE.value),
                    (
                        Rank.signalled_at <= func.now() - func.make_interval(0, 0, 0, 0, 0, 0, grace),
                        StopAction.KILL.value,
                    ),
                    else_="",
                ).label("action"),
            )
            .where(
                Rank.job_id == job_id,
                Rank.attempt == attempt,
                Rank.node_id == node_id,
                Rank.released_at.is_(None),
                # What ran and ended is the supervisor's: its output may not be stored yet.
                or_(Rank.state.not_in([state.value for state in RANK_ENDED]), Rank.started_at.is_(None)),
            )
            .order_by(Rank.rank)
        )
        actions = tuple((row.rank, StopAction(row.action)) for row in rows if row.action)
    return StopPlan(job.endpoint, grace, actions)


def intend_signals(
    database: Database, job_id: str, attempt: int, *, terminate: Sequence[int], kill: Sequence[int]
) -> None:
    """These ranks are about to be sent SIGTERM, and those SIGKILL: how they end then is the platform's doing.

    Written before the signal is sent, as every intent is: an end that is seen before the signal is recorded must
    not look like the rank's own.
    """
    with database.transaction() as connection:
        if terminate:
            connection.execute(
                update(Rank)
                .where(*_are(job_id, attempt, terminate), Rank.termination_at.is_(None))
                .values(termination_at=func.clock_timestamp())
            )
        if kill:
            connection.execute(
                update(Rank)
                .where(*_are(job_id, attempt, kill), Rank.killed_at.is_(None))
                .values(killed_at=func.clock_timestamp())
            )


def record_signalled(
    database: Database, job_id: str, attempt: int, ranks: Sequence[int], *, ended_before: Sequence[int] = ()
) -> None:
    """These ranks have been sent SIGTERM: their grace period begins. Those of `ended_before` did not run any more,
    so that their end, which is still to be recorded, is their own."""
    with database.transaction() as connection:
        if ranks:
            connection.execute(
                update(Rank)
                .where(*_are(job_id, attempt, ranks), Rank.signalled_at.is_(None))
                .values(signalled_at=func.clock_timestamp())
            )
        if ended_before:
            connection.execute(
                update(Rank)
                .where(*_are(job_id, attempt, ended_before), Rank.signalled_at.is_(None))
                .values(termination_at=None)
            )


def _are(job_id: str, attempt: int, ranks: Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    return Rank.job_id == job_id, Rank.attempt == attempt, Rank.rank.in_(list(ranks))
