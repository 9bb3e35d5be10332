"""The fields of a job that lists can be filtered and ordered by, each by its name on the wire."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Double, Integer, Text, case, cast, func, literal
from sqlalchemy.dialects.postgresql import JSONB

from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.models import Job, NodePool
from core.policies import RankFailurePolicy
from core.states import JobState

#: The wire's zero of the enum; no job is ever in it.
_STATES = ("STATE_UNSPECIFIED", *(state.value for state in JobState))
_POLICIES = ("RANK_FAILURE_POLICY_UNSPECIFIED", *(policy.value for policy in RankFailurePolicy))
_TARGET_TYPES = ("TARGET_TYPE_UNSPECIFIED", "MODULE", "FILENAME")


def _stored(*keys: str) -> ColumnElement[Any]:
    """What the specification holds at this path, as JSON; null where it holds nothing."""
    found: ColumnElement[Any] = Job.spec  # type: ignore[assignment]  # an attribute of a row class is a column to SQL
    for key in keys:
        found = found.op("->", return_type=JSONB())(literal(key, Text()))
    return found


def _stored_text(*keys: str) -> ColumnElement[Any]:
    return _stored(*keys[:-1]).op("->>", return_type=Text())(literal(keys[-1], Text()))


def _text(column: Any, *, nullable: bool = False, free_text: bool = False, unbounded: bool = False) -> ListField:
    return ListField(FieldType.TEXT, column, nullable=nullable, free_text=free_text, unbounded=unbounded)


def _of_executor(key: str) -> ListField:
    """A text that only one kind of executor has."""
    return _text(_stored_text("executor", key), nullable=True, free_text=True, unbounded=True)


def _duration(key: str) -> ListField:
    return ListField(FieldType.DURATION, cast(_stored_text(key), Double()), nullable=True)


#: Of no account once a job is queued no more: whoever moves it need not think of them.
_IS_QUEUED = Job.state == JobState.QUEUED.value
QUEUE_POSITION: ColumnElement[Any] = case((_IS_QUEUED, func.coalesce(Job.queue_position, 0)), else_=0)
ESTIMATED_START_AT: ColumnElement[Any] = case((_IS_QUEUED, Job.estimated_start_at))

_FIELDS = {
    "name": _text(
        literal("accounts/", Text()) + Job.account_id + literal("/batchJobs/", Text()) + Job.batch_job_id,
        free_text=True,
    ),
    "displayName": _text(Job.display_name, free_text=True),
    "createTime": ListField(FieldType.TIME, Job.created_at),
    "startTime": ListField(FieldType.TIME, Job.started_at, nullable=True),
    "endTime": ListField(FieldType.TIME, Job.ended_at, nullable=True),
    "createdBy": _text(Job.created_by, free_text=True),
    "nodePoolId": _text(NodePool.pool_id, free_text=True),
    "numRanks": ListField(FieldType.NUMBER, Job.num_ranks),
    "envVars": ListField(FieldType.MAP, _stored("env_vars"), nullable=True),
    "secretEnvVars": ListField(FieldType.MAP, _stored("secret_env_vars"), nullable=True),
    "pythonExecutor": ListField(FieldType.MESSAGE, _stored_text("executor", "target"), nullable=True),
    "pythonExecutor.targetType": ListField(
        FieldType.ENUM, _stored_text("executor", "target_type"), nullable=True, names=_TARGET_TYPES
    ),
    "pythonExecutor.target": _of_executor("target"),
    "pythonExecutor.args": ListField(FieldType.LIST, _stored("executor", "args"), nullable=True),
    "notebookExecutor": ListField(FieldType.MESSAGE, _stored_text("executor", "notebook_filename"), nullable=True),
    "notebookExecutor.notebookFilename": _of_executor("notebook_filename"),
    "shellExecutor": ListField(FieldType.MESSAGE, _stored_text("executor", "command"), nullable=True),
    "shellExecutor.command": _of_executor("command"),
    "imageRef": _text(Job.image_ref, free_text=True, unbounded=True),
    "imagePullSecret": _text(Job.image_pull_secret),
    "annotations": ListField(FieldType.MAP, _stored("annotations"), nullable=True),
    "state": ListField(FieldType.ENUM, Job.state, names=_STATES),
    "status": _text(Job.status, free_text=True, unbounded=True),
    "shared": ListField(FieldType.BOOL, Job.shared),
    "updateTime": ListField(FieldType.TIME, Job.updated_at),
    "stopGracePeriod": _duration("stop_grace_seconds"),
    "resources": ListField(
        FieldType.MESSAGE,
        func.coalesce(_stored_text("cpu_milli"), _stored_text("memory_bytes"), _stored_text("shm_bytes")),
        nullable=True,
    ),
    "timeouts": ListField(
        FieldType.MESSAGE,
        func.coalesce(*(_stored_text(f"{clock}_timeout_seconds") for clock in ("queue", "pull", "run"))),
        nullable=True,
    ),
    "timeouts.queue": _duration("queue_timeout_seconds"),
    "timeouts.pull": _duration("pull_timeout_seconds"),
    "timeouts.run": _duration("run_timeout_seconds"),
    "retryPolicy": ListField(FieldType.MESSAGE, _stored_text("retry_policy"), nullable=True),
    "retryPolicy.maxAttempts": ListField(
        FieldType.NUMBER,
        func.coalesce(cast(_stored_text("retry_policy", "max_attempts"), Integer()), literal(0, Integer())),
    ),
    "rankFailurePolicy": ListField(
        FieldType.ENUM,
        func.coalesce(_stored_text("rank_failure_policy"), literal(RankFailurePolicy.FAIL_ALL.value, Text())),
        names=_POLICIES,
    ),
    "priority": ListField(FieldType.NUMBER, Job.priority),
    "workingDirectory": _text(
        func.coalesce(_stored_text("working_directory"), literal("", Text())), unbounded=True
    ),
    "ttlAfterFinished": _duration("ttl_seconds"),
    "nodeLabels": ListField(FieldType.MAP, Job.node_labels),
    "queuePosition": ListField(FieldType.NUMBER, QUEUE_POSITION),
    "estimatedStartTime": ListField(FieldType.TIME, ESTIMATED_START_AT, nullable=True),
    "attempt": ListField(FieldType.NUMBER, Job.attempt),
    "reason": _text(Job.reason, free_text=True),
    "imageDigest": _text(Job.image_digest),
}

#: Newest first. Its rows are jobs joined with their pools.
JOB_LISTING = Listing(_FIELDS, (OrderTerm("createTime", descending=True),), ListField(FieldType.TEXT, Job.id))
