"""Ended attempts' output goes from rows into objects: nothing is lost, doubled or moved, whoever dies or reads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import NoObjectStore, Superseded, Unavailable
from core.failpoints import Point
from core.jobs import stopping
from core.jobs.packing import RankChunks, WrittenObject, chunks_of_ranks, read_chunks, record_packed
from core.log_blocks import stored_output
from core.log_packing import Packing
from core.logs import ResumePoint, read_page, resume_point
from tests.core.packing_lab import PACKING_CRASHES, PackingLab
from worker.packer import Packer


def test_output_of_an_ended_job_is_in_objects_and_reads_as_before(lab: PackingLab) -> None:
    job = lab.ended(3, silent=[1])
    before = {from_head: lab.read(job, from_head=from_head) for from_head in (True, False)}
    points = [resume_point(lab.database, job, 1, rank) for rank in range(3)]
    assert len(before[True]) == 2 * 40 * 7
    lab.pack()
    assert (lab.chunk_count(job), lab.packed(job)) == (0, [1])
    assert [path.rpartition("/")[2] for path in lab.paths(job)] == ["0-40", "2-40"], "what is silent has none"
    for from_head, entries in before.items():
        assert lab.read(job, from_head=from_head) == entries
    assert [resume_point(lab.database, job, 1, rank) for rank in range(3)] == points
    assert points[1] == ResumePoint(0, 0, 0, 0, 0)
    lab.pack()
    assert lab.read(job) == before[True]


def test_places_given_out_before_hold_after_it(lab: PackingLab) -> None:
    job = lab.ended(2, chunks=9)
    whole = {from_head: [entry for entry, _ in lab.read(job, from_head=from_head)] for from_head in (True, False)}
    places = {
        (from_head, limit): read_page(lab.database, job, 1, ranks=None, limit=limit, from_head=from_head).positions
        for from_head in (True, False)
        for limit in range(1, 126, 4)
    }
    lab.pack()
    assert lab.packed(job) == [1]
    for (from_head, limit), positions in places.items():
        rest = read_page(
            lab.database, job, 1, store=lab.store, ranks=None, limit=1000, from_head=from_head, positions=positions
        )
        assert list(rest.entries) == whole[from_head][limit:]


def test_attempts_are_packed_once_their_job_has_moved_on_and_nothing_of_them_is_left(lab: PackingLab) -> None:
    running, ending = lab.printed(1), lab.printed(2)
    lab.rows.exit(ending, 0, 0)
    lab.rows.exit(ending, 1, 0)
    lab.rows.release(ending, 0)
    fresh = lab.ended(1)
    lab.packer(compact_after_seconds=3600).step()
    assert lab.packed(fresh) == []
    lab.pack()
    assert (lab.packed(running), lab.packed(ending), lab.packed(fresh)) == ([], [], [1])
    assert (lab.chunk_count(running), lab.chunk_count(ending)) == (40, 80)
    lab.rows.release(ending, 1)
    lab.pack()
    assert lab.packed(ending) == [1]


def test_search_goes_on_where_it_stopped_and_begins_again(
    lab: PackingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.packer._ATTEMPTS", 3)
    jobs = [lab.ended(1, chunks=1) for _ in range(8)]
    running = [lab.printed(1, chunks=1) for _ in range(4)]
    packer = lab.packer()
    for _ in range(12):
        packer.step()
    assert all(lab.packed(job) == [1] for job in jobs)
    assert all(lab.packed(job) == [] for job in running)
    later = lab.ended(1, chunks=1)
    for _ in range(12):
        packer.step()
    assert lab.packed(later) == [1]


def test_folder_that_the_store_does_not_remove_keeps_nothing_else_from_it(lab: PackingLab) -> None:
    job = lab.ended(1, chunks=1)
    lab.rows.execute("INSERT INTO doomed_objects (folder) VALUES ('logs/' || :j || '-odd/'), ('logs/gone/')", job)
    odd = _refuse(lab, f"{job}-odd")
    with pytest.raises(Unavailable):
        lab.packer().step()
    assert lab.packed(job) == [1]
    assert lab.rows.execute("SELECT folder FROM doomed_objects", job) == [(f"logs/{job}-odd/",)]
    odd.unlink()
    lab.packer().step()
    assert lab.rows.execute("SELECT folder FROM doomed_objects", job) == []


def _refuse(lab: PackingLab, name: str) -> Path:
    """Make a folder that the store cannot list; what has to go for that."""
    odd = lab.folder / "logs" / name / "a link to itself"
    odd.parent.mkdir(parents=True)
    odd.symlink_to(odd)
    return odd


def test_folders_that_the_store_does_not_remove_keep_no_later_ones_from_it_and_are_tried_again(
    lab: PackingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.packer._FOLDERS", 2)
    job, doom = lab.ended(1, chunks=1), "INSERT INTO doomed_objects (folder) VALUES ('logs/' || :j || '-odd{}/')"
    odd = []
    for number in range(3):
        lab.rows.execute(doom.format(number), job)
        odd.append(_refuse(lab, f"{job}-odd{number}"))
    lab.rows.execute("INSERT INTO doomed_objects (folder) VALUES ('logs/' || :j || '-later/')", job)
    packer = lab.packer()
    for _ in range(2):
        with pytest.raises(Unavailable):
            packer.step()
    left = "SELECT folder FROM doomed_objects ORDER BY folder"
    assert lab.rows.execute(left, job) == [(f"logs/{job}-odd{number}/",) for number in range(3)]
    for each in odd:
        each.unlink()
    for _ in range(3):
        packer.step()
    assert lab.rows.execute(left, job) == []


def test_object_that_cannot_be_written_keeps_the_others_waiting_for_a_step_alone(lab: PackingLab) -> None:
    jobs = sorted(lab.ended(1, chunks=1) for _ in range(3))
    blocked = lab.folder / "logs" / jobs[1]
    blocked.parent.mkdir()
    blocked.write_text("a file where a folder is to be")
    packer = lab.packer()
    with pytest.raises(Unavailable):
        packer.step()
    packer.step()
    assert [lab.packed(job) for job in jobs] == [[1], [], [1]]
    assert len(lab.read(jobs[1])) == 7
    blocked.unlink()
    packer.step()
    packer.step()
    assert lab.packed(jobs[1]) == [1]


@pytest.mark.parametrize("point", PACKING_CRASHES)
def test_kill_at_any_point_of_the_packing_loses_and_doubles_nothing(
    lab: PackingLab, tmp_path: Path, point: Point
) -> None:
    job = lab.ended(2)
    before = lab.read(job)
    lab.die_at(point, job, tmp_path / "orders")
    assert lab.packed(job) == ([1] if point is Point.OUTPUT_PACKED else [])
    assert lab.chunk_count(job) == 80
    assert lab.read(job) == before
    lab.pack()
    assert (lab.packed(job), lab.chunk_count(job), len(lab.paths(job))) == ([1], 0, 2)
    assert lab.read(job) == before


def test_kill_after_objects_were_removed_has_them_removed_again(lab: PackingLab, tmp_path: Path) -> None:
    job = lab.ended(1)
    lab.pack()
    stopping.delete(lab.database, lab.rows.account, lab.rows.job(job).batch_job_id)
    lab.die_at(Point.OBJECTS_REMOVED, f"logs/{job}/", tmp_path / "orders")
    assert lab.paths(job) == []
    lab.pack()
    assert lab.rows.execute("SELECT folder FROM doomed_objects WHERE folder LIKE '%' || :j || '%'", job) == []


def test_output_that_comes_while_it_is_packed_is_not_left_out(lab: PackingLab) -> None:
    job = lab.ended(2)
    planned = chunks_of_ranks(lab.database, job, 1)
    written = [lab.packer()._write(chunks) for chunks in planned]
    lab.say(job, 1, 40)
    with pytest.raises(Superseded, match="more output"):
        record_packed(lab.database, job, 1, written)
    before = lab.read(job)
    lab.pack()
    assert lab.read(job) == before
    assert "1-41" in lab.paths(job)[-1]


def test_output_that_comes_after_it_counts_for_nobody_and_is_deleted(lab: PackingLab) -> None:
    job = lab.ended(2)
    before = lab.read(job)
    lab.pack()
    lab.say(job, 0, 0)
    lab.say(job, 1, 40)
    assert lab.read(job) == before
    lab.pack()
    assert lab.chunk_count(job) == 0
    assert lab.read(job) == before


def test_worker_that_is_late_leaves_the_objects_as_they_are(lab: PackingLab) -> None:
    job = lab.ended(1, chunks=200)
    (planned,) = chunks_of_ranks(lab.database, job, 1)
    reading = read_chunks(lab.database, planned)
    begun = [next(reading)]
    before = lab.read(job)
    lab.pack()

    def rest() -> list[bytes]:
        return list(Packing().parts([*begun, *reading]))

    with pytest.raises(Superseded, match="have gone"):
        rest()
    with pytest.raises(Superseded, match="have gone"):
        lab.packer()._write(planned)
    assert lab.read(job) == before


def test_two_workers_at_once_pack_each_attempt_once(lab: PackingLab) -> None:
    jobs = [lab.ended(2, chunks=5) for _ in range(6)]
    before = [lab.read(job) for job in jobs]
    with ThreadPoolExecutor(3) as threads:
        for _ in threads.map(lambda _: lab.pack(), range(3)):
            pass
    lab.pack()
    assert [lab.packed(job) for job in jobs] == [[1]] * 6
    assert [lab.read(job) for job in jobs] == before


def test_readers_that_page_while_it_is_packed_see_no_gap_and_no_repeat(lab: PackingLab) -> None:
    jobs = [lab.ended(2, chunks=30) for _ in range(5)]
    whole = {job: [entry for entry, _ in lab.read(job, limit=1000)] for job in jobs}
    stop = threading.Event()

    def page() -> int:
        rounds = 0
        while not stop.is_set():
            for job in jobs:
                for from_head in (True, False):
                    found = [entry for entry, _ in lab.read(job, from_head=from_head, limit=11)]
                    assert found == (whole[job] if from_head else whole[job][::-1])
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as threads:
        reading = [threads.submit(page) for _ in range(3)]
        try:
            for _ in range(4):
                lab.pack()
        finally:
            stop.set()
        assert all(each.result() >= 1 for each in reading)
    assert all(lab.packed(job) == [1] for job in jobs)


def test_reader_in_rows_sees_them_to_the_end_although_they_are_packed_meanwhile(lab: PackingLab) -> None:
    job = lab.ended(1, chunks=5)
    with stored_output(lab.database, lab.store, job, 1, None) as output:
        first = output.next_chunk(0, None, from_head=True, since_ns=0)
        lab.pack()
        assert lab.chunk_count(job) == 0
        last = output.next_chunk(0, None, from_head=False, since_ns=0)
    assert first is not None and last is not None
    assert (first.seq, last.seq) == (0, 4)


def test_output_without_its_store_or_its_object_is_an_error_and_no_short_log(lab: PackingLab) -> None:
    job = lab.ended(2)
    lab.pack()
    with pytest.raises(NoObjectStore, match="LONGSHORE_OBJECT_STORE_URL"):
        read_page(lab.database, job, 1, ranks=None, limit=1, from_head=True)
    (lab.folder / lab.paths(job)[0]).unlink()
    with pytest.raises(Unavailable, match="has no logs/"):
        lab.read(job)
    other = lab.folder / lab.paths(job)[0]
    other.write_bytes(bytes(other.stat().st_size))
    with pytest.raises(Unavailable, match="something else than a log"):
        read_page(lab.database, job, 1, store=lab.store, ranks=[1], limit=1, from_head=True)


def test_objects_of_a_deleted_job_are_removed_at_once_and_those_of_others_stay(lab: PackingLab) -> None:
    doomed, other = lab.ended(2), lab.ended(1)
    lab.pack()
    stopping.delete(lab.database, lab.rows.account, lab.rows.job(doomed).batch_job_id)
    assert lab.rows.execute("SELECT 1 FROM log_objects WHERE job_id = :j", doomed) == []
    lab.pack()
    assert lab.paths(doomed) == []
    assert not (lab.folder / "logs" / doomed).exists(), "nor folders"
    assert len(lab.read(other)) == 280


def test_job_that_is_deleted_while_it_is_packed_leaves_no_object(lab: PackingLab) -> None:
    job = lab.ended(2)

    class Interrupted(Packer):
        def _write(self, chunks: RankChunks) -> WrittenObject:
            written = super()._write(chunks)
            if chunks.rank == 1:
                stopping.delete(lab.database, lab.rows.account, lab.rows.job(job).batch_job_id)
            return written

    Interrupted(lab.database, lab.store, compact_after_seconds=0).step()
    assert lab.rows.execute("SELECT 1 FROM jobs WHERE id = :j", job) == []
    assert lab.paths(job) == []


def test_hunt_removes_what_no_job_has_and_is_old_enough_and_nothing_else(lab: PackingLab) -> None:
    job = lab.ended(1)
    lab.pack()
    strays = ["logs/gone/1/0-3", "outputs/gone/1/0/result.bin", "outputs/also-gone/2/7/a/b"]
    for path in [*strays, f"outputs/{job}/1/0/x", "elsewhere/gone/1/0"]:
        lab.store.write(path, [b"1"])
    lab.packer(hunt_seconds=0).step()
    assert set(strays) <= set(lab.store.paths_below("")), "they are young"
    lab.packer(hunt_seconds=3600, hunt_grace_seconds=0).step()
    assert set(strays) <= set(lab.store.paths_below("")), "it is not time"
    lab.packer(hunt_seconds=0, hunt_grace_seconds=0).step()
    left = set(lab.store.paths_below(""))
    assert left.isdisjoint(strays)
    assert {f"outputs/{job}/1/0/x", "elsewhere/gone/1/0", *lab.paths(job)} <= left
