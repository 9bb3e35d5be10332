"""Signals to processes, by their pids, and how long a fault lasts.

Servers have their own verbs (`tests.lab.servers`), hosts too.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.lab.platform import Platform, wait_until


def let_pass(seconds: float) -> None:
    """How long something is done, or the pace at which it is: time itself is what is wanted, and no condition."""
    time.sleep(max(0.0, seconds))


def crash(platform: Platform, name: str) -> None:
    """SIGKILL a process that the keeper is to start again."""
    os.killpg(platform.pids[name], signal.SIGKILL)


def freeze(pid: int) -> None:
    """SIGSTOP; returns when it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_frozen(pid), 10, f"process {pid} is stopped")


def thaw(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def frozen(platform: Platform) -> list[str]:
    """The names of the platform's processes that are stopped."""
    return [name for name, pid in platform.pids.items() if is_frozen(pid)]
