"""The stop step: SIGTERM, and after the grace period SIGKILL. Never waits: the grace is a later ring."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from core.database import Database
from core.errors import Superseded
from core.failpoints import Point, failpoint
from core.jobs import launching, starting, stopping
from core.jobs.stop_plan import StopAction, intend_signals, plan_stop, record_signalled
from core.queue import Bell
from worker.engine import Engine, RankKey

log = structlog.get_logger(__name__)

#: A ring that comes a moment early would find the grace period not quite over and do nothing.
_AFTER_GRACE_SECONDS = 0.05


def stop_ranks(
    database: Database,
    bell: Bell,
    engine_of: Callable[[str], Engine],
    job_id: str,
    attempt: int,
    node_id: int,
    worker_group: str,
) -> None:
    """Do what the ranks of a job that is being stopped need now on one node, and ring for what comes later."""
    plan = plan_stop(database, job_id, attempt, node_id)
    if plan is None or not plan.actions:
        return
    engine = engine_of(plan.endpoint)
    terminate, kill = plan.ranks_to(StopAction.TERMINATE), plan.ranks_to(StopAction.KILL)
    intend_signals(database, job_id, attempt, terminate=terminate, kill=kill)
    failpoint(Point.STOP_INTENDED, job_id)
    told = [rank for rank in terminate if engine.signal(_container(job_id, attempt, rank), "SIGTERM")]
    for rank in kill:
        log.info("rank_killed", job=job_id, rank=rank, grace_seconds=plan.grace_seconds)
        engine.signal(_container(job_id, attempt, rank), "SIGKILL")
    failpoint(Point.STOP_SIGNALLED, job_id)
    if terminate:
        ended = sorted(set(terminate) - set(told))
        record_signalled(database, job_id, attempt, told, ended_before=ended)
    if told:
        bell.stop(worker_group, job_id, attempt, node_id, in_seconds=plan.grace_seconds + _AFTER_GRACE_SECONDS)
    for rank in plan.ranks_to(StopAction.REMOVE):
        _remove(database, bell, engine, RankKey(job_id, attempt, rank))


def _container(job_id: str, attempt: int, rank: int) -> str:
    return RankKey(job_id, attempt, rank).container_name


def _remove(database: Database, bell: Bell, engine: Engine, key: RankKey) -> None:
    """A rank that never ran. A container that does run is left to be told at the next ring."""
    seen = engine.observe(key.container_name)
    if seen is not None and seen.started_at is not None:
        starting.record_started(database, key.job_id, key.attempt, {key.rank: seen.started_at})
        return
    engine.remove(key.container_name)
    try:
        launching.record_failure(
            database,
            key.job_id,
            key.attempt,
            [key.rank],
            reason="STOPPED_BEFORE_START",
            message="stopped by the platform before it was started",
            released=True,
        )
    except Superseded as error:
        log.info("removal_superseded", job=key.job_id, rank=key.rank, why=str(error))
        return
    freed = stopping.release(database, key.job_id, key.attempt, [key.rank])
    if freed is not None and freed.slots_freed:
        bell.schedule(freed.pool_row)
