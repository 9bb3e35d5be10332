"""What ranks of one attempt have to say to the rows at the same time, said together.

The first is never kept waiting: what comes while it is being written goes in the next statement, all at once. A
gang of 64 that ends takes the job's lock a few times then, and its verdict is judged as often, not 64 times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from worker.engine import RankKey

V = TypeVar("V")
R = TypeVar("R")


class Gathering(Generic[V, R]):
    """`write` gets a job's id, an attempt and what was given for each rank; what it returns, or raises, is
    everybody's who gave something."""

    def __init__(self, write: Callable[[str, int, dict[int, V]], Coroutine[None, None, R]]) -> None:
        self._write = write
        #: by (job, attempt): what is still taking values, and the last that was begun
        self._open: dict[tuple[str, int], tuple[dict[int, V], asyncio.Task[R]]] = {}
        self._last: dict[tuple[str, int], asyncio.Task[R]] = {}

    async def give(self, key: RankKey, value: V) -> R:
        """Return when the rank's part has been written. A rank gives one thing at a time."""
        attempt = (key.job_id, key.attempt)
        if attempt not in self._open:
            values: dict[int, V] = {}
            written = asyncio.create_task(self._write_after(self._last.get(attempt), attempt, values))
            self._open[attempt] = values, written
            self._last[attempt] = written
            written.add_done_callback(lambda task: self._forget(attempt, task))
        values, written = self._open[attempt]
        values[key.rank] = value
        # Shielded: one that is cancelled while it waits takes nothing from the others.
        return await asyncio.shield(written)

    async def _write_after(
        self, before: asyncio.Task[R] | None, attempt: tuple[str, int], values: dict[int, V]
    ) -> R:
        if before is not None:
            await asyncio.wait({before})
        del self._open[attempt]
        return await self._write(*attempt, values)

    def _forget(self, attempt: tuple[str, int], task: asyncio.Task[R]) -> None:
        if self._last.get(attempt) is task:
            del self._last[attempt]
