"""One client's download of an attempt's output: what there is when it is asked for, in bounded memory.

Read by pages on the readers of those who follow output, so that downloads do not take a process from anybody;
nothing is held between two pages, however slowly the client takes them.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Final, TypeVar

import structlog

from api.download import Broken
from api.log_feed import LogFeeds
from api.log_text import LogText
from api.looking import LOOK_SECONDS
from core.accounts import Caller
from core.api_keys import still_valid
from core.database import Database
from core.errors import NotFound, OutputRemoved, Unavailable
from core.jobs.reading import JobRecord, get_job
from core.log_filter import Effort, LogFilter
from core.logs import LogEntry, LogPage, Position, read_page
from core.object_store import ObjectStore

T = TypeVar("T")
log = structlog.get_logger(__name__)

#: Of one page: what a download holds in memory, beside a chunk of each rank while it is read.
_ENTRIES = 10_000
_PAGE_BYTES = 1 << 20
#: A download ends within this and one page after its key or its job.
_CHECK_SECONDS: Final = 0.5
#: It waits so long for a database that is away.
_AWAY_SECONDS: Final = 30.0
#: zlib's word for a gzip header around its widest window.
_GZIP: Final = 31
_LEVEL: Final = 1


@dataclass(frozen=True)
class Wish:
    """What of the output is to be downloaded, and how. `ranks` None: all of them."""

    attempt: int
    ranks: tuple[int, ...] | None
    wanted: LogFilter
    since_ns: int
    as_gzip: bool


class LogDownload:
    """The download of one client. `begin` comes first; `pieces` may be iterated once."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore | None,
        feeds: LogFeeds,
        caller: Caller,
        record: JobRecord,
        wish: Wish,
    ) -> None:
        self._database, self._feeds = database, feeds
        self._read_page = partial(read_page, database, record.id, wish.attempt, store=store, ranks=wish.ranks)
        self._caller, self._record, self._wish = caller, record, wish
        is_of_one = record.spec.num_ranks == 1 or (wish.ranks is not None and len(wish.ranks) == 1)
        self._text = LogText(wish.wanted, with_ranks=not is_of_one)
        self._gzip = zlib.compressobj(_LEVEL, wbits=_GZIP) if wish.as_gzip else None
        self._positions: dict[int, Position] = {}
        self._until_ns = 0
        self._checked_at = 0.0

    async def begin(self) -> None:
        """Find out how far there is output now: a job that prints faster than a client reads must end too.

        Raises Unavailable, and OutputRemoved where its retention is over.
        """
        self._until_ns = await self._feeds.read(self._newest_ns)
        self._checked_at = asyncio.get_running_loop().time()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The text, or its gzip, in pieces of bounded size. Raises Broken where it cannot be whole."""
        has_more = True
        while has_more:
            await self._check()
            try:
                page = await self._patiently(self._next_page)
            except OutputRemoved as error:
                raise Broken(str(error)) from error
            entries = list(takewhile(self._is_of_now, page.entries))
            has_more = page.has_more and len(entries) == len(page.entries)
            while entries:
                piece, count = await self._feeds.read(partial(self._write, entries))
                del entries[:count]
                if piece:
                    yield piece
        # What is gone with its job reads like what was never printed.
        await self._check(at_once=True)
        if piece := await self._feeds.read(self._write_rest):
            yield piece

    async def _check(self, *, at_once: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        if at_once or now >= self._checked_at + _CHECK_SECONDS:
            await self._patiently(self._refuse_ended)
            self._checked_at = now

    def _refuse_ended(self) -> None:
        if not still_valid(self._database, {self._caller.key_id}):
            raise Broken("its key has ended")
        try:
            found = get_job(self._database, self._record.account, self._record.batch_job_id)
        except NotFound:
            raise Broken("its job is gone") from None
        if found.id != self._record.id:
            raise Broken("its job is gone, and another has its name")

    async def _patiently(self, call: Callable[[], T]) -> T:
        """What the call answers, when the database is back where it is away."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _AWAY_SECONDS
        while True:
            try:
                return await self._feeds.read(call)
            except Unavailable as error:
                log.warning("download_put_off", job=self._record.id, why=str(error))
                if loop.time() >= until:
                    raise Broken(str(error)) from error
            await asyncio.sleep(LOOK_SECONDS)

    def _newest_ns(self) -> int:
        page = self._read_page(limit=1, from_head=False)
        return max((entry.record.time_ns for entry in page.entries), default=0)

    def _next_page(self) -> LogPage:
        # All that comes, wanted or not: where a line ends can be seen by what comes after it.
        page = self._read_page(
            limit=_ENTRIES,
            from_head=True,
            since_ns=self._wish.since_ns,
            positions=self._positions,
            effort=Effort(_PAGE_BYTES),
        )
        self._positions = dict(page.positions)
        return page

    def _is_of_now(self, entry: LogEntry) -> bool:
        return entry.record.time_ns <= self._until_ns

    def _write(self, entries: Sequence[LogEntry]) -> tuple[bytes, int]:
        text, count = self._text.take(entries)
        return self._packed(text), count

    def _write_rest(self) -> bytes:
        packed = self._packed(self._text.rest())
        return packed if self._gzip is None else packed + self._gzip.flush()

    def _packed(self, text: bytes) -> bytes:
        return text if self._gzip is None else self._gzip.compress(text)
