"""What there is on the whole platform now, as numbers: one snapshot, few statements, each over what is live.

For whoever watches the platform. Nothing here costs more than what waits, runs or is a node; no history is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from core.database import Database
from core.tallies import Tallies, read_tallies

#: A statement that takes longer than this is given up: whoever watches must not be what is too much.
_STATEMENT_SECONDS = 5
#: Pools in which jobs wait that are told apart, those with most first; the others are one.
MOST_POOLS = 200
OTHER_POOLS = "(others)"


@dataclass(frozen=True)
class Waiting:
    """Queued jobs of a pool (`account/pool`) that wait for the same reason, with the same sign of priority."""

    pool: str
    reason: str
    #: "high", "normal" or "low": priorities themselves are any number
    priority: str
    jobs: int
    ranks: int
    oldest_seconds: float


@dataclass(frozen=True)
class NodeFigures:
    """A node, and what is held of its slots by phase: reserved (placed, not running yet), running, ending."""

    pool: str
    name: str
    #: READY, DRAINING or DOWN; WITHHELD where it answers and takes nothing new
    state: str
    slots: int
    held: Mapping[str, int]
    silent_seconds: float | None
    free_disk_bytes: int | None
    #: by now; a node that no supervisor holds is watched by nobody
    is_held: bool


@dataclass(frozen=True)
class Due:
    """Steps of one kind that are due and that nobody holds: what a ring was for that was not answered yet."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True)
class Figures:
    """Everything. `jobs` and `ranks` by state, of those that have not ended or whose containers are not gone."""

    jobs: Mapping[str, int]
    ranks: Mapping[str, int]
    waiting: Sequence[Waiting]
    nodes: Sequence[NodeFigures]
    due: Mapping[str, Due]
    pulls_wanted: int
    pulls_failed: int
    oldest_pull_seconds: float
    jobs_kept: int
    #: in the object store, of all accounts
    object_bytes: int
    doomed_folders: int
    oldest_doomed_seconds: float
    log_table_bytes: int
    database_bytes: int
    worker_groups: Sequence[str]
    tallies: Tallies


def read_figures(database: Database) -> Figures:
    """The figures of one moment. Raises Unavailable, also where a statement takes too long."""
    with database.snapshot() as connection:
        connection.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'"))
        jobs, ranks, waiting = _jobs(connection)
        nodes, groups = _nodes(connection, ranks)
        one = connection.execute(_ONE_BY_ONE).one()
        return Figures(
            jobs=jobs,
            ranks=ranks,
            waiting=waiting,
            nodes=nodes,
            due=_due(connection),
            worker_groups=groups,
            tallies=read_tallies(connection),
            **one._asdict(),
        )


# By the indexes of what has not ended; those that ended long ago are not looked at.
_JOBS = text(
    "SELECT p.account_id || '/' || p.pool_id AS pool, j.* FROM (SELECT pool_id, state,"
    " CASE WHEN state = 'QUEUED' THEN reason ELSE '' END AS reason,"
    " CASE WHEN state <> 'QUEUED' THEN '' WHEN priority > 0 THEN 'high' WHEN priority < 0 THEN 'low' ELSE 'normal'"
    " END AS priority, count(*) AS jobs, sum(num_ranks)::bigint AS ranks,"
    # One that is to be tried again later waits for nobody yet.
    " extract(epoch FROM now() - min(greatest(created_at, not_before_at)))::float8 AS oldest"
    " FROM jobs WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') GROUP BY 1, 2, 3, 4) AS j"
    " JOIN node_pools p ON p.id = j.pool_id ORDER BY j.jobs DESC, 1"
)


def _jobs(connection: Connection) -> tuple[dict[str, int], dict[str, int], list[Waiting]]:
    jobs: dict[str, int] = {}
    ranks = {"WAITING": 0}
    waiting: dict[tuple[str, str, str], Waiting] = {}
    named: set[str] = set()
    for row in connection.execute(_JOBS):
        jobs[row.state] = jobs.get(row.state, 0) + row.jobs
        if row.state != "QUEUED":
            continue
        ranks["WAITING"] += row.ranks
        pool = row.pool if row.pool in named or len(named) < MOST_POOLS else OTHER_POOLS
        named.add(pool)
        key = (pool, row.reason, row.priority)
        before = waiting.get(key, Waiting(*key, 0, 0, 0.0))
        oldest = max(before.oldest_seconds, row.oldest, 0.0)
        waiting[key] = Waiting(*key, before.jobs + row.jobs, before.ranks + row.ranks, oldest)
    return jobs, ranks, list(waiting.values())


