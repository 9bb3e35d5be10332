"""The states of jobs and ranks, and which may follow which. Pure; the moves themselves are in `core.jobs`."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The wire's states; `API.md` gives each its meaning."""

    CREATING = "CREATING"
    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CANCELLING = "CANCELLING"
    DELETING = "DELETING"


class RankState(StrEnum):
    """One rank's way. STARTING is committed before the start call, CREATING before the create call."""

    WAITING = "WAITING"  # no node yet
    PLACED = "PLACED"  # holds a slot; nothing asked of the engine
    CREATING = "CREATING"  # a launch step holds it, under a lease
    CREATED = "CREATED"  # its container exists, never started
    STARTING = "STARTING"  # a start step holds it, under a lease
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"  # exited 0 by itself
    FAILED = "FAILED"  # exited otherwise by itself, or could not be started
    STOPPED = "STOPPED"  # ended by the platform, for another rank's failure or a cancellation
    LOST = "LOST"  # its node or its container went away


JOB_ENDED = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
JOB_LIVE = frozenset(JobState) - JOB_ENDED
JOB_CANCELLABLE = frozenset({JobState.CREATING, JobState.QUEUED, JobState.PENDING, JobState.RUNNING})
RANK_ENDED = frozenset({RankState.SUCCEEDED, RankState.FAILED, RankState.STOPPED, RankState.LOST})
RANK_LIVE = frozenset(RankState) - RANK_ENDED

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.CREATING: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.DELETING}),
    JobState.QUEUED: frozenset({JobState.PENDING, JobState.FAILED, JobState.CANCELLED, JobState.DELETING}),
    JobState.PENDING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.CANCELLING, JobState.FAILED, JobState.DELETING}
    ),
    # Back to QUEUED: another attempt.
    JobState.RUNNING: frozenset(
        {JobState.COMPLETED, JobState.FAILED, JobState.QUEUED, JobState.CANCELLING, JobState.DELETING}
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.DELETING}),
    JobState.COMPLETED: frozenset({JobState.DELETING}),
    JobState.FAILED: frozenset({JobState.DELETING}),
    JobState.CANCELLED: frozenset({JobState.DELETING}),
    JobState.DELETING: frozenset(),
}

RANK_MOVES: dict[RankState, frozenset[RankState]] = {
    RankState.WAITING: frozenset({RankState.PLACED, RankState.STOPPED, RankState.FAILED}),
    RankState.PLACED: frozenset({RankState.CREATING, RankState.STOPPED, RankState.FAILED, RankState.LOST}),
    RankState.CREATING: frozenset(
        {RankState.CREATING, RankState.PLACED, RankState.CREATED, RankState.STOPPED, RankState.FAILED}
        | {RankState.LOST}
    ),
    RankState.CREATED: frozenset({RankState.STARTING, RankState.STOPPED, RankState.FAILED, RankState.LOST}),
    RankState.STARTING: frozenset(
        {RankState.STARTING, RankState.RUNNING, RankState.SUCCEEDED}
        | {RankState.FAILED, RankState.STOPPED, RankState.LOST}
    ),
    RankState.RUNNING: RANK_ENDED,
    RankState.SUCCEEDED: frozenset(),
    RankState.FAILED: frozenset(),
    RankState.STOPPED: frozenset(),
    RankState.LOST: frozenset(),
}


def sources_of_job(target: JobState) -> frozenset[JobState]:
    """The states from which a job may move to `target`."""
    return frozenset(source for source, targets in JOB_MOVES.items() if target in targets)


def sources_of_rank(target: RankState) -> frozenset[RankState]:
    """The states from which a rank may move to `target`."""
    return frozenset(source for source, targets in RANK_MOVES.items() if target in targets)
