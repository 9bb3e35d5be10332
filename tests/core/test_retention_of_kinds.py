"""Retention of what attempts leave beside logs: files of ranks, by age and by size; executed notebooks, by age."""

from __future__ import annotations

import zlib

import pytest

from core.errors import NotFound, OutputRemoved
from core.jobs.ending import keep_running_notebook
from core.jobs.outputs import get_output_file, list_outputs
from core.jobs.reading import get_notebook
from core.jobs.retention import Retention, remove_old_notebooks
from core.listing.paging import ListQuery
from tests.api.left_outputs import leave_outputs
from tests.core.packing_lab import DAYS, PackingLab
from tests.core.retention_lab import BY_AGE, bound, grow_old, kept, kept_bytes, left, outputs_kept, packed, run


def test_outputs_older_than_the_age_are_removed_but_not_those_of_an_attempt_that_goes_on(lab: PackingLab) -> None:
    old, young = left(lab, DAYS + 1, DAYS - 1)
    running = lab.printed(2, chunks=1)
    leave_outputs(lab.database, lab.folder.as_uri(), running, {"a": b"1"})
    lab.rows.exit(running, 0, 0)
    lab.rows.execute(
        "UPDATE rank_outputs SET collected_at = now() - interval '90 days' WHERE job_id = :j", running
    )
    run(lab, BY_AGE)
    assert outputs_kept(lab, old, young, running) == [young, running]
    with pytest.raises(OutputRemoved, match="output is kept for 30 days"):
        get_output_file(lab.database, lab.rows.account, old, 0, "a")
    page, record = list_outputs(lab.database, lab.rows.account, old, 0, ListQuery(limit=10))
    assert (page.items, record.file_count, record.removed_because) == ((), 1, "output is kept for 30 days")
    kept_bytes(lab)


def test_outputs_of_an_attempt_go_together_once_the_last_of_them_is_old(lab: PackingLab) -> None:
    (job,) = left(lab, DAYS + 9)
    lab.rows.execute(
        "INSERT INTO rank_outputs (job_id, attempt, rank, account_id, path, object_bytes, file_count, byte_count,"
        f" left_out_count, collected_at) SELECT job_id, attempt, 1, account_id, path, {10**6}, 1, 1, 0,"
        " now() FROM rank_outputs WHERE job_id = :j",
        job,
    )
    run(lab, BY_AGE)
    assert outputs_kept(lab, job) == [job], "the second rank's are new"
    (newer,) = left(lab, -1)
    bound(lab, retention_bytes=kept_bytes(lab) - 900_000)
    run(lab, Retention())
    assert outputs_kept(lab, job, newer) == [newer]
    assert kept_bytes(lab) < 900_000


def test_outputs_and_logs_of_an_account_over_its_size_go_together_the_oldest_first(lab: PackingLab) -> None:
    (oldest_log,) = packed(lab, 9)
    oldest, newest = left(lab, 8, 6, size=500_000)
    (newest_log,) = packed(lab, 5)
    bound(lab, retention_bytes=kept_bytes(lab) - 400_000)
    run(lab, Retention())
    assert (kept(lab, oldest_log, newest_log), outputs_kept(lab, oldest, newest)) == ([newest_log], [newest])


def test_executed_notebooks_of_ended_attempts_go_by_age_and_others_stay(lab: PackingLab) -> None:
    old, young, running = lab.printed(2), lab.printed(1), lab.printed(1)
    for job, ranks in ((old, (0, 1)), (young, (0,)), (running, (0,))):
        for rank in ranks:
            keep_running_notebook(lab.database, job, 1, rank, b"{}")
    lab.end(old)
    lab.end(young)
    lab.pack()
    grow_old(lab, old, 40)
    lab.rows.execute("UPDATE notebooks SET kept_at = now() - interval '40 days' WHERE job_id = :j", running)

    def notebook(job: str, rank: int = 0) -> bytes:
        return get_notebook(lab.database, lab.rows.account, lab.rows.job(job).batch_job_id, rank)

    run(lab, Retention())
    assert notebook(old, 1) == b"{}"
    assert remove_old_notebooks(lab.database, BY_AGE, 1) == 1
    run(lab, BY_AGE)
    for rank in (0, 1):
        with pytest.raises(OutputRemoved, match=rf"notebook of rank {rank} was removed on .*: .* for 30 days$"):
            notebook(old, rank)
    assert (notebook(young), notebook(running)) == (b"{}", b"{}")
    with pytest.raises(NotFound, match="has no executed notebook"):
        notebook(young, 1)
    bound(lab, retention_days=50)
    lab.rows.execute("UPDATE notebooks SET content = :c, removed_at = NULL".replace(":c", "''::bytea"), old)
    run(lab, BY_AGE)
    assert lab.rows.execute("SELECT 1 FROM notebooks WHERE job_id = :j AND content IS NULL", old) == []


def test_notebook_that_is_kept_again_counts_its_age_anew(lab: PackingLab) -> None:
    job = lab.printed(1)
    keep_running_notebook(lab.database, job, 1, 0, b"1")
    lab.rows.execute("UPDATE notebooks SET kept_at = now() - interval '40 days' WHERE job_id = :j", job)
    keep_running_notebook(lab.database, job, 1, 0, b"2")
    found = "SELECT content, account_id, kept_at > now() - interval '1 hour' FROM notebooks WHERE job_id = :j"
    assert lab.rows.execute(found, job) == [(zlib.compress(b"2"), lab.rows.account, True)]