_NODES = text(
    "SELECT p.account_id || '/' || p.pool_id AS pool, n.name, n.worker_group, n.slots, n.free_disk_bytes,"
    " CASE WHEN n.state = 'READY' AND n.withheld <> '' THEN 'WITHHELD' ELSE n.state END AS state,"
    " extract(epoch FROM now() - n.seen_at)::float8 AS silent, coalesce(n.lease_until > now(), false) AS is_held,"
    " held.states, held.counts FROM nodes n JOIN node_pools p ON p.id = n.pool_id LEFT JOIN"
    " (SELECT node_id, array_agg(state) AS states, array_agg(ranks) AS counts FROM"
    " (SELECT node_id, state, count(*) AS ranks FROM ranks WHERE node_id IS NOT NULL AND released_at IS NULL"
    " GROUP BY 1, 2) AS by_state GROUP BY 1) AS held ON held.node_id = n.id"
    " WHERE n.deleted_at IS NULL ORDER BY 1, 2"
)
_PHASES = {
    **dict.fromkeys(("PLACED", "CREATING", "CREATED", "STARTING"), "reserved"),
    "RUNNING": "running",
    **dict.fromkeys(("SUCCEEDED", "FAILED", "STOPPED", "LOST"), "ending"),
}


def _nodes(connection: Connection, ranks: dict[str, int]) -> tuple[list[NodeFigures], list[str]]:
    """The nodes and their worker groups; the ranks that they hold are added to `ranks`, by state."""
    nodes: list[NodeFigures] = []
    groups: set[str] = set()
    for row in connection.execute(_NODES):
        held = {"reserved": 0, "running": 0, "ending": 0}
        for state, count in zip(row.states or (), row.counts or (), strict=True):
            ranks[state] = ranks.get(state, 0) + count
            held[_PHASES[state]] += count
        groups.add(row.worker_group)
        nodes.append(
            NodeFigures(
                row.pool, row.name, row.state, row.slots, held, row.silent, row.free_disk_bytes, row.is_held
            )
        )
    return nodes, sorted(groups)


# What `core.jobs.sweeping` rings for, without its patience, and what is stopped before it began. A launch that
# waits for an image is due all that time.
_DUE = text(
    "SELECT CASE WHEN j.stop_requested_at IS NOT NULL THEN 'stop' WHEN r.state IN ('PLACED', 'CREATING')"
    " THEN 'launch' ELSE 'start' END AS step, count(DISTINCT (r.job_id, r.node_id)) AS steps,"
    " extract(epoch FROM now() - min(coalesce(j.stop_requested_at, r.placed_at)))::float8 AS oldest"
    " FROM ranks r JOIN jobs j ON j.id = r.job_id AND j.attempt = r.attempt"
    " WHERE r.node_id IS NOT NULL AND r.released_at IS NULL AND (r.lease_until IS NULL OR r.lease_until < now())"
    " AND (r.state IN ('PLACED', 'CREATING', 'CREATED', 'STARTING')"
    " OR (r.state = 'RUNNING' AND j.stop_requested_at IS NOT NULL AND r.signalled_at IS NULL)"
    " OR (r.state IN ('FAILED', 'STOPPED') AND r.started_at IS NULL AND j.stop_requested_at IS NOT NULL))"
    " GROUP BY 1"
)


def _due(connection: Connection) -> dict[str, Due]:
    found = {step: Due(0, 0.0) for step in ("launch", "start", "stop")}
    found |= {row.step: Due(row.steps, max(row.oldest, 0.0)) for row in connection.execute(_DUE)}
    return found


# How much disk output takes is asked of the server, which knows without reading it.
_ONE_BY_ONE = text(
    "SELECT (SELECT count(*) FROM image_pulls WHERE state = 'WANTED') AS pulls_wanted,"
    " (SELECT count(*) FROM image_pulls WHERE state = 'FAILED' AND ended_at > now() - interval '1 hour')"
    " AS pulls_failed, (SELECT coalesce(extract(epoch FROM now() - min(wanted_at)), 0)::float8 FROM image_pulls"
    " WHERE state = 'WANTED') AS oldest_pull_seconds,"
    " (SELECT coalesce(sum(jobs), 0)::bigint FROM job_counts) AS jobs_kept,"
    " (SELECT coalesce(sum(object_bytes), 0)::bigint FROM kept_bytes) AS object_bytes,"
    " (SELECT count(*) FROM doomed_objects) AS doomed_folders,"
    " (SELECT coalesce(extract(epoch FROM now() - min(doomed_at)), 0)::float8 FROM doomed_objects)"
    " AS oldest_doomed_seconds, pg_total_relation_size('log_chunks') AS log_table_bytes,"
    " pg_database_size(current_database()) AS database_bytes"
)
