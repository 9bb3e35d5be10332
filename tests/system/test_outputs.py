"""What ranks leave in $LONGSHORE_OUTPUT_DIR, from containers to an HTTP client, also when not all goes well."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.failpoints import Point
from tests.faults.harness.orders import Orders
from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, PYTHON, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

_LEAVING = """
cd $LONGSHORE_OUTPUT_DIR
echo "of rank $RANK" >"a name"
mkdir -p deep/er && head -c 3000000 /dev/urandom >deep/er/noise && sha256sum <deep/er/noise
: >empty; chmod 600 empty
ln -s /etc/passwd link; ln "a name" hard; mkfifo pipe
"""
_PATHS = ["a name", "deep/er/noise", "empty"]


def outputs_of(client: ApiClient, job: str, rank: int = 0, **params: Any) -> dict[str, Any]:
    answer = client.http.get(f"/batchJobs/{job}/ranks/{rank}/outputs", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def paths_of(client: ApiClient, job: str, rank: int = 0, **params: Any) -> list[str]:
    return [each["path"] for each in outputs_of(client, job, rank, **params)["outputs"]]


def file_of(client: ApiClient, job: str, path: str, rank: int = 0) -> bytes:
    answer = client.http.get(f"/batchJobs/{job}/ranks/{rank}/outputs/{path}")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Orders:
    return Orders(tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def strict(servers: Servers, orders: Orders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that keeps little, waits for its store for some seconds, and dies where it is told to."""
    ensure_busybox()
    started = Platform(
        servers,
        tmp_path_factory.mktemp("strict"),
        variables=lambda process, environment: orders.variables(process),
        output_max_bytes=1000,
        output_max_files=3,
        output_patience_seconds=8,
        listing_seconds=1,
        lease_seconds=3,
        sweep_seconds=1,
    )
    yield started
    started.stop()


