"""The body of a new job, made of a submission's arguments. Pure but for the files that it names.

The wire's own fields are taken too, in either case (`rank_failure_policy`, `rankFailurePolicy`); they are put over
what the arguments say, and the platform judges them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

from client.calls.job_files import files_of, texts
from client.errors import NotSendable
from client.reads.wire import camel

#: A time span: seconds, or a timedelta, or as the wire has it ("90s").
Span = float | timedelta | str


class JobArguments(TypedDict, total=False):
    """What a submission may say. At most one of `shell`, `python`, `module` and `notebook`; without one the
    image's own command is run.

    `python` is a file in the working directory and its arguments, `module` a module and its arguments. `notebook`
    is a path of this machine, or a whole notebook. `files` are paths of this machine, or contents by name.
    """

    name: str
    image: str
    pool: str
    ranks: int
    shell: str
    python: Sequence[str]
    module: Sequence[str]
    notebook: str | Path | Mapping[str, Any]
    parameters: Mapping[str, Any]
    files: Iterable[str | Path] | Mapping[str, str | Path]
    env: Mapping[str, str]
    secret_env: Mapping[str, str]
    pull_secret: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    cpu: str | float
    memory: str
    shm: str
    run_timeout: Span
    queue_timeout: Span
    pull_timeout: Span
    stop_grace: Span
    keep_for: Span
    attempts: int
    failure_policy: str
    priority: int
    working_directory: str
    shared: bool
    fields: Mapping[str, Any]


_SAME = {
    "name": "displayName",
    "image": "imageRef",
    "pool": "nodePoolId",
    "ranks": "numRanks",
    "env": "envVars",
    "secret_env": "secretEnvVars",
    "pull_secret": "imagePullSecret",
    "annotations": "annotations",
    "labels": "nodeLabels",
    "failure_policy": "rankFailurePolicy",
    "priority": "priority",
    "working_directory": "workingDirectory",
    "shared": "shared",
}
_SPANS = {"stop_grace": "stopGracePeriod", "keep_for": "ttlAfterFinished"}
_TIMEOUTS = {"queue_timeout": "queue", "pull_timeout": "pull", "run_timeout": "run"}
_RESOURCES = {"cpu": "cpu", "memory": "memory", "shm": "shmSize"}
_EXECUTORS = ("shell", "python", "module", "notebook")
#: Of a body: maps of which a part is changed without the rest.
_PARTLY_CHANGED = (
    "envVars",
    "secretEnvVars",
    "annotations",
    "nodeLabels",
    "timeouts",
    "resources",
    "retryPolicy",
    "files",
)
_KNOWN = JobArguments.__annotations__.keys()


def job_body(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a job. Raises NotSendable, TypeError for an argument that there is not."""
    unknown = [name for name in arguments if name not in _KNOWN]
    if unknown:
        raise TypeError(f"a job has no argument {unknown[0]!r}; fields of the wire go into `fields`")
    given = {name: value for name, value in arguments.items() if value is not None}
    body: dict[str, Any] = {wire: given[name] for name, wire in _SAME.items() if name in given}
    body |= {wire: span(given[name]) for name, wire in _SPANS.items() if name in given}
    for field, names, write in (("timeouts", _TIMEOUTS, span), ("resources", _RESOURCES, str)):
        parts = {wire: write(given[name]) for name, wire in names.items() if name in given}
        body |= {field: parts} if parts else {}
    if "attempts" in given:
        body["retryPolicy"] = {"maxAttempts": given["attempts"]}
    body |= _executor(given)
    files = given.get("files")
    if files:
        body["files"] = _contents(files) if isinstance(files, Mapping) else files_of(map(Path, files))
    return {**body, **{camel(name): value for name, value in given.get("fields", {}).items()}}


def over(whole: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A body with changes put over it: one variable, one clock; one executor takes the place of another."""
    replaced = any(name.endswith("Executor") for name in changes)
    kept = {name: value for name, value in whole.items() if not (replaced and name.endswith("Executor"))}
    parts = {
        name: {**kept[name], **changes[name]}
        for name in _PARTLY_CHANGED
        if isinstance(kept.get(name), Mapping) and isinstance(changes.get(name), Mapping)
    }
    return {**kept, **changes, **parts}


def span(given: Span) -> str:
    """A time span on the wire."""
    if isinstance(given, timedelta):
        given = given.total_seconds()
    return given if isinstance(given, str) else f"{given:.9f}".rstrip("0").rstrip(".") + "s"


def _executor(given: Mapping[str, Any]) -> dict[str, Any]:
    named = [name for name in _EXECUTORS if name in given]
    if len(named) > 1:
        raise NotSendable(f"a job runs one thing, not both {named[0]} and {named[1]}")
    if "shell" in given:
        return {"shellExecutor": {"command": given["shell"]}}
    for name, kind in (("python", "FILENAME"), ("module", "MODULE")):
        if name in given:
            target, *arguments = [given[name]] if isinstance(given[name], str) else given[name]
            return {"pythonExecutor": {"targetType": kind, "target": target, "args": list(map(str, arguments))}}
    if "notebook" in given:
        return {"notebookExecutor": _notebook(given["notebook"], given.get("parameters", {}))}
    return {}


def _notebook(given: str | Path | Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {"content": given, "parameters": dict(parameters)}
    path = Path(given)
    text = texts({path.name: path})[path.name]
    try:
        content = json.loads(text)
    except ValueError:
        raise NotSendable(f"{path} is not a notebook: it is not JSON") from None
    return {"notebookFilename": path.name, "content": content, "parameters": dict(parameters)}


def _contents(files: Mapping[str, str | Path]) -> dict[str, str]:
    """Contents by name: a str is the content itself, a Path the file that has it."""
    read = texts({name: path for name, path in files.items() if isinstance(path, Path)})
    return {name: read[name] if isinstance(each, Path) else each for name, each in files.items()}
