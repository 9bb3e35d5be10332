"""What the database says when all is over, with a digest of the output that is stored."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.log_records import decode_records
from tests.faults.harness.journal import Journal

_TABLES = {
    "job": "SELECT id, batch_job_id, account_id, state, reason, status, attempt, num_ranks,"
    " coalesce(spec #>> '{retry_policy,max_attempts}', '1') AS max_attempts FROM jobs",
    "rank": "SELECT r.job_id, r.attempt, r.rank, r.state, n.name AS node, r.container_id, r.exit_code, r.reason,"
    " r.log_bytes, r.released_at IS NOT NULL AS released, r.signalled_at IS NOT NULL AS signalled"
    " FROM ranks r LEFT JOIN nodes n ON n.id = r.node_id",
    "event": "SELECT id, job_id, attempt, rank, state, reason FROM job_events ORDER BY id",
    "key": "SELECT key, job_id FROM idempotency_keys",
    "network": "SELECT job_id, attempt FROM gang_networks",
}
_CHUNKS = "SELECT job_id, attempt, rank, payload FROM log_chunks ORDER BY job_id, attempt, rank, seq"


def write_rows(database_url: str, journal: Journal) -> None:
    """Every row that the checker asks about."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        for table, statement in _TABLES.items():
            for row in connection.execute(statement):
                journal.write(table=table, **row)
        for (job, attempt, rank, stream), stored in _digests(connection).items():
            journal.write(
                table="output", job_id=job, attempt=attempt, rank=rank, stream=stream,
                sha256=stored[0].hexdigest(), bytes=stored[1],
            )  # fmt: skip


def _digests(connection: psycopg.Connection[Any]) -> dict[tuple[str, int, int, int], list[Any]]:
    digests: dict[tuple[str, int, int, int], list[Any]] = {}
    with connection.cursor(name="chunks") as chunks:
        for chunk in chunks.execute(_CHUNKS):
            for record in decode_records(chunk["payload"]):
                key = (chunk["job_id"], chunk["attempt"], chunk["rank"], record.stream)
                stored = digests.setdefault(key, [hashlib.sha256(), 0])
                stored[0].update(record.data)
                stored[1] += len(record.data)
    return digests
