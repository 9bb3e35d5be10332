"""What a job's ranks used, as it is answered."""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import TypedDict

from api.batch_jobs.schema_out import time_or_null
from api.openapi.values import Duration
from api.wire.times import format_duration, format_time_ns
from core.usage.reading import JobUsage, RankSeries, RankUsageRecord

NS_OF_MS = 1_000_000


class RankUsageRead(TypedDict):
    """By the samples so far; zero, and no times, where there are none. Counters are since the rank's start.

    `meanCpuCores` null: not known. Network bytes null: the rank has no network, or its host's.
    """

    name: str
    rank: int
    attempt: int
    firstSampleTime: str | None
    lastSampleTime: str | None
    cpuSeconds: float
    meanCpuCores: float | None
    memoryBytes: str
    peakMemoryBytes: str
    memoryLimitBytes: str
    networkRxBytes: str | None
    networkTxBytes: str | None
    blockReadBytes: str
    blockWriteBytes: str


class JobUsageRead(TypedDict):
    """Sums over the ranks that were sampled, but for `maxPeakMemoryBytes`, the largest peak of any of them."""

    sampledRanks: int
    cpuSeconds: float
    meanCpuCores: float
    memoryBytes: str
    maxPeakMemoryBytes: str
    sumPeakMemoryBytes: str
    networkRxBytes: str
    networkTxBytes: str
    blockReadBytes: str
    blockWriteBytes: str


class JobUsageList(TypedDict):
    """`total` is of all ranks of the attempt, whatever the page and the filter."""

    attempt: int
    total: JobUsageRead
    ranks: list[RankUsageRead]
    nextPageToken: str
    totalSize: int


class UsagePointRead(TypedDict):
    """Counters are since the rank's start. `cpuCores` is the mean since the point before; null: not known."""

    time: str
    cpuSeconds: float
    cpuCores: float | None
    memoryBytes: str
    memoryLimitBytes: str
    networkRxBytes: str | None
    networkTxBytes: str | None
    blockReadBytes: str
    blockWriteBytes: str


class RankSeriesRead(TypedDict):
    """`resolution` is the least time between two points; `0s`: every sample is one."""

    usage: RankUsageRead
    resolution: Duration
    points: list[UsagePointRead]


def rank_usage_read(job_name: str, record: RankUsageRecord) -> RankUsageRead:
    """What a rank has used on the wire."""
    return {
        "name": f"{job_name}/ranks/{record.rank}/usage",
        "rank": record.rank,
        "attempt": record.attempt,
        "firstSampleTime": time_or_null(record.first_at),
        "lastSampleTime": time_or_null(record.last_at),
        "cpuSeconds": record.cpu_seconds,
        "meanCpuCores": None if record.mean_cpu_cores is None else round(record.mean_cpu_cores, 6),
        "memoryBytes": str(record.memory_bytes),
        "peakMemoryBytes": str(record.peak_memory_bytes),
        "memoryLimitBytes": str(record.memory_limit_bytes),
        "networkRxBytes": str(record.network_rx_bytes) if record.has_network else None,
        "networkTxBytes": str(record.network_tx_bytes) if record.has_network else None,
        "blockReadBytes": str(record.block_read_bytes),
        "blockWriteBytes": str(record.block_write_bytes),
    }


def job_usage_read(found: JobUsage) -> JobUsageRead:
    """What all ranks have used on the wire."""
    return {
        "sampledRanks": found.sampled_ranks,
        "cpuSeconds": round(found.cpu_seconds, 6),
        "meanCpuCores": round(found.mean_cpu_cores, 6),
        "memoryBytes": str(found.memory_bytes),
        "maxPeakMemoryBytes": str(found.max_peak_memory_bytes),
        "sumPeakMemoryBytes": str(found.sum_peak_memory_bytes),
        "networkRxBytes": str(found.network_rx_bytes),
        "networkTxBytes": str(found.network_tx_bytes),
        "blockReadBytes": str(found.block_read_bytes),
        "blockWriteBytes": str(found.block_write_bytes),
    }


def rank_series_read(job_name: str, series: RankSeries) -> RankSeriesRead:
    """A rank's points on the wire."""
    return {
        "usage": rank_usage_read(job_name, series.usage),
        "resolution": format_duration(series.step_ms / 1000),
        "points": list(_points(series)),
    }


def _points(series: RankSeries) -> Iterator[UsagePointRead]:
    before, limit, has_network = series.before, series.usage.memory_limit_bytes, series.usage.has_network
    for point in series.points:
        cores = None
        if before is not None and point.time_ms > before.time_ms:
            cores = (point.cpu_us - before.cpu_us) / 1000 / (point.time_ms - before.time_ms)
        yield {
            "time": format_time_ns(point.time_ms * NS_OF_MS),
            "cpuSeconds": point.cpu_us / 1_000_000,
            "cpuCores": None if cores is None else round(cores, 6),
            "memoryBytes": str(point.memory_bytes),
            "memoryLimitBytes": str(limit),
            "networkRxBytes": str(point.rx_bytes) if has_network else None,
            "networkTxBytes": str(point.tx_bytes) if has_network else None,
            "blockReadBytes": str(point.read_bytes),
            "blockWriteBytes": str(point.written_bytes),
        }
        before = point
