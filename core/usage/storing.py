"""Samples into rows: many ranks in one transaction, bounded in size for each rank however long it runs.

Nothing of a series is kept by whoever samples. What is stored is read under its lock, added to and written back,
so that another supervisor goes on with a series, or the same samples may be written twice, without a thought.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, TextClause, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.models import RankUsage, UsagePart
from core.usage.series import (
    UsagePoint,
    appended,
    plain,
    plain_count,
    read_plain,
    read_sealed,
    sealed,
    thinned,
)

#: Points of a part. As many, not compressed, have room in a row of `rank_usage` without being put elsewhere.
PART_POINTS = 30
#: A rank with more parts than this has its resolution halved: it keeps no more than 1,440 points or so.
MOST_PARTS = 47
#: So many ranks are thinned out in one transaction, some milliseconds each. The others have their turn in the
#: next: a gang that began together is due together.
_THINNED_AT_ONCE = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[str, int, int]


@dataclass(frozen=True)
class RankSamples:
    """What was seen of one rank since the last time, oldest first, at least one point.

    `has_network`: the bytes of its network are counted.
    """

    job_id: str
    attempt: int
    rank: int
    points: Sequence[UsagePoint]
    memory_limit_bytes: int
    has_network: bool

    @property
    def key(self) -> Key:
        """Of the rank's rows."""
        return (self.job_id, self.attempt, self.rank)


@dataclass
class _Written:
    """A rank's row as it is to be, and what else is to be written for it."""

    key: Key
    is_new: bool
    columns: dict[str, Any]
    parts: list[tuple[int, bytes]] = field(default_factory=list)
    #: the earlier parts are replaced by `parts`
    anew: bool = False

    @property
    def inserts(self) -> bool:
        """Whether rows are to be made, and not only changed."""
        return self.is_new or bool(self.parts)


def append_samples(database: Database, samples: Collection[RankSamples]) -> None:
    """Store samples of ranks, each rank once, all in one transaction; waits for nobody who deletes or writes one.

    Samples that are not later than what is stored are dropped; so are those of ranks that are gone, or are just
    being deleted or written by somebody else. Raises Unavailable.
    """
    if not samples:
        return
    in_key_order = sorted(samples, key=lambda each: each.key)
    with database.transaction() as connection:
        stored = _locked(connection, _LOCK_STORED, [each.key for each in in_key_order])
        plans = [plan for each in in_key_order if (plan := _added(each, stored.get(each.key))) is not None]
        due = [plan for plan in plans if plan.columns["next_part"] > MOST_PARTS]
        for plan in due[:_THINNED_AT_ONCE]:
            _thin(connection, plan)
        # What is inserted refers to its rank. Whoever deletes the rank has its lock, and waits for those of its
        # rows that are had here: he must not be waited for.
        free = _locked(connection, _LOCK_RANKS, [plan.key for plan in plans if plan.inserts])
        _write(connection, [plan for plan in plans if not plan.inserts or plan.key in free])


_GIVEN = (
    "unnest(CAST(:jobs AS text[]), CAST(:attempts AS int[]), CAST(:ranks AS int[])) AS g(job_id, attempt, rank)"
)
_LOCK_RANKS = text(
    f"SELECT r.job_id, r.attempt, r.rank FROM {_GIVEN} JOIN ranks r USING (job_id, attempt, rank)"  # noqa: S608
    " FOR KEY SHARE OF r SKIP LOCKED"
)
_LOCK_STORED = text(
    f"SELECT u.* FROM {_GIVEN} JOIN rank_usage u USING (job_id, attempt, rank)"  # noqa: S608
    " FOR UPDATE OF u SKIP LOCKED"
)


def _locked(connection: Connection, lock: TextClause, keys: Sequence[Key]) -> dict[Key, Row[Any]]:
    """The rows of these ranks that are there, without what others have locked."""
    if not keys:
        return {}
    jobs, attempts, ranks = zip(*keys, strict=True)
    asked = {"jobs": list(jobs), "attempts": list(attempts), "ranks": list(ranks)}
    return {(row.job_id, row.attempt, row.rank): row for row in connection.execute(lock, asked)}


