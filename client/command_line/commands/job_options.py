"""What can be said of a new job on the command line, and the submission that it is."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from client.calls.job_body import job_body, over
from client.calls.job_files import name_there
from client.command_line.spans import seconds_of
from client.errors import NotSendable

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[COMMAND]...", help="A .py or .ipynb file to send, python …, or a shell line."),
]
Image = Annotated[str | None, typer.Option("--image", "-i", help="Image; else the pool's own.")]
Ranks = Annotated[int | None, typer.Option("--ranks", "-n", help="How many run together; 1.")]
Variables = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="Variable; K alone: as it is here.")
]
Name = Annotated[str | None, typer.Option("--name", help="A name for people.")]
Pool = Annotated[str | None, typer.Option("--pool", help="Pool; the profile's, else default.")]
NewId = Annotated[str, typer.Option("--id", help="The job's id; else the platform's choice.")]
Files = Annotated[
    list[Path] | None, typer.Option("--files", "-f", metavar="PATH", help="File or folder to send along.")
]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", metavar="K=V", help="Of a notebook; V is JSON or text.")
]
SecretVariables = Annotated[
    list[str] | None, typer.Option("--secret-env", metavar="K=ID", help="Variable from a secret.")
]
PullSecret = Annotated[str | None, typer.Option("--pull-secret", metavar="ID", help="Secret to pull the image.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="SPAN", help="For its run, as 90s, 10m, 2h.")]
QueueTimeout = Annotated[
    str | None, typer.Option("--queue-timeout", metavar="SPAN", help="For its wait for room.")
]
PullTimeout = Annotated[str | None, typer.Option("--pull-timeout", metavar="SPAN", help="For the image.")]
Cpu = Annotated[str | None, typer.Option("--cpu", help="Of each rank, as 1.5.")]
Memory = Annotated[str | None, typer.Option("--memory", help="Of each rank, as 4Gi.")]
Shm = Annotated[str | None, typer.Option("--shm", help="Shared memory of each rank, as 1Gi.")]
Labels = Annotated[
    list[str] | None, typer.Option("--node-label", metavar="K=V", help="Run only on nodes that have it.")
]
Annotations = Annotated[
    list[str] | None, typer.Option("--annotation", metavar="K=V", help="A note to find it by.")
]
Priority = Annotated[int | None, typer.Option("--priority", help="-100 to 100, 0; higher goes first.")]
Attempts = Annotated[int | None, typer.Option("--attempts", help="How often it is tried at the most.")]
FailurePolicy = Annotated[
    str | None,
    typer.Option("--on-rank-failure", metavar="POLICY", help="FAIL_ALL, RESTART_ALL, IGNORE, MAIN_RANK_DECIDES."),
]
Workdir = Annotated[str | None, typer.Option("--workdir", help="Working directory in the image.")]
KeepFor = Annotated[
    str | None, typer.Option("--keep-for", metavar="SPAN", help="Delete it so long after its end.")
]
Shared = Annotated[bool | None, typer.Option("--shared", help="All of the account may cancel and clone it.")]
Body = Annotated[
    Path | None,
    typer.Option("--body", metavar="FILE", help="A whole job as JSON, - for stdin; options are put over."),
]


def body_of(options: Mapping[str, Any], words: Sequence[str] = (), *, pool: str = "") -> dict[str, Any]:
    """The body of a job, from the options above by their names. Raises NotSendable, BadParameter."""
    given = {name: value for name, value in options.items() if value not in (None, [])}
    whole = _read_body(given.pop("body", None))
    files = list(given.pop("files", ()))
    for name, option in _PAIRS.items():
        if name in given:
            given[name] = _pairs(given[name], option, is_variable=name == "env")
    for name in ("run_timeout", "queue_timeout", "pull_timeout", "keep_for"):
        if name in given:
            given[name] = seconds_of(given[name])
    parameters = {key: _json_or_text(value) for key, value in given.pop("parameters", {}).items()}
    what, sent = _executor(words, parameters)
    if parameters and "notebook" not in what:
        raise typer.BadParameter("--parameter is for a notebook; other programs take arguments, or -e variables")
    body = job_body({**given, **what, "files": [*files, *sent]})
    merged = over(whole, body)
    if pool:
        merged.setdefault("nodePoolId", pool)
    return merged


_PAIRS = {
    "env": "--env",
    "secret_env": "--secret-env",
    "labels": "--node-label",
    "annotations": "--annotation",
    "parameters": "--parameter",
}


def _executor(words: Sequence[str], parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[Path]]:
    """What is to be run, and the file of this machine that it needs."""
    match words:
        case []:
            return {}, []
        case [script, *arguments] if script.endswith(".py") and Path(script).is_file():
            path = Path(script)
            return {"python": [name_there(path), *arguments]}, [path]
        case [notebook] if notebook.endswith(".ipynb") and Path(notebook).is_file():
            return {"notebook": notebook, "parameters": parameters}, []
        case [notebook, *_] if notebook.endswith(".ipynb") and Path(notebook).is_file():
            raise typer.BadParameter("a notebook takes no arguments, but parameters: -p rate=0.1, before its name")
        case [file] if file.endswith((".py", ".ipynb")):
            raise NotSendable(f"there is no file {file} here; one of the image is run by: -- python {file}")
        case ["python", "-m", module, *arguments]:
            return {"module": [module, *arguments]}, []
        case ["python", target, *arguments] if not target.startswith("-"):
            return {"python": [target, *arguments]}, []
        case [line]:
            return {"shell": line}, []
        case _:
            # Each word is one word there too.
            return {"shell": shlex.join(words)}, []


def with_parameters(executor: Mapping[str, Any] | None, given: Sequence[str]) -> dict[str, Any]:
    """A job's notebook executor with some parameters changed. Raises NotSendable where it has none."""
    if executor is None:
        raise NotSendable("the job runs no notebook, and parameters are a notebook's")
    changed = {key: _json_or_text(value) for key, value in _pairs(given, "--parameter", is_variable=False).items()}
    return {**executor, "parameters": {**executor.get("parameters", {}), **changed}}


def _pairs(given: Sequence[str], option: str, *, is_variable: bool) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals and is_variable and key in os.environ:
            value = os.environ[key]
        elif not equals or not key:
            missing = f"; {key} is not set here" if is_variable and not equals else ""
            raise typer.BadParameter(f"{option} {each} is not of the form K=V{missing}")
        pairs[key] = value
    return pairs


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _read_body(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        body = json.loads(text)
    except OSError as error:
        raise NotSendable(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise NotSendable(f"{path} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise NotSendable(f"{path} is not a job: a job is a JSON object")
    return body
