"""What ranks left in their folders for outputs: rows that say what of it is in the object store, and where.

An object is written first, then one transaction says that it counts, and only then the rank's end is recorded:
after that nothing of this changes any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from core.database import Database
from core.errors import NotFound, OutputRemoved, Superseded
from core.jobs.history import rank_not_found
from core.jobs.reading import read_job
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import OutputFile, Rank, RankOutputs
from core.output_packing import PackedFile
from core.states import RANK_ENDED


@dataclass(frozen=True)
class CollectedOutputs:
    """What was collected of one rank. `path` is its object's, "" where nothing is kept.

    `left_out_count`: links, devices and the like. `error`: why not all plain files are kept, "" where they are.
    """

    path: str
    object_bytes: int
    byte_count: int
    left_out_count: int
    error: str
    files: Sequence[PackedFile]


@dataclass(frozen=True)
class OutputsRecord:
    """What is kept of one rank; `collected_at` None: nothing was found in its folder, or it has not ended."""

    attempt: int
    path: str = ""
    object_bytes: int = 0
    file_count: int = 0
    byte_count: int = 0
    left_out_count: int = 0
    error: str = ""
    collected_at: datetime | None = None
    #: when what was kept of it was removed, and why
    removed_at: datetime | None = None
    removed_because: str | None = None


@dataclass(frozen=True)
class FileRecord:
    """One file of a rank: `size_bytes` from `offset_bytes` on of the rank's object."""

    path: str
    size_bytes: int
    mode: int
    modified_at: datetime
    offset_bytes: int


OUTPUT_LISTING = Listing(
    {
        "path": ListField(FieldType.TEXT, OutputFile.path, free_text=True, unbounded=True),
        "sizeBytes": ListField(FieldType.NUMBER, OutputFile.size_bytes),
        "modifyTime": ListField(FieldType.TIME, OutputFile.modified_at),
    },
    (OrderTerm("path"),),
    # The whole path, beside the beginning of it that is ordered by.
    ListField(FieldType.TEXT, OutputFile.path),
)

# Against an end that is recorded meanwhile: it waits for this, or this sees it.
_RANK = text(
    "SELECT r.state, j.account_id FROM ranks r JOIN jobs j ON j.id = r.job_id"
    " WHERE r.job_id = :job AND r.attempt = :attempt AND r.rank = :rank FOR SHARE OF r"
)
_KEY = (
    RankOutputs.job_id == bindparam("job"),
    RankOutputs.attempt == bindparam("attempt"),
    RankOutputs.rank == bindparam("rank"),
)
_OUTPUTS = select(
    RankOutputs.attempt,
    RankOutputs.path,
    RankOutputs.object_bytes,
    RankOutputs.file_count,
    RankOutputs.byte_count,
    RankOutputs.left_out_count,
    RankOutputs.error,
    RankOutputs.collected_at,
    RankOutputs.removed_at,
    RankOutputs.removed_because,
).where(*_KEY)
_DELETE = delete(RankOutputs).where(*_KEY)
_FILES = select(
    OutputFile.path, OutputFile.size_bytes, OutputFile.mode, OutputFile.modified_at, OutputFile.offset_bytes
)


def record_outputs(database: Database, job_id: str, attempt: int, rank: int, found: CollectedOutputs) -> None:
    """From now on this is what the rank left.

    Raises Superseded where the rank has ended by now, so that what there is of it is final; NotFound where neither
    its row nor anything that leads to the object is there any more.
    """
    key = {"job": job_id, "attempt": attempt, "rank": rank}
    with database.transaction() as connection:
        there = connection.execute(_RANK, key).first()
        if there is not None and there.state not in RANK_ENDED:
            connection.execute(_DELETE, key)
            _insert(connection, {"job_id": job_id, "attempt": attempt, "rank": rank}, there.account_id, found)
            return
        known = there is not None and connection.execute(_OUTPUTS, key).first()
    if not known:
        raise NotFound(f"rank {rank} of job {job_id} is gone, or has ended without outputs")
    raise Superseded(f"the outputs of rank {rank} of job {job_id} are recorded, and it has ended")


