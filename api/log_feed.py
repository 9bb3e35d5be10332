"""New output of jobs, read once for all who follow it in this process.

A feed is an attempt's output from the moment on at which somebody began to follow it; what was stored before, its
followers read by pages, each at its own pace. A follower that does not keep up is let go by the feed and reads by
pages until it has caught up: nobody's slowness costs anybody else anything, and memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from api.looking import Looking
from core.database import Database
from core.errors import OutputRemoved
from core.log_filter import LogFilter
from core.log_tail import Attempt, NewEntry, edge, look_at
from core.logs import LogPage, Position, page_in_place_of, read_page
from core.object_store import ObjectStore

T = TypeVar("T")

#: Pages of stored output that are read at the same time, for all followers: the rest of a process goes on.
READERS = 4
#: Looks' worth of output that a follower may be behind.
_MAX_BEHIND = 40


@dataclass(eq=False)
class Follower:
    """One stream's end of a feed. `lagging`: it was too slow, and gets no more."""

    news: asyncio.Queue[Sequence[NewEntry]] = field(default_factory=lambda: asyncio.Queue(_MAX_BEHIND))
    lagging: bool = False

    def tell(self, entries: Sequence[NewEntry]) -> None:
        """Hand over what is new; nothing new at all wakes it up."""
        self.lagging = self.lagging or self.news.full()
        if not self.lagging:
            self.news.put_nowait(entries)


@dataclass(eq=False)
class Feed:
    """One attempt's. `held` was found in the last look, and is told in the next: others' may come between.

    So a line that is stored up to a look later than one that was printed after it is told before that one.
    """

    next_seqs: dict[int, int]
    followers: set[Follower] = field(default_factory=set)
    held: list[NewEntry] = field(default_factory=list)
    newest_ns: int = 0

    def take(self, found: Sequence[NewEntry]) -> list[NewEntry]:
        """What can be told after a look that found this: in order of time, as far as the look before had come."""
        for new in found:
            self.next_seqs[new.entry.rank] = new.after[0] + 1
        # Times never go back within a rank, and sorting keeps the order of what is equal.
        merged = sorted([*self.held, *found], key=lambda new: (new.entry.record.time_ns, new.entry.rank))
        told = [new for new in merged if new.entry.record.time_ns <= self.newest_ns] if found else merged
        self.held = merged[len(told) :]
        self.newest_ns = max(self.newest_ns, merged[-1].entry.record.time_ns) if merged else self.newest_ns
        return told


class LogFeeds:
    """The feeds of one api process. Used on its event loop only."""

    def __init__(self, database: Database, objects: ObjectStore | None = None) -> None:
        self._database, self._objects = database, objects
        self._feeds: dict[Attempt, Feed] = {}
        self._looking = Looking("follow", self._tell_news, lambda: bool(self._feeds))
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="follow")

    @property
    def count(self) -> int:
        """How many attempts are followed."""
        return len(self._feeds)

    @asynccontextmanager
    async def follow(self, attempt: Attempt) -> AsyncIterator[Follower]:
        """A follower that misses nothing of what is stored from now on, and may be told some that was before."""
        feed = self._feeds.get(attempt)
        if feed is None:
            found = await self.read(partial(edge, self._database, attempt))
            # Another may have made it meanwhile: whatever it has told already is stored by now.
            feed = self._feeds.setdefault(attempt, Feed(found))
        follower = Follower()
        feed.followers.add(follower)
        self._looking.begin()
        try:
            yield follower
        finally:
            feed.followers.discard(follower)
            if not feed.followers and self._feeds.get(attempt) is feed:
                del self._feeds[attempt]

    async def page(
        self,
        attempt: Attempt,
        ranks: Sequence[int] | None,
        limit: int,
        positions: Mapping[int, Position],
        wanted: LogFilter,
    ) -> LogPage:
        """What is stored after these positions, oldest first; up to `limit` entries."""
        read = partial(
            read_page,
            self._database,
            *attempt,
            store=self._objects,
            ranks=ranks,
            limit=limit,
            from_head=True,
            wanted=wanted,
            positions=positions,
        )
        try:
            return await self.read(read)
        except OutputRemoved as removed:
            return page_in_place_of(removed, ranks, positions)

    async def read(self, call: Callable[[], T]) -> T:
        """What the call answers, made when one of the readers is free."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def close(self) -> None:
        """End the look; the server ends the streams."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        await self._looking.close()

    async def _tell_news(self) -> None:
        feeds = dict(self._feeds)
        asked = {attempt: dict(feed.next_seqs) for attempt, feed in feeds.items()}
        found = await asyncio.to_thread(look_at, self._database, asked)
        for attempt, feed in feeds.items():
            told = feed.take(found[attempt])
            for follower in feed.followers if told else ():
                follower.tell(told)
