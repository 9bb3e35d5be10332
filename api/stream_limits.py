"""How many streams an account may hold open at the same time in one api process. No stream is made here.

Counted in the process on purpose: a stream lives and dies with its process, and so does the count, whatever
way it dies. With several processes an account has the limit in each.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.measures import STREAMS_OPEN
from core.errors import ResourceExhausted


class Streams:
    """The open streams of each account. Safe to use from threads and from coroutines: it never waits."""

    def __init__(self, max_per_account: int) -> None:
        self._max = max_per_account
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def open(self, account: str) -> Iterator[None]:
        """Count one stream until the block is left. Raises ResourceExhausted where the account has its number.

        Enter it before the answer begins: afterwards it is too late for a 429.
        """
        with self._lock:
            if self._open[account] >= self._max:
                raise ResourceExhausted(
                    f"the account has {self._max} streams open, which is the most that it may have; close one"
                )
            self._open[account] += 1
        try:
            with STREAMS_OPEN.track_inprogress():
                yield
        finally:
            with self._lock:
                self._open[account] -= 1
                if not self._open[account]:
                    del self._open[account]

    def count(self, account: str) -> int:
        """How many are open."""
        with self._lock:
            return self._open.get(account, 0)
