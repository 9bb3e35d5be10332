"""Work that is asked for regularly, kept to a share of the time however long it has come to take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Paced:
    """Runs what is asked for, one at a time; leaves it out while it would take more of the time than `share`, or
    within `least_seconds` of the last time."""

    def __init__(self, share: float, *, least_seconds: float = 0.0) -> None:
        self._share = share
        self._least_seconds = least_seconds
        self._running = threading.Lock()
        self._not_before = 0.0

    def run(self, work: Callable[[], None]) -> bool:
        """Whether it was run. What it raises is passed on."""
        if not self._running.acquire(blocking=False):
            return False
        try:
            begun = time.monotonic()
            if begun < self._not_before:
                return False
            try:
                work()
            finally:
                ended = time.monotonic()
                self._not_before = max(begun + self._least_seconds, begun + (ended - begun) / self._share)
            return True
        finally:
            self._running.release()
