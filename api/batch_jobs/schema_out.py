"""A BatchJob and its log entries as they are answered: camelCase, zero values for what is not set.

The classes are the wire's shape for OpenAPI and for mypy; at run time they are plain dicts, because a model
per answer would cost more than everything else in the request.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from api.batch_jobs.log_query import STREAM_NAMES
from api.batch_jobs.run_policy_out import (
    ResourcesRead,
    RetryPolicyRead,
    TimeoutsRead,
    duration_or_null,
    resources,
    retry_policy,
    timeouts,
)
from api.openapi.values import Duration, names_of
from api.wire.times import format_time, format_time_ns
from core.accounts import Caller
from core.jobs.outlook import Outlook
from core.jobs.reading import JobRecord
from core.jobs.submitting import Submission
from core.logs import LogEntry
from core.policies import RankFailurePolicy
from core.spec import JobSpec, NotebookExecutor, PythonExecutor, ShellExecutor
from core.states import JobState

STATE_UNSPECIFIED = "STATE_UNSPECIFIED"


class PythonExecutorRead(TypedDict):
    targetType: Literal["MODULE", "FILENAME"]
    target: str
    args: list[str]


class NotebookExecutorRead(TypedDict):
    notebookFilename: str
    parameters: dict[str, Any]


class ShellExecutorRead(TypedDict):
    command: str


class UploadRead(TypedDict):
    name: str
    sizeBytes: int
    sha256: str


class BatchJobRead(TypedDict):
    """Every field of the reference, and ours after them."""

    name: str
    displayName: str
    createTime: str | None
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
    state: Annotated[str, names_of(STATE_UNSPECIFIED, *JobState)]
    status: str
    shared: bool
    updateTime: str | None
    stopGracePeriod: Duration | None
    secretEnvVars: dict[str, str]
    imagePullSecret: str
    resources: ResourcesRead | None
    timeouts: TimeoutsRead | None
    retryPolicy: RetryPolicyRead | None
    rankFailurePolicy: Annotated[str, names_of(*RankFailurePolicy)]
    priority: int
    workingDirectory: str
    ttlAfterFinished: Duration | None
    nodeLabels: dict[str, str]
    queuePosition: int
    estimatedStartTime: str | None
    attempt: int
    reason: str
    imageDigest: str
    uploads: list[UploadRead]


class BatchJobList(TypedDict):
    batchJobs: list[BatchJobRead]
    nextPageToken: str
    totalSize: int


class LogEntryRead(TypedDict):
    """Every field of the reference, and ours after them."""

    logTime: str
    rank: int
    message: str
    stream: Annotated[str, names_of(*STREAM_NAMES.values(), "")]


class LogEntryList(TypedDict):
    entries: list[LogEntryRead]
    nextPageToken: str


def batch_job(record: JobRecord) -> BatchJobRead:
    """A stored job on the wire."""
    spec = record.spec
    job: BatchJobRead = {
        "name": f"accounts/{record.account}/batchJobs/{record.batch_job_id}",
        "displayName": record.display_name,
        "createTime": format_time(record.created_at),
        "startTime": time_or_null(record.started_at),
        "endTime": time_or_null(record.ended_at),
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
        "stopGracePeriod": duration_or_null(spec.stop_grace_seconds),
        "secretEnvVars": dict(spec.secret_env_vars),
        "imagePullSecret": spec.image_pull_secret,
        "resources": resources(spec),
        "timeouts": timeouts(spec),
        "retryPolicy": retry_policy(spec.retry_policy),
        "rankFailurePolicy": spec.rank_failure_policy.value,
        "priority": spec.priority,
        "workingDirectory": spec.working_directory,
        "ttlAfterFinished": duration_or_null(spec.ttl_seconds),
        "nodeLabels": dict(spec.node_labels),
        "queuePosition": record.queue_position,
        "estimatedStartTime": time_or_null(record.estimated_start_at),
        "attempt": record.attempt,
        "reason": record.reason,
        "imageDigest": record.image_digest,
        "uploads": [
            {"name": name, "sizeBytes": mark.size_bytes, "sha256": mark.sha256}
            for name, mark in spec.files.items()
        ],
    }
    match spec.executor:
        case PythonExecutor(target_type, target, args):
            job["pythonExecutor"] = {"targetType": target_type, "target": target, "args": list(args)}
        case NotebookExecutor(filename, parameters):
            job["notebookExecutor"] = {"notebookFilename": filename, "parameters": dict(parameters)}
        case ShellExecutor(command):
            job["shellExecutor"] = {"command": command}
    return job


def dry_run(caller: Caller, submission: Submission, spec: JobSpec, found: Outlook) -> BatchJobRead:
    """The job that a request would have made: no state, no times of what was, and what would become of it now."""
    never = datetime.min.replace(tzinfo=UTC)
    record = JobRecord(
        id="",
        account=caller.account,
        batch_job_id=submission.batch_job_id,
        pool=submission.pool,
        created_by=caller.email,
        display_name=submission.display_name,
        shared=submission.shared,
        spec=spec,
        state=JobState.CREATING,
        reason=found.reason,
        status=found.sentence,
        attempt=0,
        image_digest="",
        created_at=never,
        updated_at=never,
        started_at=None,
        ended_at=None,
        queue_position=found.position,
        estimated_start_at=found.starts_at,
    )
    job = batch_job(record)
    if not submission.batch_job_id:
        job["name"] = ""
    job["state"] = STATE_UNSPECIFIED
    job["createTime"] = job["updateTime"] = None
    return job


def log_entries(entries: Iterable[LogEntry]) -> list[LogEntryRead]:
    """Captured lines on the wire: what is not UTF-8 is replaced, the newline that ended a line is left out.

    `stream` is empty where the platform says something, and not the rank.
    """
    return [
        {
            "logTime": format_time_ns(entry.record.time_ns),
            "rank": entry.rank,
            "message": entry.record.data.removesuffix(b"\n").decode("utf-8", "replace"),
            "stream": STREAM_NAMES.get(entry.record.stream, ""),
        }
        for entry in entries
    ]


def time_or_null(moment: datetime | None) -> str | None:
    """A timestamp that may be unset."""
    return None if moment is None else format_time(moment)
