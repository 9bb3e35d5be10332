"""Processes that outlive their starter: identity, detached start, stop. Which ones there are lives elsewhere.

A pid alone is no identity: the kernel hands it out again. A pid with its start time and the boot it belongs
to is one, so that a recorded pid which now names a stranger is never sent a signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Kept, because a `Popen` that is collected while its process runs complains, and would not be reaped.
_STARTED: list[subprocess.Popen[bytes]] = []


class SetupError(Exception):
    """Set-up cannot go on; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, for ever: pid, start time in clock ticks since boot, and which boot."""

    pid: int
    started_ticks: int
    boot: str


@dataclass(frozen=True)
class Account:
    """An account of the system that a server runs as."""

    name: str
    uid: int
    gid: int


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity of a running process; None where there is none, or only its zombie."""
    _reap()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold spaces and brackets; what follows the last one is regular (proc(5)).
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return ProcessIdentity(pid, int(fields[19]), _boot())


def is_running(identity: ProcessIdentity) -> bool:
    """Whether this very process is still there."""
    return identity_of(identity.pid) == identity


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path = Path("/"),
    account: Account | None = None,
) -> ProcessIdentity:
    """Start a process in its own session, its output appended to `log` (0600).

    Its own session keeps Ctrl-C and the end of a terminal away from it: it ends when we tell it to.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=directory,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            **_as(account),
        )
    except OSError as error:
        raise SetupError(f"cannot start {command[0]}: {error.strerror}; see that it is installed") from error
    finally:
        os.close(descriptor)
    _STARTED.append(process)
    identity = identity_of(process.pid)
    # Gone already: an identity that nothing will ever match, and the log says why.
    return identity or ProcessIdentity(process.pid, 0, _boot())


def run(
    command: Sequence[str],
    *,
    account: Account | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a short command to its end, both outputs captured into `stdout`."""
    return subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=None if environment is None else dict(environment),
        check=False,
        **_as(account),
    )


def stop(
    identity: ProcessIdentity,
    *,
    ask: signal.Signals = signal.SIGTERM,
    insist: signal.Signals = signal.SIGKILL,
    grace_seconds: float = 20.0,
) -> bool:
    """Ask a process to end, and insist after the grace. True when it was there and is gone now."""
    if not is_running(identity):
        return False
    for sign, seconds in ((ask, grace_seconds), (insist, 10.0)):
        try:
            os.kill(identity.pid, sign)
        except ProcessLookupError:
            return True
        if wait_until(lambda: not is_running(identity), seconds):
            return True
    raise SetupError(f"process {identity.pid} does not end; look at it with `ps -fp {identity.pid}`")


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Ask for a condition again and again; whether it became true before the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        # Of an end of a process that is not our child, of a port, of what a server answers, nothing tells.
        time.sleep(every)
    return True


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _as(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reap() -> None:
    _STARTED[:] = [process for process in _STARTED if process.poll() is None]
