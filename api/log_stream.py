"""One client's stream of a job's output: what is stored, then what comes, attempt after attempt, until the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from api.job_watch import Event, JobWatch
from api.log_feed import Follower, LogFeeds
from api.looking import LOOK_SECONDS
from core.accounts import Caller
from core.errors import Unavailable
from core.jobs.reading import JobRecord
from core.log_filter import LogFilter, chosen
from core.log_tail import NewEntry
from core.logs import LogEntry, Position

log = structlog.get_logger(__name__)

#: Entries of one event at the most.
_ENTRIES = 1000


@dataclass(frozen=True)
class Question:
    """What of the output is wanted, and from where on."""

    ranks: tuple[int, ...] | None
    wanted: LogFilter
    attempt: int
    positions: Mapping[int, Position] = field(default_factory=dict)


@dataclass(frozen=True)
class Entries:
    """Some output, oldest first, and where each rank is to be read on after it."""

    attempt: int
    entries: Sequence[LogEntry]
    positions: Mapping[int, Position]


class LogStream:
    """The stream of one client. `events` may be iterated once."""

    def __init__(
        self,
        feeds: LogFeeds,
        watch: JobWatch,
        caller: Caller,
        record: JobRecord,
        question: Question,
    ) -> None:
        self._feeds, self._watch = feeds, watch
        self._caller, self._record, self._question = caller, record, question
        self._positions: dict[int, Position] = dict(question.positions)
        self._attempt = question.attempt
        #: of the job, as far as is known
        self._latest_attempt = record.attempt
        self._end: Event | None = None
        #: its job or its key is gone, or it has ended
        self._is_heard_out = False
        #: its end of a feed, once it follows one
        self.follower: Follower | None = None

    async def events(self, last_move: int) -> AsyncIterator[Entries | Event]:
        """Output in events of bounded size, then how the job ended, or that it is gone; nothing after the key's
        end."""
        hearing = asyncio.create_task(self._hear(last_move))
        try:
            while not self._is_revoked():
                async for entries in self._of_attempt():
                    yield entries
                if self._attempt >= self._latest_attempt:
                    break
                self._attempt, self._positions = self._attempt + 1, {}
            if self._end is not None:
                yield self._end
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})
        if not hearing.cancelled():
            hearing.result()

    async def _hear(self, last_move: int) -> None:
        """Know how far the job has come, and wake up whoever waits for its output."""
        try:
            async for event in self._watch.events(self._caller, self._record, last_move):
                told = event.move or event.job
                if told is not None:
                    self._latest_attempt = max(self._latest_attempt, told.attempt)
                if event.name in ("end", "deleted"):
                    self._end = event
                self._wake()
        finally:
            self._is_heard_out = True
            self._wake()

    def _wake(self) -> None:
        if self.follower is not None:
            self.follower.tell(())

    def _is_revoked(self) -> bool:
        return self._is_heard_out and self._end is None

    def _is_over(self) -> bool:
        """Nothing more will be stored of this attempt: an attempt's last output is, before its job moves on."""
        return self._latest_attempt > self._attempt or self._end is not None or self._is_heard_out

    async def _of_attempt(self) -> AsyncIterator[Entries]:
        while not self._is_revoked():
            try:
                if self._is_over():
                    async for entries in self._stored():
                        yield entries
                    return
                async with self._feeds.follow((self._record.id, self._attempt)) as follower:
                    self.follower = follower
                    async for entries in self._stored():
                        yield entries
                    async for entries in self._live(follower):
                        yield entries
            except Unavailable as error:
                log.warning("stream_put_off", job=self._record.id, why=str(error))
                await asyncio.sleep(LOOK_SECONDS)

    async def _stored(self) -> AsyncIterator[Entries]:
        attempt, has_more = (self._record.id, self._attempt), True
        while has_more and not self._is_revoked():
            asked = self._question
            page = await self._feeds.page(attempt, asked.ranks, _ENTRIES, self._positions, asked.wanted)
            self._positions, has_more = dict(page.positions), page.has_more
            if page.entries:
                yield Entries(self._attempt, page.entries, self._positions)

    async def _live(self, follower: Follower) -> AsyncIterator[Entries]:
        """What the feed tells and was not read before, until the attempt is over or the client falls behind."""
        while not (self._is_over() or follower.lagging):
            fresh = [new for new in await follower.news.get() if self._is_fresh(new)]
            for begin in range(0, len(fresh), _ENTRIES):
                some = fresh[begin : begin + _ENTRIES]
                self._positions = {**self._positions, **{new.entry.rank: new.after for new in some}}
                if wanted := await self._wanted([new.entry for new in some]):
                    yield Entries(self._attempt, wanted, self._positions)

    async def _wanted(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        wanted = self._question.wanted
        if wanted.regex is None:
            return [entry for entry in entries if wanted.matches(entry.record)]
        answers: list[bool] = []
        while len(answers) < len(entries) and not self._is_revoked():
            # An expression may be slow: not on the loop on which everybody waits, and not for long.
            records = [entry.record for entry in entries[len(answers) :]]
            answers += await self._feeds.read(partial(chosen, wanted, records))
        if len(answers) < len(entries):
            return []  # nothing may be told of what is not told whole: its id would go on after all of it
        return [entry for entry, is_wanted in zip(entries, answers, strict=True) if is_wanted]

    def _is_fresh(self, new: NewEntry) -> bool:
        rank = new.entry.rank
        if self._question.ranks is not None and rank not in self._question.ranks:
            return False
        return new.after > self._positions.get(rank, (0, 0))
