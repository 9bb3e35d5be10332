"""Rows of what ranks left: once, until the rank has ended, and gone with the job and its objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.database import Database
from core.errors import NotFound, Superseded
from core.jobs import stopping
from core.jobs.outputs import CollectedOutputs, get_outputs, record_outputs, recorded_outputs
from core.object_store import ObjectStore
from core.output_packing import PackedFile
from tests.core.attempts_lab import RowsOnly
from worker.packer import Packer


def collected(*paths: str, error: str = "") -> CollectedOutputs:
    files = tuple(PackedFile(path, 1, 0o644, 0, 512) for path in paths)
    return CollectedOutputs("outputs/x" if paths else "", 99, len(paths), 0, error, files)


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def files_of(rows: RowsOnly, job: str) -> list[tuple[int, str]]:
    found = rows.execute("SELECT rank, path FROM output_files WHERE job_id = :j ORDER BY 1, 2", job)
    return [(row[0], row[1]) for row in found]


def test_outputs_that_are_recorded_again_before_the_end_are_replaced(rows: RowsOnly) -> None:
    job = rows.run()
    record_outputs(rows.database, job, 1, 0, collected("a", "b"))
    record_outputs(rows.database, job, 1, 0, collected("b", "c"))
    record_outputs(rows.database, job, 1, 1, collected(error="none"))
    assert files_of(rows, job) == [(0, "b"), (0, "c")]
    known = recorded_outputs(rows.database, job, 1, 1)
    assert known is not None and (known.error, known.file_count) == ("none", 0)


def test_outputs_of_a_rank_that_has_ended_are_final(rows: RowsOnly) -> None:
    job = rows.run()
    record_outputs(rows.database, job, 1, 0, collected("a"))
    rows.exit(job, 0, 0)
    rows.exit(job, 1, 0)
    with pytest.raises(Superseded):
        record_outputs(rows.database, job, 1, 0, collected("other"))
    with pytest.raises(NotFound, match="ended without outputs"):
        record_outputs(rows.database, job, 1, 1, collected("late"))
    with pytest.raises(NotFound):
        record_outputs(rows.database, "gone", 1, 0, collected("a"))
    assert files_of(rows, job) == [(0, "a")]


def test_outputs_of_nothing_but_an_error_cannot_be_downloaded(rows: RowsOnly) -> None:
    job = rows.run()
    record_outputs(rows.database, job, 1, 0, collected(error="the store was away"))
    with pytest.raises(NotFound, match="nothing is kept"):
        get_outputs(rows.database, rows.account, rows.job(job).batch_job_id, 0)


def test_outputs_go_with_their_job_from_rows_and_from_the_store(rows: RowsOnly, tmp_path: Path) -> None:
    store, job = ObjectStore(tmp_path.as_uri()), rows.run()
    path = f"outputs/{job}/1/0"
    store.write(path, [b"x"])
    record_outputs(rows.database, job, 1, 0, collected("a"))
    for rank in (0, 1):
        rows.exit(job, rank, 0)
    rows.release(job, 0, 1)
    stopping.delete(rows.database, rows.account, rows.job(job).batch_job_id)
    assert files_of(rows, job) == []
    assert list(store.paths_below("outputs/")) == [path]
    Packer(rows.database, store, compact_after_seconds=0).step()
    assert list(store.paths_below("outputs/")) == []
