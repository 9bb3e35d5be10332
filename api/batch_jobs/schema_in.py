"""A BatchJob as a request gives it: its fields, their kinds, and the value that the rules look at.

What a field must be beyond its kind is in `rules`; what is stored is `core.spec.JobSpec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.batch_jobs import run_policy_in
from api.batch_jobs.files_in import NOTEBOOK, NOTEBOOK_NAME, TEXT_FILES
from api.batch_jobs.run_policy_in import RunPolicyIn, read_run_policy
from api.wire.proto_json import (
    BOOL,
    DURATION,
    INT32,
    JSON_VALUE,
    STRING,
    Faults,
    enum,
    map_of,
    message,
    repeated,
)
from core.spec import FileMark

TARGET_TYPES = {"TARGET_TYPE_UNSPECIFIED": 0, "MODULE": 1, "FILENAME": 2}

#: Fields of the reference that name resources which do not exist yet.
UNSERVED_REFERENCES = ("environmentId", "snapshotId", "role")

EXECUTORS = ("pythonExecutor", "notebookExecutor", "shellExecutor")
OUTPUT_ONLY = frozenset(
    {"name", "createTime", "startTime", "endTime", "updateTime", "createdBy", "state", "status"}
    | {"queuePosition", "estimatedStartTime", "attempt", "reason", "imageDigest", "uploads"}
)

PYTHON_EXECUTOR = message({"targetType": enum(TARGET_TYPES), "target": STRING, "args": repeated(STRING)})
NOTEBOOK_EXECUTOR = message({"notebookFilename": STRING, "parameters": map_of(JSON_VALUE), "content": NOTEBOOK})
SHELL_EXECUTOR = message({"command": STRING})

#: What PATCH may change, and what each becomes when it is reset.
MUTABLE = {"displayName": STRING, "shared": BOOL}
MUTABLE_ZERO: dict[str, Any] = {"displayName": "", "shared": False}

BATCH_JOB = message(
    {
        **MUTABLE,
        "nodePoolId": STRING,
        "numRanks": INT32,
        "imageRef": STRING,
        "envVars": map_of(STRING),
        "secretEnvVars": map_of(STRING),
        "imagePullSecret": STRING,
        "pythonExecutor": PYTHON_EXECUTOR,
        "notebookExecutor": NOTEBOOK_EXECUTOR,
        "shellExecutor": SHELL_EXECUTOR,
        "annotations": map_of(STRING),
        "files": TEXT_FILES,
        "stopGracePeriod": DURATION,
        **run_policy_in.FIELDS,
        **dict.fromkeys(UNSERVED_REFERENCES, STRING),
    },
    ignored=OUTPUT_ONLY,
)


#: Everything else of a job that a client may set, once.
IMMUTABLE = frozenset(BATCH_JOB.spellings.values()) - frozenset(MUTABLE) - OUTPUT_ONLY


@dataclass(frozen=True)
class PythonExecutorIn:
    target_type: str
    target: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class NotebookExecutorIn:
    """`content` None: the notebook is in the image, or among the files."""

    notebook_filename: str
    parameters: Mapping[str, Any]
    content: bytes | None = None


@dataclass(frozen=True)
class ShellExecutorIn:
    command: str


@dataclass(frozen=True)
class BatchJobCreate:
    """A request's fields, each of its kind, none judged yet. None means that it was not given."""

    display_name: str = ""
    node_pool_id: str = ""
    num_ranks: int | None = None
    image_ref: str | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict)
    secret_env_vars: Mapping[str, str] = field(default_factory=dict)
    image_pull_secret: str = ""
    python_executor: PythonExecutorIn | None = None
    notebook_executor: NotebookExecutorIn | None = None
    shell_executor: ShellExecutorIn | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    #: those of the job that it is cloned from
    files_before: Mapping[str, FileMark] = field(default_factory=dict)
    shared: bool = False
    stop_grace_seconds: float | None = None
    run_policy: RunPolicyIn = field(default_factory=RunPolicyIn)
    #: wire names of the fields that were set and that this version does not serve
    unserved: tuple[str, ...] = ()

    @property
    def contents(self) -> dict[str, bytes]:
        """All files that it brings, the notebook too."""
        notebook = self.notebook_executor
        if notebook is None or notebook.content is None:
            return dict(self.files)
        return {**self.files, notebook.notebook_filename: notebook.content}

    @property
    def marks(self) -> dict[str, FileMark]:
        """All files that it has; those that it brings take the place of others of their names."""
        return {**self.files_before, **{name: FileMark.of(content) for name, content in self.contents.items()}}


def read_batch_job(body: object, faults: Faults) -> BatchJobCreate:
    """The request's job. A field that was of the wrong kind is a fault and reads as not given."""
    given = BATCH_JOB.read(body, "", faults)
    if not isinstance(given, dict):
        return BatchJobCreate()
    python, notebook = given.get("pythonExecutor"), given.get("notebookExecutor")
    shell = given.get("shellExecutor")
    return BatchJobCreate(
        display_name=given.get("displayName", ""),
        node_pool_id=given.get("nodePoolId", ""),
        num_ranks=given.get("numRanks"),
        image_ref=given.get("imageRef"),
        env_vars=given.get("envVars", {}),
        secret_env_vars=given.get("secretEnvVars", {}),
        image_pull_secret=given.get("imagePullSecret", ""),
        python_executor=None
        if python is None
        else PythonExecutorIn(
            python.get("targetType", "TARGET_TYPE_UNSPECIFIED"), python.get("target", ""), python.get("args", ())
        ),
        notebook_executor=None if notebook is None else _notebook_executor(notebook),
        shell_executor=None if shell is None else ShellExecutorIn(shell.get("command", "")),
        annotations=given.get("annotations", {}),
        files=given.get("files", {}),
        shared=given.get("shared", False),
        stop_grace_seconds=given.get("stopGracePeriod"),
        run_policy=read_run_policy(given),
        # Zero values are what a client with a generated class sends for what nobody set.
        unserved=tuple(name for name in UNSERVED_REFERENCES if given.get(name)),
    )


def _notebook_executor(given: Mapping[str, Any]) -> NotebookExecutorIn:
    content = given.get("content")
    filename = given.get("notebookFilename", "")
    if content is not None:
        filename = filename or NOTEBOOK_NAME
    return NotebookExecutorIn(filename, given.get("parameters", {}), content)