class StoreAway:
    """A file in the place of the folder that outputs go to, until it is mended."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._aside = folder, folder.with_name("aside")
        folder.mkdir(parents=True, exist_ok=True)
        folder.rename(self._aside)
        folder.write_text("in the way")

    def mend(self) -> None:
        if self._aside.exists():
            self._folder.unlink()
            self._aside.rename(self._folder)


@pytest.fixture
def store_away(strict: Platform) -> Iterator[StoreAway]:
    away = StoreAway(strict.folder / "objects" / "outputs")
    yield away
    away.mend()


def test_files_that_ranks_leave_are_listed_and_downloaded(
    platform: Platform, client: ApiClient, busybox: str
) -> None:
    job = client.shell(_LEAVING, image=busybox, ranks=2)["id"]
    assert client.wait_end(job)["state"] == "COMPLETED"
    for rank in (0, 1):
        found = outputs_of(client, job, rank)
        assert [each["path"] for each in found["outputs"]] == _PATHS
        assert [each["sizeBytes"] for each in found["outputs"]] == ["10", "3000000", "0"]
        assert found["outputs"][2]["mode"] == "0600"
        summary = found["summary"]
        assert (summary["fileCount"], summary["leftOutCount"], summary["error"]) == (3, 3, "")
        assert file_of(client, job, "a name", rank) == f"of rank {rank}\n".encode()
        noise = file_of(client, job, "deep/er/noise", rank)
        assert client.lines(job, rank) == [f"{hashlib.sha256(noise).hexdigest()}  -"]
        whole = client.http.get(f"/batchJobs/{job}/ranks/{rank}:downloadOutputs").content
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            assert sorted(tar.getnames()) == _PATHS
            file = tar.extractfile("deep/er/noise")
            assert file is not None and file.read() == noise
    assert not platform.query("SELECT 1 FROM rank_outputs WHERE error <> ''")


def test_rank_that_leaves_nothing_has_no_outputs_and_no_object(
    platform: Platform, client: ApiClient, busybox: str
) -> None:
    before = platform.query("SELECT count(*) FROM rank_outputs")
    job = client.shell("stat -c %a:%Y $LONGSHORE_OUTPUT_DIR", image=busybox)["id"]
    assert client.wait_end(job)["state"] == "COMPLETED"
    # The stamp by which it is seen without a reading that nothing was made in it.
    assert client.lines(job) == ["1777:34401906"]
    assert outputs_of(client, job)["summary"]["collectTime"] is None
    assert platform.query("SELECT count(*) FROM rank_outputs") == before


@pytest.mark.parametrize("user", ["", "1000:1000"])
def test_whoever_the_image_runs_as_can_leave_files(platform: Platform, client: ApiClient, user: str) -> None:
    image = f"longshore-test/leaving-{'user' if user else 'root'}:1"
    changes = 'CMD ["sh", "-c", "echo own >$LONGSHORE_OUTPUT_DIR/own"]'
    container = platform.engine.containers.create(BUSYBOX, "true")
    try:
        container.commit(*image.split(":"), changes=[changes, *([f"USER {user}"] if user else [])])
    finally:
        container.remove()
    for more in ({}, {"shellExecutor": {"command": "id -u; echo own >$LONGSHORE_OUTPUT_DIR/own"}}):
        job = client.create(imageRef=image, **more)["id"]
        assert client.wait_end(job)["state"] == "COMPLETED", client.get(job)["status"]
        assert file_of(client, job, "own") == b"own\n"
        job = client.create(imageRef=image, shellExecutor={"command": "exit 3"})["id"]
        assert client.wait_end(job)["state"] == "FAILED"
        assert outputs_of(client, job)["summary"]["collectTime"] is None


def test_python_leaves_files_also_where_it_fails_and_each_attempt_has_its_own(client: ApiClient) -> None:
    program = (
        "import os, pathlib; attempt = os.environ['LONGSHORE_ATTEMPT'];"
        "pathlib.Path(os.environ['LONGSHORE_OUTPUT_DIR'], 'of' + attempt).write_text(attempt); raise SystemExit(9)"
    )
    job = client.create(
        imageRef=PYTHON,
        files={"it.py": program},
        pythonExecutor={"targetType": "FILENAME", "target": "it.py"},
        retryPolicy={"maxAttempts": 2, "backoff": {"initial": "0s"}},
    )["id"]
    assert client.wait_end(job)["state"] == "FAILED"
    (rank,) = client.ranks(job)
    assert (rank["exitCode"], rank["attempt"]) == (9, 2)
    assert (paths_of(client, job), paths_of(client, job, attempt=1)) == (["of2"], ["of1"])


def test_cancelled_job_keeps_what_it_had_left(client: ApiClient, busybox: str) -> None:
    command = "trap 'exit 0' TERM; echo 1 >$LONGSHORE_OUTPUT_DIR/checkpoint; echo up; sleep 60 & wait"
    job = client.shell(command, image=busybox)["id"]
    wait_until(lambda: client.lines(job) == ["up"], 60, "it runs")
    client.cancel(job)
    assert client.wait_end(job)["state"] == "CANCELLED"
    wait_until(lambda: client.ranks(job)[0]["endTime"] is not None, 30, "its rank has ended")
    assert paths_of(client, job) == ["checkpoint"]


def test_more_than_is_allowed_is_said_exactly_and_changes_no_verdict(strict: Platform) -> None:
    client = strict.client
    command = "cd $LONGSHORE_OUTPUT_DIR; head -c 900 /dev/zero >a; head -c 600 /dev/zero >b; echo 1 >c; echo said"
    job = client.shell(command, image=BUSYBOX)["id"]
    assert client.wait_end(job)["state"] == "COMPLETED"
    error = (
        "the outputs are 1502 bytes in 3 files, and 1000 bytes in 3 files are allowed:"
        " 2 of the files, 902 bytes, are kept"
    )
    assert outputs_of(client, job)["summary"]["error"] == error
    assert paths_of(client, job) == ["a", "c"]
    (rank,) = client.ranks(job)
    assert (rank["state"], rank["status"]) == ("SUCCEEDED", f"said; {error}")
    assert len(file_of(client, job, "a")) == 900


def test_store_that_comes_back_in_time_gets_all(strict: Platform, store_away: StoreAway) -> None:
    job = strict.client.shell("echo kept >$LONGSHORE_OUTPUT_DIR/it", image=BUSYBOX)["id"]
    wait_until(
        lambda: f"'outputs_put_off' job='{_key(strict, job)}'" in strict.log("supervisor"),
        60,
        "it was put off",
        every=0.1,
    )
    store_away.mend()
    assert strict.client.wait_end(job)["state"] == "COMPLETED"
    assert file_of(strict.client, job, "it") == b"kept\n"
    strict.client.delete(job)


def test_store_that_stays_away_holds_nobody_for_long_and_is_in_the_record(
    strict: Platform, store_away: StoreAway
) -> None:
    job = strict.client.shell("echo lost >$LONGSHORE_OUTPUT_DIR/it; exit 3", image=BUSYBOX)["id"]
    others = [strict.client.shell("true", image=BUSYBOX)["id"] for _ in range(4)]
    for other in others:
        assert strict.client.wait_end(other)["state"] == "COMPLETED"
    done = strict.client.wait_end(job, 40)
    assert (done["state"], done["reason"]) == ("FAILED", "EXIT_CODE"), done
    summary = outputs_of(strict.client, job)["summary"]
    assert summary["error"] == "the outputs are not kept: the object store does not answer"
    assert summary["error"] in strict.client.ranks(job)[0]["status"]
    assert strict.client.http.get(f"/batchJobs/{job}/ranks/0:downloadOutputs").status_code == 404
    strict.wait_at_rest()


@pytest.mark.parametrize("point", [Point.OUTPUT_DRAINED, Point.OUTPUTS_WRITTEN, Point.OUTPUTS_RECORDED])
def test_supervisor_that_is_killed_on_the_way_is_followed_by_one_that_comes_to_the_same(
    strict: Platform, orders: Orders, point: Point
) -> None:
    client = strict.client
    job = client.shell("sleep 2; echo kept >$LONGSHORE_OUTPUT_DIR/it", image=BUSYBOX, ranks=2)["id"]
    order = orders.give("supervisor", point, _key(strict, job), "rank-1")
    wait_until(lambda: order.is_taken, 60, "it came to the point")
    strict.kill("supervisor")
    strict.start("supervisor")
    assert client.wait_end(job)["state"] == "COMPLETED"
    assert [file_of(client, job, "it", rank) for rank in (0, 1)] == [b"kept\n"] * 2
    strict.wait_at_rest()
    objects = strict.folder / "objects" / "outputs" / _key(strict, job)
    client.delete(job)
    wait_until(lambda: not objects.exists(), 60, "the objects of a deleted job are gone")


def _key(platform: Platform, job: str) -> str:
    """Of its rows."""
    return str(platform.query(f"SELECT id FROM jobs WHERE batch_job_id = '{job}'")[0][0])
