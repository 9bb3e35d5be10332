"""What set-up tells the person who waits: one line per step, with its time. Does nothing itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.processes import SetupError

_LOCK = threading.Lock()
_BEGAN = time.monotonic()


class Step:
    """The step under way; `result` is what its line ends with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.result = "done"


@contextmanager
def step(name: str) -> Iterator[Step]:
    """Time a step and print its line when it is over. Steps may run side by side in threads."""
    began = time.monotonic()
    current = Step(name)
    try:
        yield current
    except BaseException:
        current.result = "FAILED"
        raise
    finally:
        say(f"{time.monotonic() - began:6.1f} s  {name:<10}  {current.result}")


def say(line: str) -> None:
    """Print one whole line at once."""
    with _LOCK:
        print(line, flush=True)


def elapsed_seconds() -> float:
    """Seconds since the program began."""
    return time.monotonic() - _BEGAN


def is_debian() -> bool:
    """Whether this host installs packages with apt: Debian, Ubuntu and what names itself like them."""
    try:
        facts = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        return False
    lines = dict(line.split("=", 1) for line in facts.splitlines() if "=" in line)
    names = f"{lines.get('ID', '')} {lines.get('ID_LIKE', '')}".replace('"', "").split()
    return "debian" in names or "ubuntu" in names


def require(condition: bool, sentence: str) -> None:
    """Raise SetupError with the sentence unless the condition holds."""
    if not condition:
        raise SetupError(sentence)
