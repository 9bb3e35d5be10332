"""What rows say to whoever looks for what is wrong with the platform: clock, nodes, blocks, steps nobody takes.

Read only, in short statements, for `deploy/doctor`. What is wrong with any of it is not judged here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import IPv4Network

from sqlalchemy import select, text

from core.database import Database
from core.models import GangNetwork

#: The answer that took least tells the clock best.
_CLOCK_TRIES = 3


@dataclass(frozen=True)
class NodeSigns:
    """One node as its supervisor left it. `silent_seconds` None: its engine has never answered."""

    pool: str
    name: str
    endpoint: str
    worker_group: str
    state: str
    state_detail: str
    withheld: str
    silent_seconds: float | None
    free_disk_bytes: int | None
    free_inodes: int | None
    #: by a supervisor, now
    is_held: bool

    @property
    def full_name(self) -> str:
        return f"{self.pool}/{self.name}"


def clock_ahead_seconds(database: Database) -> float:
    """By how much the database's clock is before this host's; negative where it is behind. Raises Unavailable."""
    found: list[tuple[float, float]] = []
    with database.statement() as connection:
        for _ in range(_CLOCK_TRIES):
            began, before = time.monotonic(), time.time()
            theirs = float(connection.execute(_CLOCK).scalar_one())
            took = time.monotonic() - began
            found.append((took, theirs - (before + took / 2)))
    return min(found)[1]


_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::float8")


def node_signs(database: Database) -> list[NodeSigns]:
    """Every node that there is. Raises Unavailable."""
    with database.statement() as connection:
        return [NodeSigns(**row._mapping) for row in connection.execute(_NODES)]


_NODES = text(
    "SELECT p.account_id || '/' || p.pool_id AS pool, n.name, n.endpoint, n.worker_group, n.state, n.state_detail,"
    " n.withheld, extract(epoch FROM now() - n.seen_at)::float8 AS silent_seconds, n.free_disk_bytes,"
    " n.free_inodes, coalesce(n.lease_until > now(), false) AS is_held"
    " FROM nodes n JOIN node_pools p ON p.id = n.pool_id WHERE n.deleted_at IS NULL ORDER BY 1, 2"
)


def blocks_held(database: Database) -> list[IPv4Network]:
    """The address blocks of the networks that gangs have. Raises Unavailable."""
    with database.statement() as connection:
        rows = connection.execute(select(GangNetwork.subnet)).scalars()
        return [IPv4Network(each) for each in rows if each is not None]


def longest_unseen_seconds(database: Database) -> float:
    """For how long the first of the jobs has waited that no pass has looked at; 0 where there is none."""
    with database.statement() as connection:
        return max(float(connection.execute(_UNSEEN).scalar() or 0), 0.0)


_UNSEEN = text(
    "SELECT extract(epoch FROM now() - min(greatest(created_at, not_before_at)))::float8 FROM jobs"
    " WHERE state = 'QUEUED' AND reason = ''"
)
