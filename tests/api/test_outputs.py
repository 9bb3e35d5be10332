"""What a rank left, as a client sees it: a list by pages, each file, and all of them as a tar."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from core.database import Database
from core.jobs.retention import Expired, remove_expired
from core.object_store import ObjectStore
from core.settings import Settings
from tests.api.conftest import ACCOUNT, Served, client_of, serving
from tests.api.left_outputs import leave_outputs

Create = Callable[..., str]

FILES = {
    "a.txt": b"first",
    'od"d/näme%41.bin': bytes(range(256)) * 9000,
    "empty": b"",
    "x/:y": b"z",
    "page.html": b"<script>alert(1)</script>",
}


@pytest.fixture
def left(database: Database, served: Served, create: Create) -> str:
    """A job of two ranks; the first left `FILES`, the second nothing."""
    job_id = create(numRanks=2)
    leave_outputs(database, served.object_store_url, job_id, FILES, error="one was too large")
    return job_id


def listed(client: httpx.Client, job_id: str, rank: int = 0, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/batchJobs/{job_id}/ranks/{rank}/outputs", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def fetched(client: httpx.Client, job_id: str, path: str, rank: int = 0) -> httpx.Response:
    return client.get(f"/batchJobs/{job_id}/ranks/{rank}/outputs/{quote(path)}")


def test_outputs_are_listed_with_their_sum(admin: httpx.Client, left: str) -> None:
    found = listed(admin, left)
    assert [each["path"] for each in found["outputs"]] == sorted(FILES)
    first = found["outputs"][0]
    assert first == {
        "name": f"accounts/{ACCOUNT}/batchJobs/{left}/ranks/0/outputs/a.txt",
        "path": "a.txt",
        "sizeBytes": "5",
        "mode": "0644",
        "modifyTime": "2026-01-01T00:00:00Z",
    }
    summary = found["summary"]
    assert (summary["fileCount"], summary["sizeBytes"]) == (5, str(sum(map(len, FILES.values()))))
    assert (summary["error"], summary["leftOutCount"], found["attempt"]) == ("one was too large", 0, 1)
    assert summary["collectTime"]
    assert (summary["removeTime"], summary["removeReason"]) == (None, "")


def test_outputs_of_a_rank_that_left_nothing_are_none(admin: httpx.Client, left: str) -> None:
    found = listed(admin, left, 1)
    assert (found["outputs"], found["totalSize"], found["summary"]["collectTime"]) == ([], 0, None)
    assert admin.get(f"/batchJobs/{left}/ranks/1:downloadOutputs").status_code == 404


def test_outputs_by_pages_filter_and_order(admin: httpx.Client, left: str) -> None:
    paths, token = [], ""
    while True:
        page = listed(admin, left, pageSize=2, pageToken=token, orderBy="sizeBytes desc")
        paths += [each["path"] for each in page["outputs"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert paths == sorted(FILES, key=lambda path: -len(FILES[path]))
    assert [e["path"] for e in listed(admin, left, filter='path = "*.txt"')["outputs"]] == ["a.txt"]
    assert [e["path"] for e in listed(admin, left, filter="sizeBytes > 1000")["outputs"]] == ['od"d/näme%41.bin']


@pytest.mark.parametrize("path", FILES)
def test_output_is_downloaded_byte_for_byte_as_a_file(admin: httpx.Client, left: str, path: str) -> None:
    answer = fetched(admin, left, path)
    assert answer.status_code == 200, answer.text
    assert answer.content == FILES[path]
    assert answer.headers["content-length"] == str(len(FILES[path]))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")


def test_output_with_an_odd_name_keeps_it_in_the_header(admin: httpx.Client, left: str) -> None:
    said = fetched(admin, left, 'od"d/näme%41.bin').headers["content-disposition"]
    assert said == "attachment; filename=\"n_me_41.bin\"; filename*=UTF-8''n%C3%A4me%2541.bin"


def test_all_outputs_are_downloaded_as_a_tar(admin: httpx.Client, left: str) -> None:
    answer = admin.get(f"/batchJobs/{left}/ranks/0:downloadOutputs")
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == f'attachment; filename="{left}-0.tar"'
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        found = {each.name: (file := tar.extractfile(each)) and file.read() for each in tar}
    assert found == FILES


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ranks/0/outputs/nothing", 404),
        ("/ranks/0/outputs/a.txt?attempt=2", 404),
        ("/ranks/0/outputs/a.txt?attempt=x", 400),
        ("/ranks/0/outputs/a.txt?other=1", 400),
        ("/ranks/0/outputs/%2e%2e%2fa.txt", 404),
        ("/ranks/0/outputs/a%00b", 404),
        ("/ranks/2/outputs", 404),
        ("/ranks/x/outputs", 404),
        ("/ranks/0/outputs?attempt=7", 404),
        ("/ranks/2:downloadOutputs", 404),
        ("/ranks/0:downloadOutputs?attempt=-1", 400),
    ],
)
def test_outputs_that_cannot_be_answered_are_refused(
    admin: httpx.Client, left: str, path: str, status: int
) -> None:
    assert admin.get(f"/batchJobs/{left}{path}").status_code == status


def test_outputs_that_were_removed_say_when_and_why(admin: httpx.Client, left: str, database: Database) -> None:
    expired = Expired("outputs", left, 1, "output is kept for 30 days")
    assert remove_expired(database, expired)
    found = listed(admin, left)
    assert (found["outputs"], found["summary"]["fileCount"]) == ([], len(FILES))
    assert found["summary"]["removeTime"] and found["summary"]["removeReason"] == expired.because
    for answer in (fetched(admin, left, "a.txt"), admin.get(f"/batchJobs/{left}/ranks/0:downloadOutputs")):
        assert answer.status_code == 404
        assert "what rank 0 left was removed on" in answer.text and expired.because in answer.text


def test_outputs_of_another_account_are_not_there(stranger: httpx.Client, left: str) -> None:
    for path in ("/ranks/0/outputs", "/ranks/0/outputs/a.txt", "/ranks/0:downloadOutputs"):
        assert stranger.get(f"/batchJobs/{left}{path}").status_code == 404


def test_outputs_whose_object_cannot_be_read_are_503_never_empty(
    admin: httpx.Client, left: str, served: Served, settings: Settings
) -> None:
    ObjectStore(served.object_store_url).remove([f"outputs/{left}/1/0"])
    assert fetched(admin, left, "a.txt").status_code == 503
    assert listed(admin, left)["totalSize"] == len(FILES)
    without = settings.model_copy(update={"object_store_url": ""})
    with serving(without) as url, client_of(f"{url}/v1/accounts/{ACCOUNT}", served.admin_key) as client:
        answer = fetched(client, left, "a.txt")
    assert (answer.status_code, "LONGSHORE_OBJECT_STORE_URL" in answer.text) == (503, True)
