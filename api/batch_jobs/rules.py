"""What a batch job must be to be accepted. Pure: a request in, every violation out, and the spec if none.

Limits of the kernel are kept here because they would otherwise be an unstartable container an hour later:
Linux refuses a single argument or variable of 128 KiB (MAX_ARG_STRLEN, its NUL counted).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, cast

from api.batch_jobs.environment import environment_violations
from api.batch_jobs.files_in import name_fault, name_violations, whole_violations
from api.batch_jobs.image_reference import InvalidReference, parse_image_reference
from api.batch_jobs.run_policy_in import run_policy_violations
from api.batch_jobs.schema_in import BatchJobCreate, PythonExecutorIn
from api.batch_jobs.secret_variables import secret_variables_violations
from api.wire.annotations import annotation_violations
from api.wire.json_text import dump_json
from core.errors import FieldViolation
from core.spec import Executor, JobSpec, NotebookExecutor, PythonExecutor, ShellExecutor

MAX_STRING_BYTES = 131_071
MAX_STRINGS_BYTES = 1 << 20
MAX_DISPLAY_NAME = 63
MAX_POOL_ID = 63
MAX_STOP_GRACE_SECONDS = 3600


def violations(job: BatchJobCreate, max_ranks: int, max_upload_bytes: int) -> Iterator[FieldViolation]:
    """Every rule that the job breaks, in the order of the contract's fields."""
    yield from display_name_violations(job.display_name)
    if not job.node_pool_id:
        yield FieldViolation("nodePoolId", "is required")
    elif len(job.node_pool_id) > MAX_POOL_ID:
        yield FieldViolation("nodePoolId", "is not the id of a node pool")
    if job.num_ranks is not None and not 1 <= job.num_ranks <= max_ranks:
        yield FieldViolation("numRanks", f"must be between 1 and {max_ranks}")
    if job.image_ref is not None:
        try:
            parse_image_reference(job.image_ref)
        except InvalidReference as error:
            yield FieldViolation("imageRef", str(error))
    yield from environment_violations(job.env_vars, MAX_STRING_BYTES)
    yield from secret_variables_violations(job.secret_env_vars, job.env_vars)
    yield from name_violations(job.files, "files")
    yield from whole_violations(job.marks, max_upload_bytes)
    yield from _executor_violations(job)
    yield from _size_violations(job)
    yield from annotation_violations(job.annotations)
    if job.stop_grace_seconds is not None and job.stop_grace_seconds > MAX_STOP_GRACE_SECONDS:
        yield FieldViolation("stopGracePeriod", f"must be between 0s and {MAX_STOP_GRACE_SECONDS}s")
    yield from run_policy_violations(job.run_policy)


def display_name_violations(display_name: str) -> Iterator[FieldViolation]:
    """A name for people may hold anything, in fewer than 64 characters."""
    if len(display_name) > MAX_DISPLAY_NAME:
        yield FieldViolation("displayName", f"must be of fewer than {MAX_DISPLAY_NAME + 1} characters")


def to_spec(job: BatchJobCreate) -> JobSpec:
    """The specification of a job that breaks no rule."""
    policy = job.run_policy
    return JobSpec(
        image_ref=job.image_ref or "",
        num_ranks=1 if job.num_ranks is None else job.num_ranks,
        env_vars=job.env_vars,
        secret_env_vars=job.secret_env_vars,
        image_pull_secret=job.image_pull_secret,
        executor=_executor(job),
        annotations=job.annotations,
        stop_grace_seconds=job.stop_grace_seconds,
        priority=policy.priority,
        cpu_milli=policy.cpu_milli,
        memory_bytes=policy.memory_bytes,
        shm_bytes=policy.shm_bytes,
        run_timeout_seconds=policy.run_timeout_seconds,
        queue_timeout_seconds=policy.queue_timeout_seconds,
        pull_timeout_seconds=policy.pull_timeout_seconds,
        rank_failure_policy=policy.rank_failure_policy,
        retry_policy=policy.retry_policy,
        working_directory=policy.working_directory,
        ttl_seconds=policy.ttl_seconds,
        node_labels=policy.node_labels,
        files=job.marks,
    )


