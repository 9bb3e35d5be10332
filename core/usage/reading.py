"""Questions about what a job's ranks used. Every one takes the account: another's job is one that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Double, Select, and_, case, cast, func, literal, select

from core.database import Database
from core.jobs.history import rank_not_found
from core.jobs.reading import read_job
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import Rank, RankUsage, UsagePart
from core.usage.series import UsagePoint, thinned
from core.usage.storing import in_order

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RankUsageRecord:
    """What one rank of one attempt has used, by its samples so far; all zero and no times where it has none.

    `mean_cpu_cores` None: not known. Network bytes are those of its own network; `has_network` False: it has none,
    or the host's.
    """

    rank: int
    attempt: int
    first_at: datetime | None
    last_at: datetime | None
    cpu_seconds: float
    mean_cpu_cores: float | None
    memory_bytes: int
    peak_memory_bytes: int
    memory_limit_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int
    block_read_bytes: int
    block_write_bytes: int
    has_network: bool


@dataclass(frozen=True)
class JobUsage:
    """Of all ranks of one attempt together: sums, but for `max_peak_memory_bytes`, the largest of any rank."""

    attempt: int
    sampled_ranks: int
    cpu_seconds: float
    mean_cpu_cores: float
    memory_bytes: int
    max_peak_memory_bytes: int
    sum_peak_memory_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int
    block_read_bytes: int
    block_write_bytes: int


@dataclass(frozen=True)
class RankSeries:
    """Points of one rank, merged to `step_ms` (0: each is a sample).

    `before` is what came before the first of them, the start of its container where nothing else did; None where
    that is not known.
    """

    usage: RankUsageRecord
    points: Sequence[UsagePoint]
    step_ms: int
    before: UsagePoint | None


def _number(column: Any) -> ColumnElement[Any]:
    """Zero where the rank was never sampled."""
    return func.coalesce(column, literal(0, BigInteger()), type_=BigInteger())


#: By the same clock: that of the rank's engine.
_SAMPLED_SECONDS: ColumnElement[float] = cast(
    func.extract("epoch", RankUsage.last_at - func.coalesce(Rank.started_at, RankUsage.first_at)), Double()
)
_MEAN_CPU_CORES = case((_SAMPLED_SECONDS > 0, RankUsage.cpu_seconds / _SAMPLED_SECONDS), else_=None)
_CPU_SECONDS: ColumnElement[Any] = func.coalesce(RankUsage.cpu_seconds, literal(0, Double()), type_=Double())

_COLUMNS: dict[str, ColumnElement[Any]] = {
    "cpu_seconds": _CPU_SECONDS,
    "mean_cpu_cores": _MEAN_CPU_CORES,
    "memory_bytes": _number(RankUsage.memory_bytes),
    "peak_memory_bytes": _number(RankUsage.peak_memory_bytes),
    "memory_limit_bytes": _number(RankUsage.memory_limit_bytes),
    "network_rx_bytes": _number(RankUsage.network_rx_bytes),
    "network_tx_bytes": _number(RankUsage.network_tx_bytes),
    "block_read_bytes": _number(RankUsage.block_read_bytes),
    "block_write_bytes": _number(RankUsage.block_write_bytes),
}

USAGE_LISTING = Listing(
    {
        "rank": ListField(FieldType.NUMBER, Rank.rank),
        "attempt": ListField(FieldType.NUMBER, Rank.attempt),
        "firstSampleTime": ListField(FieldType.TIME, RankUsage.first_at, nullable=True),
        "lastSampleTime": ListField(FieldType.TIME, RankUsage.last_at, nullable=True),
        "cpuSeconds": ListField(FieldType.NUMBER, _COLUMNS["cpu_seconds"]),
        "meanCpuCores": ListField(FieldType.NUMBER, _MEAN_CPU_CORES, nullable=True),
        "memoryBytes": ListField(FieldType.NUMBER, _COLUMNS["memory_bytes"]),
        "peakMemoryBytes": ListField(FieldType.NUMBER, _COLUMNS["peak_memory_bytes"]),
        "memoryLimitBytes": ListField(FieldType.NUMBER, _COLUMNS["memory_limit_bytes"]),
        "networkRxBytes": ListField(FieldType.NUMBER, _COLUMNS["network_rx_bytes"]),
        "networkTxBytes": ListField(FieldType.NUMBER, _COLUMNS["network_tx_bytes"]),
        "blockReadBytes": ListField(FieldType.NUMBER, _COLUMNS["block_read_bytes"]),
        "blockWriteBytes": ListField(FieldType.NUMBER, _COLUMNS["block_write_bytes"]),
    },
    (OrderTerm("rank"),),
    ListField(FieldType.NUMBER, Rank.rank),
)

_OF_RANK = and_(RankUsage.job_id == Rank.job_id, RankUsage.attempt == Rank.attempt, RankUsage.rank == Rank.rank)
_RECORDS: Select[Any] = select(
    Rank.rank,
    Rank.attempt,
    RankUsage.first_at,
    RankUsage.last_at,
    *(column.label(name) for name, column in _COLUMNS.items()),
    RankUsage.has_network,
).outerjoin(RankUsage, _OF_RANK)


def list_usage(
    database: Database, account: str, job_id: str, query: ListQuery, *, attempt: int | None = None
) -> tuple[Page[RankUsageRecord], JobUsage]:
    """What each rank of one attempt, by default the latest, has used, and all together. Raises NotFound."""
    with database.transaction() as connection:
        job = read_job(connection, account, job_id)
        number = job.attempt if attempt is None else attempt
        of_attempt = (Rank.job_id == job.id, Rank.attempt == number)
        page = select_page(connection, _RECORDS.where(*of_attempt), USAGE_LISTING, query, _record)
        sums = connection.execute(_SUMS.where(*of_attempt)).one()
    return page, JobUsage(attempt=number, **sums._mapping)


def _sum_of(name: str) -> ColumnElement[Any]:
    column = getattr(RankUsage, name)
    return cast(func.coalesce(func.sum(column), 0), BigInteger()).label(name)


_SUMS: Select[Any] = (
    select(
        func.count().label("sampled_ranks"),
        func.coalesce(func.sum(RankUsage.cpu_seconds), literal(0, Double())).label("cpu_seconds"),
        func.coalesce(func.sum(_MEAN_CPU_CORES), literal(0, Double())).label("mean_cpu_cores"),
        _sum_of("memory_bytes"),
        func.coalesce(func.max(RankUsage.peak_memory_bytes), 0).label("max_peak_memory_bytes"),
        _sum_of("peak_memory_bytes").label("sum_peak_memory_bytes"),
        _sum_of("network_rx_bytes"),
        _sum_of("network_tx_bytes"),
        _sum_of("block_read_bytes"),
        _sum_of("block_write_bytes"),
    )
    .select_from(Rank)
    .join(RankUsage, _OF_RANK)
)


def get_series(
    database: Database,
    account: str,
    job_id: str,
    rank: int,
    *,
    attempt: int | None = None,
    since_ms: int = 0,
    most: int,
) -> RankSeries:
    """One rank's points from a time on, merged to no more than `most`; by default of the latest attempt.

    Raises NotFound where the job, or the attempt, has no such rank; one that was not sampled has no points.
    """
    with database.transaction() as connection:
        job = read_job(connection, account, job_id)
        number = job.attempt if attempt is None else attempt
        asked = _RECORDS.add_columns(Rank.started_at, RankUsage.recent, RankUsage.step_ms)
        row = connection.execute(
            asked.where(Rank.job_id == job.id, Rank.attempt == number, Rank.rank == rank)
        ).first()
        if row is None:
            raise rank_not_found(account, job_id, str(rank))
        # After the newest points, so that those which have become a part meanwhile are in one of the two.
        parts = connection.execute(
            select(UsagePart.points)
            .where(UsagePart.job_id == job.id, UsagePart.attempt == number, UsagePart.rank == rank)
            .order_by(UsagePart.part)
        ).scalars()
        points = list(in_order(parts.all(), row.recent or b""))
    fields = dict(row._mapping)
    started_at, step_ms = fields.pop("started_at"), fields.pop("step_ms") or 0
    del fields["recent"]
    later = [point for point in points if point.time_ms >= since_ms]
    earlier = points[: len(points) - len(later)]
    shown, step_ms = thinned(later, most, step_ms)
    return RankSeries(_record(fields), shown, step_ms, earlier[-1] if earlier else _start(started_at))


def _start(started_at: datetime | None) -> UsagePoint | None:
    if started_at is None:
        return None
    return UsagePoint((started_at - _EPOCH) // timedelta(milliseconds=1), 0, 0, 0, 0, 0, 0)


def _record(fields: dict[str, Any]) -> RankUsageRecord:
    fields["has_network"] = bool(fields["has_network"])
    return RankUsageRecord(**fields)
