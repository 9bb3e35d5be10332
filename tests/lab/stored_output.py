"""Output as it is stored, byte for byte, past the API, which speaks text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from core.database import Database
from core.log_blocks import stored_output
from core.log_records import LogRecord
from core.object_store import ObjectStore

_ATTEMPTS = (
    "SELECT job_id, attempt FROM log_chunks UNION SELECT job_id, attempt FROM log_objects ORDER BY job_id, attempt"
)
_LATEST = "SELECT id, attempt FROM jobs WHERE batch_job_id = %s"


@dataclass
class Digest:
    """Of everything that one rank printed on one stream."""

    byte_count: int = 0
    _sha: Any = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> None:
        self._sha.update(data)
        self.byte_count += len(data)

    @property
    def sha256(self) -> str:
        return str(self._sha.hexdigest())


#: job, attempt, rank, stream
StreamKey = tuple[str, int, int, int]


def digests(database_url: str, object_store_url: str) -> dict[StreamKey, Digest]:
    """Of all output that a database and its object store hold."""
    found: dict[StreamKey, Digest] = {}
    with psycopg.connect(database_url) as connection:
        attempts = connection.execute(_ATTEMPTS).fetchall()
    database, store = Database(database_url), ObjectStore(object_store_url)
    try:
        for job_id, attempt in attempts:
            with stored_output(database, store, job_id, attempt, None) as output:
                ranks = output.ranks()
            for rank in ranks:
                for record in _records(database, store, job_id, attempt, rank):
                    found.setdefault((job_id, attempt, rank, record.stream), Digest()).add(record.data)
    finally:
        database.close()
    return found


def records(database_url: str, object_store_url: str, batch_job_id: str, rank: int = 0) -> Iterator[LogRecord]:
    """What a rank of a job's latest attempt printed, in order."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(_LATEST, (batch_job_id,)).fetchone()
    database, store = Database(database_url), ObjectStore(object_store_url)
    try:
        if found is not None:
            job_id, attempt = found
            yield from _records(database, store, job_id, attempt, rank)
    finally:
        database.close()


def stream_of(database_url: str, object_store_url: str, batch_job_id: str, stream: int, rank: int = 0) -> bytes:
    """All of one stream."""
    found = records(database_url, object_store_url, batch_job_id, rank)
    return b"".join(record.data for record in found if record.stream == stream)


def _records(database: Database, store: ObjectStore, job_id: str, attempt: int, rank: int) -> Iterator[LogRecord]:
    seq: int | None = None
    with stored_output(database, store, job_id, attempt, [rank]) as output:
        while (chunk := output.next_chunk(rank, seq, from_head=True, since_ns=0)) is not None:
            yield from chunk.records
            seq = chunk.seq + 1
