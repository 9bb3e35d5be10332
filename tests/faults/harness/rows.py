"""What the database says when all is over, with a digest of the output that is stored."""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row

from tests.faults.harness.journal import Journal
from tests.lab.stored_output import digests

_TABLES = {
    "job": "SELECT id, batch_job_id, account_id, state, reason, status, attempt, num_ranks,"
    " coalesce(spec #>> '{retry_policy,max_attempts}', '1') AS max_attempts,"
    " CAST(extract(epoch FROM (SELECT min(r.started_at) FROM ranks r WHERE r.job_id = jobs.id) - created_at)"
    " AS float) AS waited_seconds FROM jobs",
    "rank": "SELECT r.job_id, r.attempt, r.rank, r.state, n.name AS node, r.container_id, r.exit_code, r.reason,"
    " r.log_bytes, CAST(extract(epoch FROM r.ended_at) * 1e9 AS bigint) AS ended_ns,"
    " r.released_at IS NOT NULL AS released, r.signalled_at IS NOT NULL AS signalled"
    " FROM ranks r LEFT JOIN nodes n ON n.id = r.node_id",
    "event": "SELECT id, job_id, attempt, rank, state, reason FROM job_events ORDER BY id",
    "key": "SELECT key, job_id FROM idempotency_keys",
    "network": "SELECT job_id, attempt FROM gang_networks",
}


def write_rows(database_url: str, object_store_url: str, journal: Journal) -> None:
    """Every row that the checker asks about, and what output there is, in rows or in objects."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        for table, statement in _TABLES.items():
            for row in connection.execute(statement):
                journal.write(table=table, **row)
    for (job, attempt, rank, stream), stored in digests(database_url, object_store_url).items():
        journal.write(
            table="output", job_id=job, attempt=attempt, rank=rank, stream=stream,
            sha256=stored.sha256, bytes=stored.byte_count,
        )  # fmt: skip
