"""Work that takes much memory or processor time: so many at a time in one process, and others wait a little."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Unavailable


class Turns:
    """`at_once` may be held at the same time. `what` is done meanwhile, for the sentence of a refusal."""

    def __init__(self, at_once: int, wait_seconds: float, what: str) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._wait_seconds, self._what = wait_seconds, what

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold one. Raises Unavailable where none becomes free in time."""
        if not self._free.acquire(timeout=self._wait_seconds):
            raise Unavailable(f"too much at once: {self._what}")
        try:
            yield
        finally:
            self._free.release()
