"""What an engine's statistics of a container mean, on cgroup v1 and on v2. Pure.

The two differ in what they call memory that can be had back at once (the page cache that nobody has used lately,
which an engine's `usage` counts in and `docker stats` takes out), and in how they spell block operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.usage.series import UsagePoint
from worker.docker_engine.facts import engine_time, split_time
from worker.engine import Usage

#: As much as a bigint of the database holds.
_MOST = 2**63 - 1
#: Of cgroup v1, where a cgroup's own figures and those with its children are told apart; and of v2.
_RECLAIMABLE = ("total_inactive_file", "inactive_file")


def usage_of(stats: Mapping[str, Any]) -> Usage | None:
    """From GET /containers/{id}/stats; None of a container that does not run, of which engines know no figures.

    What a kind of cgroup does not count is 0. Raises KeyError, TypeError, ValueError or AttributeError where it is
    no such answer.
    """
    if engine_time(stats["read"]) is None:
        return None
    seconds, nanos = split_time(stats["read"])
    memory = stats.get("memory_stats") or {}
    networks = stats.get("networks")
    interfaces = (networks or {}).values()
    blocks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    point = UsagePoint(
        time_ms=seconds * 1000 + nanos // 1_000_000,
        cpu_us=_count(stats["cpu_stats"]["cpu_usage"]["total_usage"] // 1000),
        memory_bytes=_count(_memory(memory)),
        rx_bytes=_count(sum(each["rx_bytes"] for each in interfaces)),
        tx_bytes=_count(sum(each["tx_bytes"] for each in interfaces)),
        read_bytes=_count(_block_bytes(blocks, "read")),
        written_bytes=_count(_block_bytes(blocks, "write")),
    )
    return Usage(point, _count(memory.get("limit") or 0), has_network=networks is not None)


def _memory(memory: Mapping[str, Any]) -> int:
    used = int(memory.get("usage") or 0)
    detail = memory.get("stats") or {}
    reclaimable = next((int(detail[name]) for name in _RECLAIMABLE if name in detail), 0)
    # The two are read one after the other.
    return used - reclaimable if reclaimable < used else used


def _block_bytes(entries: Iterable[Mapping[str, Any]], operation: str) -> int:
    """Over all devices. Entries of other operations count the same bytes again, as Sync, Async and Total."""
    return sum(int(each["value"]) for each in entries if str(each["op"]).lower() == operation)


def _count(value: int) -> int:
    return min(max(int(value), 0), _MOST)
