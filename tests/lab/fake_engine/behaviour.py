"""What a fake container does, as a value: how long it runs, what it prints, how it ends. Pure.

A container gets its behaviour from the first of: its environment variable `FAKE_ENGINE` (JSON, see `from_json`),
the engine's `behaviour_of` hook, its image, and its command where `shell` can read that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

#: The environment variable of a container that says what it does: a user's job can carry it to any engine.
VARIABLE = "FAKE_ENGINE"

STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """An engine's no: HTTP status and the sentence of its body."""

    status: int
    message: str


#: What real engines say of these faults (20.10).
DISK_FULL = Refusal(500, "mkdir /var/lib/docker/overlay2/0123abcd-init: no space left on device")
ENGINE_ERROR = Refusal(500, "failed to create shim task: ttrpc: closed: unknown")


def no_such_program(name: str) -> Refusal:
    """The start of a container without an init, whose command is not in the image."""
    why = f'exec: "{name}": ' + (
        f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
    )
    return Refusal(
        400,
        "failed to create shim task: OCI runtime create failed: runc create failed: "
        f"unable to start container process: {why}: unknown",
    )


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes printed `at_seconds` after the start, and `times - 1` times again every `every_seconds`."""

    data: bytes
    at_seconds: float = 0.0
    stream: int = STDOUT
    times: int = 1
    every_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Termination:
    """What SIGTERM does: the container ends `after_seconds` with `exit_code`; None: it takes no notice."""

    after_seconds: float | None = 0.0
    exit_code: int = 143


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One run of a container. `seconds` None: until it is killed. `files` are found in it by their paths."""

    seconds: float | None = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    #: whether a signal is what ends it, and not its own exit
    by_signal: bool = False
    output: tuple[Output, ...] = ()
    termination: Termination = Termination()
    create_refusal: Refusal | None = None
    start_refusal: Refusal | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)

    def timeline(self) -> Iterator[tuple[float, int, bytes]]:
        """Everything printed, in time order: seconds after the start, stream, bytes."""
        if all(output.times == 1 for output in self.output):
            ordered = sorted(self.output, key=lambda output: output.at_seconds)
            return iter([(output.at_seconds, output.stream, output.data) for output in ordered])
        spread = [
            (output.at_seconds + turn * output.every_seconds, output.stream, output.data)
            for output in self.output
            for turn in range(output.times)
        ]
        return iter(sorted(spread, key=lambda each: each[0]))


def from_json(text: str | bytes) -> Behaviour:
    """A behaviour from the value of `FAKE_ENGINE`. Raises ValueError, KeyError, TypeError.

    `{"seconds": 1.5 | null, "exitCode": 0, "oomKilled": false, "bySignal": false,
    "output": ["line\\n" | {"data", "at", "stream", "times", "every"}],
    "onTerm": {"after": 0 | null, "exitCode": 143},
    "createRefusal" | "startRefusal": {"status": 500, "message": "..."}, "files": {"/path": "text"}}`
    """
    said: dict[str, Any] = orjson.loads(text)
    told = said.pop("onTerm", {})
    behaviour = Behaviour(
        seconds=said.pop("seconds", 0.0),
        exit_code=int(said.pop("exitCode", 0)),
        oom_killed=bool(said.pop("oomKilled", False)),
        by_signal=bool(said.pop("bySignal", False)),
        output=tuple(_output(each) for each in said.pop("output", ())),
        termination=Termination(told.get("after", 0.0), int(told.get("exitCode", 143))),
        create_refusal=_refusal(said.pop("createRefusal", None)),
        start_refusal=_refusal(said.pop("startRefusal", None)),
        files={path: data.encode() for path, data in said.pop("files", {}).items()},
    )
    if said:
        raise ValueError(f"{VARIABLE} has unknown members: {', '.join(said)}")
    return behaviour


def _output(said: str | Mapping[str, Any]) -> Output:
    if isinstance(said, str):
        return Output(said.encode())
    return Output(
        said["data"].encode(),
        float(said.get("at", 0.0)),
        int(said.get("stream", STDOUT)),
        int(said.get("times", 1)),
        float(said.get("every", 0.0)),
    )


def _refusal(said: Mapping[str, Any] | None) -> Refusal | None:
    return None if said is None else Refusal(int(said["status"]), str(said["message"]))
