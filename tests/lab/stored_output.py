"""Output as it is stored, byte for byte, past the API, which speaks text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.log_records import LogRecord, decode_records

_CHUNKS = "SELECT job_id, attempt, rank, payload FROM log_chunks ORDER BY job_id, attempt, rank, seq"
_OF_JOB = (
    "SELECT c.payload FROM log_chunks c JOIN jobs j ON j.id = c.job_id AND j.attempt = c.attempt"
    " WHERE j.batch_job_id = %s AND c.rank = %s ORDER BY c.seq"
)


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


def digests(connection: psycopg.Connection[Any]) -> dict[StreamKey, Digest]:
    """Of all output that a database holds."""
    found: dict[StreamKey, Digest] = {}
    with connection.cursor(name="chunks", row_factory=dict_row) as chunks:
        for chunk in chunks.execute(_CHUNKS):
            for record in decode_records(chunk["payload"]):
                key = (chunk["job_id"], chunk["attempt"], chunk["rank"], record.stream)
                found.setdefault(key, Digest()).add(record.data)
    return found


def records(database_url: str, batch_job_id: str, rank: int = 0) -> Iterator[LogRecord]:
    """What a rank of a job's latest attempt printed, in order."""
    with psycopg.connect(database_url) as connection, connection.cursor(name="chunks") as chunks:
        for (payload,) in chunks.execute(_OF_JOB, (batch_job_id, rank)):
            yield from decode_records(payload)


def stream_of(database_url: str, batch_job_id: str, stream: int, rank: int = 0) -> bytes:
    """All of one stream."""
    found = records(database_url, batch_job_id, rank)
    return b"".join(record.data for record in found if record.stream == stream)
