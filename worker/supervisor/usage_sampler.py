"""Asking an engine what each rank uses, every few seconds, so that it is never much that is asked at once.

Of a rank that has ended its engine knows nothing any more, so that what it used after its last sample is not
known, nor anything of one that ran for less than a second. Young ranks are therefore asked about sooner: within
their first second, and again whenever they are twice as old, up to the usual period.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from core.errors import EngineError
from worker.engine import RankKey
from worker.supervisor.rank_watch import RankWatch
from worker.supervisor.scope import NodeScope

_TICK_SECONDS = 1.0
#: Of one engine, in one tick as well as at the same time. An engine with a collector looks at all containers that
#: are asked about, one after the other, some milliseconds each; and answers all of them at its next turn.
AT_ONCE = 32
#: An engine that takes longer over one sample is busy with something better.
_PATIENCE_SECONDS = 10.0
#: Of the time between two samples, the least: ranks that began together are not asked about together for ever.
_EARLIEST = 0.9


class UsageSampler:
    """Of one node's ranks, as `watching` has them."""

    def __init__(self, scope: NodeScope, watching: Mapping[RankKey, RankWatch]) -> None:
        self._scope = scope
        self._writer = scope.process.usage
        self._watching = watching
        #: since when each is seen, and when it is to be asked about (loop time)
        self._seen_at: dict[RankKey, float] = {}
        self._due_at: dict[RankKey, float] = {}
        self._asking: set[RankKey] = set()
        self._begun = asyncio.Event()

    def notice(self) -> None:
        """A rank is watched from now on."""
        self._begun.set()

    async def run(self) -> None:
        """Sample until cancelled; at once over where that is not wanted."""
        period = self._scope.settings.usage_seconds
        if not period:
            return
        tick = min(_TICK_SECONDS, period)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    if not self._watching and not self._due_at:
                        # A node that is quiet costs nothing.
                        self._begun.clear()
                        await self._begun.wait()
                    await asyncio.sleep(tick * random.uniform(_EARLIEST, 1))  # noqa: S311
                    for key in self.turn(asyncio.get_running_loop().time()):
                        group.create_task(self._sample(key, self._watching[key]), name=f"usage {key.rank}")
        finally:
            self._writer.note_watched(self._scope.node.id, 0)
            for key in self._due_at:
                self._writer.end(key)

    def turn(self, now: float) -> list[RankKey]:
        """Whose turn it is (loop time): those that have waited longest, no more than may be under way at once.

        They are under way from then on.
        """
        running = {key for key, watch in self._watching.items() if not watch.ended.is_set()}
        for key in self._due_at.keys() - running:
            del self._due_at[key], self._seen_at[key]
            self._writer.end(key)
        for key in running - self._due_at.keys():
            self._due_at[key] = self._seen_at[key] = now
        self._writer.note_watched(self._scope.node.id, len(running))
        due = [key for key, at in self._due_at.items() if at <= now and key not in self._asking]
        chosen = sorted(due, key=self._due_at.__getitem__)[: AT_ONCE - len(self._asking)]
        self._asking.update(chosen)
        return chosen

    def _period(self, age: float) -> float:
        """Until the next sample of a rank that has been seen for so long."""
        wanted = min(self._scope.settings.usage_seconds, max(age, _TICK_SECONDS))
        return max(wanted, self._writer.least_period_seconds) * random.uniform(_EARLIEST, 1)  # noqa: S311

    async def _sample(self, key: RankKey, watch: RankWatch) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                usage = await self._scope.engine.usage(watch.container_id)
        except (EngineError, TimeoutError):
            # Whether the engine is there others find out; the next sample says more than this one would have.
            usage = None
        finally:
            self._asking.discard(key)
        if key in self._due_at:
            self._due_at[key] = begun + self._period(begun - self._seen_at[key])
        if usage is not None:
            self._writer.note(key, usage)
            if key not in self._due_at:
                self._writer.end(key)
