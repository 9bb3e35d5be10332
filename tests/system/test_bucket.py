"""What ended jobs left goes to an S3 bucket, is read there, waits while that is away, and goes with the job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.bucket import Bucket
from tests.lab.images import ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

_SCRIPT = 'echo "printed by $RANK"; echo "left by $RANK" > $LONGSHORE_OUTPUT_DIR/note.txt'


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    made = Bucket(tmp_path_factory.mktemp("s3"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def platform(servers: Servers, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(
        servers,
        tmp_path_factory.mktemp("bucket"),
        variables=lambda name, environment: bucket.variables,
        object_store_url=bucket.url,
        sweep_seconds=1,
        compact_after_seconds=1,
    )
    yield started
    started.stop()


def _read(platform: Platform, job_id: str) -> tuple[list[str], list[bytes]]:
    notes = [platform.client.http.get(f"/batchJobs/{job_id}/ranks/{rank}/outputs/note.txt") for rank in (0, 1)]
    assert all(note.status_code == 200 for note in notes), [note.text for note in notes]
    return sorted(platform.client.lines(job_id)), [note.content for note in notes]


def test_job_is_kept_in_a_bucket_read_from_it_and_removed_from_it(
    platform: Platform, bucket: Bucket, busybox: str
) -> None:
    job_id = platform.client.shell(_SCRIPT, image=busybox, ranks=2)["id"]
    assert platform.client.wait_end(job_id)["state"] == "COMPLETED"
    wait_until(lambda: platform.query("SELECT 1 FROM log_chunks") == [], 60, "no output is left in rows")
    assert len(bucket.names()) == 4, "of each rank what it printed and what it left"
    assert _read(platform, job_id) == (["printed by 0", "printed by 1"], [b"left by 0\n", b"left by 1\n"])
    platform.client.delete(job_id)
    wait_until(lambda: bucket.names() == [], 60, "the objects of a deleted job are gone")


def test_output_stays_in_rows_and_is_read_from_them_while_the_bucket_is_away(
    platform: Platform, bucket: Bucket, busybox: str
) -> None:
    bucket.drop()
    job_id = platform.client.shell('echo "printed by $RANK"', image=busybox)["id"]
    assert platform.client.wait_end(job_id)["state"] == "COMPLETED"
    log = platform.folder / "worker.log"
    wait_until(lambda: "has no bucket" in log.read_text(), 60, "packing was tried and put off")
    assert platform.client.lines(job_id) == ["printed by 0"]
    assert platform.query("SELECT 1 FROM log_objects") == []
    bucket.make()
    wait_until(lambda: len(bucket.names()) == 1, 60, "it is packed once the bucket is there")
    wait_until(lambda: platform.query("SELECT 1 FROM log_chunks") == [], 60, "no output is left in rows")
    assert platform.client.lines(job_id) == ["printed by 0"]