def _added(samples: RankSamples, stored: Row[Any] | None) -> _Written | None:
    """What is stored with the samples added; None where there is nothing new in them."""
    since = -1 if stored is None else _milliseconds(stored.last_at)
    fresh = [point for point in samples.points if point.time_ms > since]
    if not fresh:
        return None
    last = fresh[-1]
    step_ms, next_part = (0, 0) if stored is None else (stored.step_ms, stored.next_part)
    recent = appended(b"" if stored is None else stored.recent, fresh, step_ms)
    plan = _Written(
        samples.key,
        stored is None,
        {
            "first_at": _moment(fresh[0].time_ms) if stored is None else stored.first_at,
            "last_at": _moment(last.time_ms),
            "cpu_seconds": last.cpu_us / 1_000_000,
            "memory_bytes": last.memory_bytes,
            "peak_memory_bytes": max(
                0 if stored is None else stored.peak_memory_bytes, *(point.memory_bytes for point in fresh)
            ),
            "memory_limit_bytes": samples.memory_limit_bytes,
            "network_rx_bytes": last.rx_bytes,
            "network_tx_bytes": last.tx_bytes,
            "block_read_bytes": last.read_bytes,
            "block_write_bytes": last.written_bytes,
            "has_network": samples.has_network,
            "step_ms": step_ms,
            "next_part": next_part,
            "recent": recent,
        },
    )
    if plain_count(recent) >= PART_POINTS:
        _seal(plan, read_plain(recent))
    return plan


def _seal(plan: _Written, points: Sequence[UsagePoint]) -> None:
    """Make parts of the points, but for those that fill none."""
    full = len(points) - len(points) % PART_POINTS
    for begin in range(0, full, PART_POINTS):
        plan.parts.append((plan.columns["next_part"], sealed(points[begin : begin + PART_POINTS])))
        plan.columns["next_part"] += 1
    plan.columns["recent"] = plain(points[full:])


def _thin(connection: Connection, plan: _Written) -> None:
    """Halve the resolution of the whole series, or more, so that it has room to grow again."""
    mine = (UsagePart.job_id == plan.key[0], UsagePart.attempt == plan.key[1], UsagePart.rank == plan.key[2])
    payloads = connection.execute(select(UsagePart.points).where(*mine).order_by(UsagePart.part)).scalars()
    points = list(in_order([*payloads, *(payload for _, payload in plan.parts)], plan.columns["recent"]))
    points, step_ms = thinned(points, MOST_PARTS * PART_POINTS // 2, plan.columns["step_ms"])
    plan.columns |= {"step_ms": step_ms, "next_part": 0}
    plan.parts, plan.anew = [], True
    _seal(plan, points)


def in_order(parts: Sequence[bytes], recent: bytes) -> Iterator[UsagePoint]:
    """All points of a series, oldest first, each once: a part may have been made of what `recent` had when it was
    read."""
    last_ms = -1
    for points in (*map(read_sealed, parts), read_plain(recent)):
        for point in points:
            if point.time_ms > last_ms:
                last_ms = point.time_ms
                yield point


_INSERT = upsert(RankUsage).on_conflict_do_nothing()
_INSERT_PARTS = upsert(UsagePart).on_conflict_do_nothing()
_UPDATE = update(RankUsage).where(
    RankUsage.job_id == bindparam("of_job"),
    RankUsage.attempt == bindparam("of_attempt"),
    RankUsage.rank == bindparam("of_rank"),
)
_DELETE_PARTS = delete(UsagePart).where(
    UsagePart.job_id == bindparam("of_job"),
    UsagePart.attempt == bindparam("of_attempt"),
    UsagePart.rank == bindparam("of_rank"),
)


def _write(connection: Connection, plans: Sequence[_Written]) -> None:
    new = [{**_key_columns(plan.key), **plan.columns} for plan in plans if plan.is_new]
    changed = [{**_key_parameters(plan.key), **plan.columns} for plan in plans if not plan.is_new]
    parts = [
        {**_key_columns(plan.key), "part": part, "points": points} for plan in plans for part, points in plan.parts
    ]
    anew = [_key_parameters(plan.key) for plan in plans if plan.anew]
    if new:
        connection.execute(_INSERT, new)
    if changed:
        names = [name for name in changed[0] if not name.startswith("of_")]
        connection.execute(_UPDATE.values({name: bindparam(name) for name in names}), changed)
    if anew:
        connection.execute(_DELETE_PARTS, anew)
    if parts:
        connection.execute(_INSERT_PARTS, parts)


def _key_columns(key: Key) -> dict[str, Any]:
    return dict(zip(("job_id", "attempt", "rank"), key, strict=True))


def _key_parameters(key: Key) -> dict[str, Any]:
    return dict(zip(("of_job", "of_attempt", "of_rank"), key, strict=True))


def _moment(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