def _executor(job: BatchJobCreate) -> Executor | None:
    if job.python_executor is not None:
        python = job.python_executor
        target_type = cast("Literal['MODULE', 'FILENAME']", python.target_type)
        return PythonExecutor(target_type, python.target, python.args)
    if job.notebook_executor is not None:
        notebook = job.notebook_executor
        return NotebookExecutor(notebook.notebook_filename, notebook.parameters)
    return None if job.shell_executor is None else ShellExecutor(job.shell_executor.command)


def _executor_violations(job: BatchJobCreate) -> Iterator[FieldViolation]:
    executors = {
        "pythonExecutor": job.python_executor,
        "notebookExecutor": job.notebook_executor,
        "shellExecutor": job.shell_executor,
    }
    given = [name for name, executor in executors.items() if executor is not None]
    if len(given) > 1:
        for name in given:
            yield FieldViolation(name, f"at most one executor may be given, not {' and '.join(given)}")
    if job.python_executor is not None:
        yield from _python_violations(job.python_executor)
    if job.notebook_executor is not None:
        if not job.notebook_executor.notebook_filename:
            yield FieldViolation("notebookExecutor.notebookFilename", "is required, unless content is given")
        if job.notebook_executor.content is not None:
            yield from _notebook_name_violations(job.notebook_executor.notebook_filename, job.files)
        for name in job.notebook_executor.parameters:
            if not name.isidentifier():
                yield FieldViolation("notebookExecutor.parameters", f"{name[:64]!r} is not a variable's name")
    if job.shell_executor is not None and not job.shell_executor.command.strip():
        yield FieldViolation("shellExecutor.command", "is required")


def _notebook_name_violations(filename: str, files: Mapping[str, bytes]) -> Iterator[FieldViolation]:
    """Of a notebook that is put somewhere, as the files are."""
    fault = "is one of the files, and content is given as well" if filename in files else name_fault(filename)
    if fault:
        yield FieldViolation("notebookExecutor.notebookFilename", fault)


def _python_violations(executor: PythonExecutorIn) -> Iterator[FieldViolation]:
    if executor.target_type == "TARGET_TYPE_UNSPECIFIED":
        yield FieldViolation("pythonExecutor.targetType", "must be MODULE or FILENAME")
    if not executor.target:
        yield FieldViolation("pythonExecutor.target", "is required")
    elif executor.target_type == "MODULE" and not all(map(str.isidentifier, executor.target.split("."))):
        yield FieldViolation("pythonExecutor.target", "must be a module's dotted name, such as train.main")


def _size_violations(job: BatchJobCreate) -> Iterator[FieldViolation]:
    arguments = _arguments(job)
    for field, text in arguments:
        if len(text) > MAX_STRING_BYTES:
            yield FieldViolation(field, f"must be of at most {MAX_STRING_BYTES:,} bytes")
    # Each string is followed by a NUL where the kernel keeps it, and a variable has its `=`.
    total = sum(len(text) + 1 for _, text in arguments)
    total += sum(len(name.encode()) + len(value.encode()) + 2 for name, value in job.env_vars.items())
    if total > MAX_STRINGS_BYTES:
        yield FieldViolation(
            "envVars",
            f"with the executor's arguments must be of at most {MAX_STRINGS_BYTES:,} bytes, not {total:,}",
        )


def _arguments(job: BatchJobCreate) -> list[tuple[str, bytes]]:
    """What the executors put on a command line, each with its wire path."""
    found: list[tuple[str, bytes]] = []
    if job.python_executor is not None:
        found.append(("pythonExecutor.target", job.python_executor.target.encode()))
        found += [(f"pythonExecutor.args[{i}]", arg.encode()) for i, arg in enumerate(job.python_executor.args)]
    if job.notebook_executor is not None:
        found.append(("notebookExecutor.notebookFilename", job.notebook_executor.notebook_filename.encode()))
        found.append(("notebookExecutor.parameters", dump_json(job.notebook_executor.parameters)))
    if job.shell_executor is not None:
        found.append(("shellExecutor.command", job.shell_executor.command.encode()))
    return found
