"""What was asked for: the frozen specification of a job, and its form as JSON in the row. Pure.

The rules that a request must meet are the API's; the names that ranks rely on are here, because the API
refuses them and the worker sets them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.policies import RankFailurePolicy, RetryPolicy, retry_policy_from_json

#: What every rank finds (API.md, "What a rank finds"); a user's envVars may not set these.
RESERVED_ENV_NAMES = frozenset(
    {
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "NODE_RANK",
        "GROUP_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "JOB_COMPLETION_INDEX",
        "PET_NNODES",
        "PET_NODE_RANK",
        "PET_NPROC_PER_NODE",
        "PET_MASTER_ADDR",
        "PET_MASTER_PORT",
    }
)
RESERVED_ENV_PREFIX = "LONGSHORE_"
DEFAULT_STOP_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class FileMark:
    """Which content a file has that came with the job."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, content: bytes) -> FileMark:
        """Of this content."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class PythonExecutor:
    """Runs `python -m target args…` (MODULE) or `python target args…` (FILENAME)."""

    target_type: Literal["MODULE", "FILENAME"]
    target: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotebookExecutor:
    """Runs the notebook at a path in the container by papermill, with `parameters` (JSON values) injected."""

    notebook_filename: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ShellExecutor:
    """Runs one string, of one or many lines, by the image's `/bin/sh -c`."""

    command: str


Executor = PythonExecutor | NotebookExecutor | ShellExecutor


@dataclass(frozen=True)
class JobSpec:
    """What never changes about a job. `executor` None means the image's own entrypoint and command."""

    image_ref: str
    num_ranks: int = 1
    env_vars: Mapping[str, str] = field(default_factory=dict)
    executor: Executor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    #: variable → id of the secret whose value it gets
    secret_env_vars: Mapping[str, str] = field(default_factory=dict)
    #: id of the secret that opens the image's registry; "" for the operator's credentials
    image_pull_secret: str = ""
    #: None = not asked for; `DEFAULT_STOP_GRACE_SECONDS` then applies
    stop_grace_seconds: float | None = None
    #: the higher goes first
    priority: int = 0
    #: what each rank has to itself, in thousandths of a CPU and in bytes; None = one slot's share of its node
    cpu_milli: int | None = None
    memory_bytes: int | None = None
    #: labels, with their values, that each of its nodes must have
    node_labels: Mapping[str, str] = field(default_factory=dict)
    #: of /dev/shm of each rank; None = the pool's
    shm_bytes: int | None = None
    #: the platform ends what runs longer; None = never
    run_timeout_seconds: float | None = None
    #: the longest that an attempt may be QUEUED, and PENDING; None = for ever
    queue_timeout_seconds: float | None = None
    pull_timeout_seconds: float | None = None
    rank_failure_policy: RankFailurePolicy = RankFailurePolicy.FAIL_ALL
    retry_policy: RetryPolicy | None = None
    #: absolute; "" = the image's own
    working_directory: str = ""
    #: deleted so long after its end; None = kept
    ttl_seconds: float | None = None
    #: what comes with the job into the working directory of each rank, by relative path
    files: Mapping[str, FileMark] = field(default_factory=dict)

    @property
    def effective_stop_grace_seconds(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return DEFAULT_STOP_GRACE_SECONDS if self.stop_grace_seconds is None else self.stop_grace_seconds


_EXECUTORS: dict[str, type[PythonExecutor] | type[NotebookExecutor] | type[ShellExecutor]] = {
    "python": PythonExecutor,
    "notebook": NotebookExecutor,
    "shell": ShellExecutor,
}


def spec_to_json(spec: JobSpec) -> dict[str, Any]:
    """The form kept in the row; `spec_from_json` is its inverse."""
    stored = asdict(spec)
    if spec.executor is not None:
        kind = next(kind for kind, cls in _EXECUTORS.items() if isinstance(spec.executor, cls))
        stored["executor"] = {"kind": kind, **asdict(spec.executor)}
    return stored


def spec_from_json(stored: Mapping[str, Any]) -> JobSpec:
    """The specification of a stored job."""
    fields = dict(stored)
    executor = fields.pop("executor", None)
    if executor is not None:
        executor = dict(executor)
        cls = _EXECUTORS[executor.pop("kind")]
        if "args" in executor:
            executor["args"] = tuple(executor["args"])
        executor = cls(**executor)
    policy = RankFailurePolicy(fields.pop("rank_failure_policy", RankFailurePolicy.FAIL_ALL))
    retry = retry_policy_from_json(fields.pop("retry_policy", None))
    files = {name: FileMark(**mark) for name, mark in fields.pop("files", {}).items()}
    return JobSpec(executor=executor, rank_failure_policy=policy, retry_policy=retry, files=files, **fields)
