"""A batch job, its ranks, history, output and use, as they are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from client.reads.wire import Read

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, kw_only=True)
class Upload(Read):
    """A file that came with a job."""

    name: str = ""
    size_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class BatchJob(Read):
    """A job as it was when it was asked for."""

    name: str = ""
    display_name: str = ""
    state: str = ""
    status: str = ""
    reason: str = ""
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    update_time: datetime | None = None
    created_by: str = ""
    node_pool_id: str = ""
    num_ranks: int = 0
    image_ref: str = ""
    image_digest: str = ""
    env_vars: Mapping[str, str] = field(default_factory=dict)
    secret_env_vars: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_labels: Mapping[str, str] = field(default_factory=dict)
    python_executor: Mapping[str, Any] | None = None
    notebook_executor: Mapping[str, Any] | None = None
    shell_executor: Mapping[str, Any] | None = None
    shared: bool = False
    priority: int = 0
    rank_failure_policy: str = ""
    retry_policy: Mapping[str, Any] | None = None
    resources: Mapping[str, str] | None = None
    timeouts: Mapping[str, Any] | None = None
    working_directory: str = ""
    queue_position: int = 0
    estimated_start_time: datetime | None = None
    attempt: int = 0
    uploads: tuple[Upload, ...] = ()

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, kw_only=True)
class JobChange(Read):
    """What `watch` tells: `event` is `job`, `state`, `status`, `end` or `deleted`.

    `job` is set for `job` and `end`. `state` to `attempt` hold for each but `deleted`.
    """

    event: str
    job: BatchJob | None = None
    time: datetime | None = None
    state: str = ""
    reason: str = ""
    status: str = ""
    attempt: int = 0
    queue_position: int = 0
    estimated_start_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Rank(Read):
    """One rank of an attempt. `exit_code` None: it has not ended by itself; `signal` None: not known."""

    rank: int = 0
    attempt: int = 0
    state: str = ""
    node_id: str = ""
    container_id: str = ""
    exit_code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    reason: str = ""
    status: str = ""
    last_lines: tuple[str, ...] = ()
    log_bytes: int = 0
    place_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Event(Read):
    """A move of the job (`rank` None) or of a rank."""

    time: datetime | None = None
    attempt: int = 0
    rank: int | None = None
    state: str = ""
    reason: str = ""
    status: str = ""


@dataclass(frozen=True, kw_only=True)
class LogEntry(Read):
    """A line of output, or a piece of a long one. `stream` is "" for what the platform itself says.

    `attempt` and `event_id` are known where output is followed: another `follow` goes on after that id. It is
    that of the last entry of its event, and "" for the entries before it.
    """

    log_time: datetime | None = None
    rank: int = 0
    message: str = ""
    stream: str = ""
    attempt: int = 0
    event_id: str = ""


@dataclass(frozen=True, kw_only=True)
class RankUsage(Read):
    """What a rank has used by its last sample; `fields` has the rest of it."""

    rank: int = 0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


def first_to_fail(ranks: Sequence[Rank], *, main: bool = False) -> Rank | None:
    """Of a job's ranks, the one whose failure came first; None where none failed by itself.

    With `main`, rank 0's end is the job's.
    """
    failed = [rank for rank in ranks if rank.state in ("FAILED", "LOST") and not (main and rank.rank)]
    ended = [rank for rank in failed if rank.end_time is not None]
    if not ended:
        return min(failed, key=lambda rank: rank.rank, default=None)
    return min(ended, key=lambda rank: (rank.end_time, rank.rank))
