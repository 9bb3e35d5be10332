"""A job's ranks and events as they are answered."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.batch_jobs.schema_out import time_or_null
from api.openapi.values import names_of
from api.wire.times import format_time
from core.jobs.history import EventRecord, RankRecord
from core.states import JobState, RankState


class RankRead(TypedDict):
    """`exitCode` null: it has not ended by itself. `signal`: that ended its program; 0: none did; null: not known.

    `lastLines`, oldest first, only of a rank that ended with another exit code than 0."""

    name: str
    rank: int
    attempt: int
    state: Annotated[str, names_of(*RankState)]
    nodeId: str
    containerId: str
    exitCode: int | None
    signal: int | None
    outOfMemory: bool
    reason: str
    status: str
    lastLines: list[str]
    logBytes: str
    placeTime: str | None
    startTime: str | None
    endTime: str | None


class RankList(TypedDict):
    ranks: list[RankRead]
    nextPageToken: str
    totalSize: int


class EventRead(TypedDict):
    """`rank` null: the job itself."""

    time: str
    attempt: int
    rank: int | None
    state: Annotated[str, names_of(*sorted({*JobState, *RankState}))]
    reason: str
    status: str


class EventList(TypedDict):
    events: list[EventRead]
    nextPageToken: str
    totalSize: int


def rank_read(job_name: str, record: RankRecord) -> RankRead:
    """A stored rank on the wire."""
    return {
        "name": f"{job_name}/ranks/{record.rank}",
        "rank": record.rank,
        "attempt": record.attempt,
        "state": record.state.value,
        "nodeId": record.node,
        "containerId": record.container_id,
        "exitCode": record.exit_code,
        "signal": record.signal,
        "outOfMemory": record.oom_killed,
        "reason": record.reason,
        "status": record.message,
        "lastLines": record.last_lines.removesuffix("\n").split("\n") if record.last_lines else [],
        "logBytes": str(record.log_bytes),
        "placeTime": time_or_null(record.placed_at),
        "startTime": time_or_null(record.started_at),
        "endTime": time_or_null(record.ended_at),
    }


def event_read(record: EventRecord) -> EventRead:
    """A stored event on the wire."""
    return {
        "time": format_time(record.at),
        "attempt": record.attempt,
        "rank": record.rank,
        "state": record.state,
        "reason": record.reason,
        "status": record.message,
    }
