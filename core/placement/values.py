"""What one scheduling pass decides from, and what it decides. Values only.

CPU is counted in thousandths, memory in bytes, time in seconds from now. A rank takes one slot of a node, one
GPU where the pool has GPUs, and the CPU and memory that its job names, or else one slot's share of the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

#: An end or a start that nobody can know.
UNKNOWN = float("inf")


@dataclass(frozen=True)
class NodeRoom:
    """A node that takes ranks now: what it has, and what of it is free.

    `cpu_share` and `memory_share` are what a rank takes whose job names nothing of its own; 0 = not counted.
    """

    id: int
    name: str
    slots: int
    free: int
    cpu_milli: int = 0
    cpu_free: int = 0
    memory_bytes: int = 0
    memory_free: int = 0
    gpus: int = 0
    gpus_free: int = 0
    cpu_share: int = 0
    memory_share: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Need:
    """What one rank takes of its node. None = one slot's share."""

    cpu_milli: int | None = None
    memory_bytes: int | None = None


SLOT = Need()


@dataclass(frozen=True)
class WaitingJob:
    """A queued job. `reason`, `status`, `position` and `starts_at` are what was last written down about it."""

    id: str
    attempt: int
    num_ranks: int
    waited_seconds: float
    status: str = ""
    account: str = ""
    priority: int = 0
    need: Need = SLOT
    #: labels, with their values, that each of its nodes must have
    labels: tuple[tuple[str, str], ...] = ()
    #: nodes that failed it, not used while the others could hold it
    avoided: frozenset[int] = frozenset()
    #: how long it would run; None = nobody knows
    run_seconds: float | None = None
    #: whether the platform ends it after `run_seconds`
    is_limited: bool = False
    reason: str = ""
    position: int | None = None
    starts_at: datetime | None = None


class Release(NamedTuple):
    """Ranks of one job on one node, and when they are expected to end (UNKNOWN where nobody can say).

    A tuple, because a full pool has a hundred thousand of them.
    """

    node: int
    ranks: int
    ends_in: float
    #: how long they have held the node: of those whose end is unknown, the oldest are counted on first
    held_seconds: float = 0.0
    need: Need = SLOT


@dataclass(frozen=True)
class Snapshot:
    """What one scheduling pass decides from. It may be out of date when the decision arrives."""

    pool_row: int
    nodes: tuple[NodeRoom, ...]
    waiting: tuple[WaitingJob, ...]
    #: slots that each account holds in the pool; one that is not named holds none
    in_use: Mapping[str, int] = field(default_factory=dict)
    #: None = not looked at: nothing has waited for long
    releases: tuple[Release, ...] | None = None
    #: whether the ranks of one job may be on several nodes: whether the pool has a network for it
    may_span: bool = False
    has_gpus: bool = False
    #: whether there are more queued jobs than these
    is_cut: bool = False
    #: when it was taken, by the database's clock; None leaves times of day out of the sentences
    at: datetime | None = None


@dataclass(frozen=True)
class Placement:
    """Rank i of the attempt goes to the node `nodes[i]`: all ranks, or there is no placement."""

    job_id: str
    attempt: int
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Waiting:
    """Why a job stays queued. `position` None = it is in nobody's way, and nothing is its turn."""

    job_id: str
    attempt: int
    reason: str
    #: the whole of what is written down
    status: str
    #: why alone, without the place in the queue and the time
    sentence: str
    position: int | None = None
    #: seconds from now, as of this snapshot; None = unknown
    starts_in: float | None = None
    #: the same as a time that is written down: rounded, and left as it was where it is still about right
    starts_at: datetime | None = None


@dataclass(frozen=True)
class Plan:
    """What starts, in the order of turns, and why each other job waits, by job id."""

    placements: tuple[Placement, ...]
    waiting: Mapping[str, Waiting]
    #: the jobs of `waiting` about which something else was written down before
    changed: frozenset[str] = frozenset()
