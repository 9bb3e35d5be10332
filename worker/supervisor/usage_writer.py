"""Samples on their way to rows: of all nodes of the process, in one transaction at a time.

Nothing waits for it and it holds one thread at the most. While the database is away samples are merged with each
other, so that what waits stays small; what is lost then is resolution, and, when the process dies, what was not
written yet.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from core.database import Database
from core.errors import Unavailable
from core.usage.series import UsagePoint, thinned
from core.usage.storing import RankSamples, append_samples
from worker.engine import RankKey, Usage

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0
#: Samples of a rank that runs are gathered for so long: a row is written anew with every one.
_GATHER_SECONDS = 10.0
_RANKS_AT_ONCE = 500
#: Of one rank; as many as come within minutes.
_MOST_WAITING = 60
#: Samples that one process takes: with more ranks than it has time for, each is asked about less often.
_SAMPLES_PER_SECOND = 200


@dataclass
class _Waiting:
    """What is to be written of one rank."""

    since: float
    usage: Usage
    points: list[UsagePoint] = field(default_factory=list)
    #: there will be no more
    is_all: bool = False


class UsageWriter:
    """Takes samples on the event loop (`note`); `run` writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[RankKey, _Waiting] = {}
        self._watched: dict[int, int] = {}
        self._watched_count = 0

    def note(self, key: RankKey, usage: Usage) -> None:
        """A sample that is to be written within some seconds."""
        waiting = self._waiting.setdefault(key, _Waiting(time.monotonic(), usage))
        waiting.usage = usage
        waiting.points.append(usage.point)
        if len(waiting.points) > _MOST_WAITING:
            waiting.points, _ = thinned(waiting.points, _MOST_WAITING // 2)

    def end(self, key: RankKey) -> None:
        """The rank has ended, or is not sampled from here any more: what there is of it is written soon."""
        if key in self._waiting:
            self._waiting[key].is_all = True

    def has(self, key: RankKey) -> bool:
        """Whether there is something of the rank that is not written yet."""
        return key in self._waiting

    def note_watched(self, node_id: int, count: int) -> None:
        """How many ranks of a node are sampled now."""
        self._watched_count += count - self._watched.get(node_id, 0)
        self._watched[node_id] = count

    @property
    def least_period_seconds(self) -> float:
        """How long a rank's next sample has to be put off, with as many ranks as there are."""
        return self._watched_count / _SAMPLES_PER_SECOND

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            await self._write([key for key, waiting in self._waiting.items() if _is_due(waiting, now)])

    async def write_all(self) -> None:
        """Write everything, due or not; once, whether the database answers or not."""
        await self._write(list(self._waiting))

    async def _write(self, keys: list[RankKey]) -> None:
        for begin in range(0, len(keys), _RANKS_AT_ONCE):
            taken = {key: self._waiting.pop(key) for key in keys[begin : begin + _RANKS_AT_ONCE]}
            try:
                await asyncio.to_thread(
                    append_samples, self._database, [_samples(*each) for each in taken.items()]
                )
            except Unavailable as error:
                log.warning("usage_put_off", ranks=len(taken), why=str(error))
                self._put_back(taken)
                return
            except Exception:
                # Samples are not worth that nobody writes any more until the process is started again.
                log.exception("usage_dropped", ranks=len(taken))

    def _put_back(self, taken: dict[RankKey, _Waiting]) -> None:
        for key, earlier in taken.items():
            later = self._waiting.get(key)
            if later is not None:
                earlier.usage, earlier.is_all = later.usage, later.is_all
                earlier.points, _ = thinned([*earlier.points, *later.points], _MOST_WAITING)
            self._waiting[key] = earlier


def _is_due(waiting: _Waiting, now: float) -> bool:
    return waiting.is_all or now - waiting.since >= _GATHER_SECONDS


def _samples(key: RankKey, waiting: _Waiting) -> RankSamples:
    return RankSamples(
        key.job_id,
        key.attempt,
        key.rank,
        waiting.points,
        waiting.usage.memory_limit_bytes,
        waiting.usage.has_network,
    )
