"""What engines' statistics mean, as they answer on both kinds of cgroup."""

from __future__ import annotations

from typing import Any

import pytest

from core.usage.series import UsagePoint
from worker.docker_engine.usage import usage_of

Json = dict[str, Any]

#: Shortened from Docker 20.10 on cgroup v1.
V1: Json = {
    "read": "2026-11-28T07:13:51.994449657Z",
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"major": 254, "minor": 0, "op": "Read", "value": 1_000_000},
            {"major": 254, "minor": 0, "op": "Write", "value": 5_000_000},
            {"major": 254, "minor": 0, "op": "Sync", "value": 4_000_000},
            {"major": 254, "minor": 0, "op": "Async", "value": 2_000_000},
            {"major": 254, "minor": 0, "op": "Discard", "value": 0},
            {"major": 254, "minor": 0, "op": "Total", "value": 6_000_000},
            {"major": 7, "minor": 1, "op": "Read", "value": 24},
        ],
        "io_serviced_recursive": [],
    },
    "cpu_stats": {
        "cpu_usage": {"total_usage": 1_882_309_164, "percpu_usage": [281_990_234, 1_600_318_930]},
        "online_cpus": 2,
    },
    "memory_stats": {
        "usage": 1_589_248,
        "max_usage": 4_079_616,
        "stats": {"cache": 1_224_704, "inactive_file": 7, "total_inactive_file": 1_048_576},
        "limit": 67_108_864,
    },
    "networks": {
        "eth0": {"rx_bytes": 736, "rx_packets": 8, "tx_bytes": 100, "tx_packets": 1},
        "eth1": {"rx_bytes": 4, "rx_packets": 1, "tx_bytes": 0, "tx_packets": 0},
    },
}
#: Shortened from Docker 24 on cgroup v2.
V2: Json = {
    "read": "2026-11-28T07:13:52Z",
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"major": 259, "minor": 0, "op": "read", "value": 8192},
            {"major": 259, "minor": 0, "op": "write", "value": 12_288},
        ],
        "io_serviced_recursive": None,
    },
    "cpu_stats": {
        "cpu_usage": {"total_usage": 63_000, "usage_in_kernelmode": 21_000, "usage_in_usermode": 42_000},
        "online_cpus": 8,
    },
    "memory_stats": {
        "usage": 10_000_000,
        "stats": {"active_file": 0, "anon": 6_000_000, "file": 4_000_000, "inactive_file": 4_000_000},
        "limit": 33_000_000_000,
    },
    "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}},
}


def test_usage_on_cgroup_v1_takes_out_what_can_be_had_back_and_counts_each_byte_once() -> None:
    found = usage_of(V1)
    assert found is not None
    assert found.point == UsagePoint(
        1_795_850_031_994, 1_882_309, 1_589_248 - 1_048_576, 740, 100, 1_000_024, 5_000_000
    )
    assert (found.memory_limit_bytes, found.has_network) == (67_108_864, True)


def test_usage_on_cgroup_v2_is_read_by_its_own_names() -> None:
    found = usage_of(V2)
    assert found is not None
    assert found.point == UsagePoint(1_795_850_032_000, 63, 6_000_000, 1, 2, 8192, 12_288)
    assert found.memory_limit_bytes == 33_000_000_000


@pytest.mark.parametrize("entries", [None, []])
def test_usage_without_block_entries_or_networks_has_none(entries: Any) -> None:
    stats = {**V2, "blkio_stats": {"io_service_bytes_recursive": entries}}
    del stats["networks"]
    found = usage_of(stats)
    assert found is not None
    assert found.point[3:] == (0, 0, 0, 0)
    assert not found.has_network


def test_usage_of_a_container_that_does_not_run_is_none() -> None:
    stats = {
        "read": "0001-01-01T00:00:00Z",
        "blkio_stats": {"io_service_bytes_recursive": None},
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {},
    }
    assert usage_of(stats) is None


def test_memory_that_was_read_before_its_detail_is_not_negative() -> None:
    memory = {"usage": 1000, "limit": 2**64 - 1, "stats": {"inactive_file": 4096}}
    found = usage_of({**V2, "memory_stats": memory})
    assert found is not None
    assert (found.point.memory_bytes, found.memory_limit_bytes) == (1000, 2**63 - 1)


@pytest.mark.parametrize("stats", [{}, {**V1, "read": 5}, {**V1, "cpu_stats": None}, {**V1, "networks": {"a": 1}}])
def test_answer_that_is_no_statistics_raises_what_its_reader_expects(stats: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        usage_of(stats)
