"""Many streams, one look: whoever watches a job in this process is told by a single task that asks the rows.

Two queries a look, whatever the number of streams; no notification is needed on the way of a job, and none
can be missed. The keys of open streams are asked for again all the time, so that a revoked one ends its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from api.looking import Looking
from core.accounts import Caller
from core.api_keys import still_valid
from core.database import Database
from core.jobs.reading import JobRecord
from core.jobs.watching import Move, News, look_at
from core.states import JOB_ENDED

#: A key's end is noticed within this and one look.
_KEY_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Event:
    """Something to tell: the job as a whole (`job`, `end`), a new status of it, a move, or that it is gone."""

    name: Literal["job", "status", "state", "end", "deleted"]
    job: JobRecord | None = None
    move: Move | None = None


#: State, status, place in the queue, estimated start: what is told when it changes. The scheduler writes the last
#: two down rounded, so that not every step of a long queue is an event for all who wait in it.
_Told = tuple[str, str, int, datetime | None]


def _told(job: JobRecord) -> _Told:
    return job.state.value, job.status, job.queue_position, job.estimated_start_at


@dataclass(eq=False)
class _Watcher:
    """One stream: what it has been told, and what it is to be told."""

    key_id: str
    job_key: str
    last_move: int
    told: _Told
    events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)

    def tell(self, news: News) -> None:
        """Queue what is new; None at the end of it all."""
        for move in news.moves:
            if move.id > self.last_move:
                self.last_move = move.id
                self.told = (move.state, move.status, 0, None)
                self.events.put_nowait(Event("state", move=move))
        job = news.job
        if job is None:
            self.events.put_nowait(Event("deleted"))
            self.events.put_nowait(None)
            return
        if self.told != _told(job) and not news.moves:
            self.told = _told(job)
            self.events.put_nowait(Event("status", job))
        if job.state in JOB_ENDED and not news.moves:
            self.events.put_nowait(Event("end", job))
            self.events.put_nowait(None)


class JobWatch:
    """The streams of one api process. Used on its event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watchers: set[_Watcher] = set()
        self._looking = Looking("watch", self._look, lambda: bool(self._watchers))
        #: when the keys are to be asked for again (loop time)
        self._keys_due = 0.0

    async def events(self, caller: Caller, record: JobRecord, last_move: int) -> AsyncIterator[Event]:
        """A job as it is, then every move after the one of that id and every new status, until its end.

        Ends early when the caller's key does.
        """
        watcher = _Watcher(caller.key_id, record.id, last_move, _told(record))
        yield Event("job", record)
        self._watchers.add(watcher)
        self._looking.begin()
        try:
            while (event := await watcher.events.get()) is not None:
                yield event
        finally:
            self._watchers.discard(watcher)

    async def close(self) -> None:
        """End the look; the server ends the streams."""
        await self._looking.close()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        await self._tell_news()
        if loop.time() >= self._keys_due:
            self._keys_due = loop.time() + _KEY_LOOK_SECONDS
            await self._end_without_key()

    async def _tell_news(self) -> None:
        watchers = list(self._watchers)
        after: dict[str, int] = {}
        for watcher in watchers:
            after[watcher.job_key] = min(watcher.last_move, after.get(watcher.job_key, watcher.last_move))
        news = await asyncio.to_thread(look_at, self._database, after)
        for watcher in watchers:
            watcher.tell(news[watcher.job_key])

    async def _end_without_key(self) -> None:
        watchers = list(self._watchers)
        valid = await asyncio.to_thread(still_valid, self._database, {watcher.key_id for watcher in watchers})
        for watcher in watchers:
            if watcher.key_id not in valid:
                watcher.events.put_nowait(None)