def _insert(connection: Connection, key: dict[str, object], account: str, found: CollectedOutputs) -> None:
    connection.execute(
        insert(RankOutputs).values(
            **key,
            account_id=account,
            path=found.path,
            object_bytes=found.object_bytes,
            file_count=len(found.files),
            byte_count=found.byte_count,
            left_out_count=found.left_out_count,
            error=found.error,
        )
    )
    rows = [
        {
            **key,
            "path": file.path,
            "size_bytes": file.size,
            "mode": file.mode,
            "modified_at": datetime.fromtimestamp(file.modified_at, UTC),
            "offset_bytes": file.offset,
        }
        for file in found.files
    ]
    if rows:
        connection.execute(insert(OutputFile), rows)


def recorded_outputs(database: Database, job_id: str, attempt: int, rank: int) -> OutputsRecord | None:
    """What was recorded of a rank before; None where nothing was."""
    with database.transaction() as connection:
        row = connection.execute(_OUTPUTS, {"job": job_id, "attempt": attempt, "rank": rank}).first()
    return None if row is None else OutputsRecord(**row._mapping)


def list_outputs(
    database: Database, account: str, job_id: str, rank: int, query: ListQuery, *, attempt: int | None = None
) -> tuple[Page[FileRecord], OutputsRecord]:
    """A page of the files that a rank left, by default in the latest attempt, and what there is in all.

    Raises NotFound where the job, or the attempt, has no such rank.
    """
    with database.transaction() as connection:
        key, record = _read(connection, account, job_id, rank, attempt)
        files = _FILES.where(*_of_rank(key))
        page = select_page(connection, files, OUTPUT_LISTING, query, lambda fields: FileRecord(**fields))
    return page, record


def get_outputs(
    database: Database, account: str, job_id: str, rank: int, *, attempt: int | None = None
) -> OutputsRecord:
    """What is kept of a rank. Raises NotFound where nothing is, OutputRemoved where nothing is any more."""
    with database.transaction() as connection:
        _, record = _read(connection, account, job_id, rank, attempt)
    if not record.path:
        raise NotFound(f"nothing is kept of what rank {rank} of job {job_id} left")
    _require_kept(record, rank)
    return record


def _require_kept(record: OutputsRecord, rank: int) -> None:
    if record.removed_at is not None:
        raise OutputRemoved(f"what rank {rank} left", record.removed_at, record.removed_because or "")


def get_output_file(
    database: Database, account: str, job_id: str, rank: int, path: str, *, attempt: int | None = None
) -> tuple[OutputsRecord, FileRecord]:
    """One file of a rank, and the object that it is in. Raises NotFound, OutputRemoved."""
    row = None
    with database.transaction() as connection:
        key, record = _read(connection, account, job_id, rank, attempt)
        # Postgres takes no NUL in a text, and no file's name has one.
        if "\0" not in path:
            row = connection.execute(_FILES.where(*_of_rank(key), OutputFile.path == path)).first()
    _require_kept(record, rank)
    if row is None:
        name = f"accounts/{account}/batchJobs/{job_id}/ranks/{rank}"
        raise NotFound(f"there is no output {name}/outputs/{path}")
    return record, FileRecord(**row._mapping)


def _read(
    connection: Connection, account: str, job_id: str, rank: int, attempt: int | None
) -> tuple[dict[str, Any], OutputsRecord]:
    job = read_job(connection, account, job_id)
    number = job.attempt if attempt is None else attempt
    key = {"job": job.id, "attempt": number, "rank": rank}
    of_rank = (Rank.job_id == job.id, Rank.attempt == number, Rank.rank == rank)
    if connection.execute(select(Rank.rank).where(*of_rank)).first() is None:
        raise rank_not_found(account, job_id, str(rank))
    row = connection.execute(_OUTPUTS, key).first()
    return key, OutputsRecord(number) if row is None else OutputsRecord(**row._mapping)


def _of_rank(key: dict[str, Any]) -> tuple[Any, ...]:
    return (
        OutputFile.job_id == key["job"],
        OutputFile.attempt == key["attempt"],
        OutputFile.rank == key["rank"],
    )
