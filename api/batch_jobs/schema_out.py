"""A BatchJob and its log entries as they are answered: camelCase, zero values for what is not set.

The classes are the wire's shape for OpenAPI and for mypy; at run time they are plain dicts, because a model
per answer would cost more than everything else in the request.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NotRequired

from typing_extensions import TypedDict

from api.wire.times import format_duration, format_time, format_time_ns
from core.jobs.reading import JobRecord
from core.logs import LogEntry
from core.spec import NotebookExecutor, PythonExecutor, ShellExecutor


class PythonExecutorRead(TypedDict):
    targetType: str
    target: str
    args: list[str]


class NotebookExecutorRead(TypedDict):
    notebookFilename: str
    parameters: dict[str, Any]


class ShellExecutorRead(TypedDict):
    command: str


class BatchJobRead(TypedDict):
    """Every field of the reference, and ours after them."""

    name: str
    displayName: str
    createTime: str
    startTime: str | None
    endTime: str | None
    createdBy: str
    nodePoolId: str
    environmentId: str
    snapshotId: str
    numRanks: int
    envVars: dict[str, str]
    role: str
    pythonExecutor: NotRequired[PythonExecutorRead]
    notebookExecutor: NotRequired[NotebookExecutorRead]
    shellExecutor: NotRequired[ShellExecutorRead]
    imageRef: str
    annotations: dict[str, str]
    state: str
    status: str
    shared: bool
    updateTime: str
    stopGracePeriod: str | None
    attempt: int
    reason: str
    imageDigest: str


class BatchJobList(TypedDict):
    batchJobs: list[BatchJobRead]
    nextPageToken: str
    totalSize: int


class LogEntryRead(TypedDict):
    logTime: str
    rank: int
    message: str


class LogEntryList(TypedDict):
    entries: list[LogEntryRead]
    nextPageToken: str


class Empty(TypedDict):
    """`google.protobuf.Empty`."""


def batch_job(record: JobRecord) -> BatchJobRead:
    """A stored job on the wire."""
    spec = record.spec
    job: BatchJobRead = {
        "name": f"accounts/{record.account}/batchJobs/{record.id}",
        "displayName": record.display_name,
        "createTime": format_time(record.created_at),
        "startTime": _time_or_null(record.started_at),
        "endTime": _time_or_null(record.ended_at),
        "createdBy": record.created_by,
        "nodePoolId": record.pool,
        "environmentId": "",
        "snapshotId": "",
        "numRanks": spec.num_ranks,
        "envVars": dict(spec.env_vars),
        "role": "",
        "imageRef": spec.image_ref,
        "annotations": dict(spec.annotations),
        "state": record.state.value,
        "status": record.status,
        "shared": record.shared,
        "updateTime": format_time(record.updated_at),
        "stopGracePeriod": None if spec.stop_grace_seconds is None else format_duration(spec.stop_grace_seconds),
        "attempt": record.attempt,
        "reason": record.reason,
        "imageDigest": record.image_digest,
    }
    match spec.executor:
        case PythonExecutor(target_type, target, args):
            job["pythonExecutor"] = {"targetType": target_type, "target": target, "args": list(args)}
        case NotebookExecutor(filename, parameters):
            job["notebookExecutor"] = {"notebookFilename": filename, "parameters": dict(parameters)}
        case ShellExecutor(command):
            job["shellExecutor"] = {"command": command}
    return job


def log_entries(entries: Iterable[LogEntry]) -> list[LogEntryRead]:
    """Captured lines on the wire: what is not UTF-8 is replaced, the newline that ended a line is left out."""
    return [
        {
            "logTime": format_time_ns(entry.record.time_ns),
            "rank": entry.rank,
            "message": entry.record.data.removesuffix(b"\n").decode("utf-8", "replace"),
        }
        for entry in entries
    ]


def _time_or_null(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
