"""Pools and their nodes, as they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from client.reads.wire import Read


@dataclass(frozen=True, kw_only=True)
class PoolStats(Read):
    """What goes on in a pool: jobs and their ranks by state."""

    node_count: int = 0
    ranks_per_node: int = 0
    batch_job_count: Mapping[str, int] = field(default_factory=dict)
    batch_job_ranks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NodePool(Read):
    name: str = ""
    display_name: str = ""
    state: str = ""
    create_time: datetime | None = None
    node_pool_stats: PoolStats = field(default_factory=PoolStats)
    docker_node_pool: Mapping[str, Any] = field(default_factory=dict)
    offered_to_all: bool = False

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Node(Read):
    """A Docker engine of a pool. It takes new ranks if it is `accepting`."""

    name: str = ""
    endpoint: str = ""
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    slots: int = 0
    slots_in_use: int = 0
    gpus: int = 0
    cpus: int = 0
    memory_bytes: int = 0
    free_disk_bytes: int | None = None
    engine_version: str = ""
    accepting: bool = False
    state: str = ""
    status: str = ""
    state_time: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]
