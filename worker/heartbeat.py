"""How a process says that it does its work: a file whose time is the moment until which it is taken to be well.

`python -m worker.heartbeat` is what a health check runs: it exits with 0 where that moment is still to come. It
reads one variable and imports nothing of ours, since it is asked every few seconds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Final

_VARIABLE: Final = "LONGSHORE_HEARTBEAT_FILE"
#: A busy host may hold a process up for as long as this.
_PATIENCE_SECONDS: Final = 30.0


class Heartbeat:
    """Of a process that beats every `period_seconds`; without a file nobody asks."""

    def __init__(self, file: Path | None, period_seconds: float) -> None:
        self._file, self._seconds = file, max(_PATIENCE_SECONDS, 3 * period_seconds)

    def beat(self) -> None:
        """The work goes on. A file that cannot be written looks like a process that does not work."""
        if self._file is None:
            return
        until = time.time() + self._seconds
        with contextlib.suppress(OSError):
            # Made without another time meanwhile: whoever checks may look between the two.
            self._file.open("ab").close()
            os.utime(self._file, (until, until))


def fault(file: str, now: float) -> str | None:
    """Why the process that beats there is not well; None where it is."""
    if not file:
        return f"{_VARIABLE} names no file"
    try:
        left = Path(file).stat().st_mtime - now
    except OSError as error:
        return f"{file}: {error.strerror}"
    return None if left > 0 else f"{file}: no heartbeat, late by {-left:.0f} s"


if __name__ == "__main__":
    sys.exit(fault(os.environ.get(_VARIABLE, ""), time.time()))
