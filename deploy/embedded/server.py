"""What both embedded servers share: the record of the running process and the wait for it to answer."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from deploy.processes import ProcessIdentity, SetupError, is_running, stop, tail, wait_until

START_SECONDS = 30.0


class ServerRecord:
    """A file beside the data that says which process serves it, readable by whoever stops it later."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[ProcessIdentity, dict[str, int]] | None:
        """The process that was recorded and the facts recorded with it; None where there is no record."""
        try:
            record = json.loads(self._path.read_text())
            return ProcessIdentity(**record["process"]), record["facts"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def running(self) -> ProcessIdentity | None:
        """The recorded process, if it is still that process."""
        record = self.read()
        return record[0] if record and is_running(record[0]) else None

    def write(self, process: ProcessIdentity, facts: dict[str, int]) -> None:
        """Record a process, in one step, so that a reader never sees half a record."""
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({"process": asdict(process), "facts": facts}))
        draft.chmod(0o600)
        draft.replace(self._path)


def wait_until_ready(name: str, process: ProcessIdentity, ready: Callable[[], bool], log: Path) -> None:
    """Return when the server answers; SetupError with the end of its log when it died or took too long."""

    def answers() -> bool:
        if ready():
            return True
        if not is_running(process):
            raise SetupError(f"{name} ended while it started; its log {log} ends:\n{tail(log)}")
        return False

    if not wait_until(answers, START_SECONDS):
        stop(process, ask=signal.SIGQUIT)
        raise SetupError(f"{name} did not answer in {START_SECONDS:.0f} s; its log {log} ends:\n{tail(log)}")
