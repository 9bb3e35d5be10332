"""What the kernel says of a process: processor time and memory (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def parent_of(pid: int) -> int:
    """The process that made it."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the program's name: state, parent, … (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, and of the children it has and had."""
    total = sum(map(int, _stat(pid)[11:15]))
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                total += sum(map(int, _stat(int(child))[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> int:
    """The most memory that it ever had."""
    return _status_mib(pid, "VmHWM")


def resident_mib(pid: int) -> int:
    """The memory that it has."""
    return _status_mib(pid, "VmRSS")


def resident_kib(pid: int) -> int:
    """The same, for what is small."""
    return _status_kib(pid, "VmRSS")


def _status_mib(pid: int, field: str) -> int:
    return _status_kib(pid, field) >> 10


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0
