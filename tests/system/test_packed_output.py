"""What a job printed goes from the database to the object store some time after its end, and nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.images import ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers
from tests.lab.stored_output import stream_of

_SCRIPT = (
    'for i in $(seq 300); do echo "$RANK out $i"; echo "$RANK err $i" >&2; done; sleep 1; echo \'last \\377\''
)


@pytest.fixture(scope="module")
def packing(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    folder = tmp_path_factory.mktemp("packing")
    started = Platform(servers, folder, sweep_seconds=1, compact_after_seconds=12)
    yield started
    started.stop()


def _entries(platform: Platform, job_id: str, **params: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while True:
        answer = platform.client.http.get(f"/batchJobs/{job_id}:getLogs", params={"pageSize": 150, **params})
        assert answer.status_code == 200, answer.text
        entries += answer.json()["entries"]
        params["pageToken"] = answer.json()["nextPageToken"]
        if not params["pageToken"]:
            return entries


def test_output_is_the_same_byte_for_byte_after_it_went_to_the_object_store_and_goes_with_the_job(
    packing: Platform, busybox: str
) -> None:
    client = packing.client
    job_id = client.shell(_SCRIPT, image=busybox, ranks=2)["id"]
    assert client.wait_end(job_id)["state"] == "COMPLETED"

    def everything() -> list[Any]:
        streams = [
            stream_of(packing.database_url, packing.object_store_url, job_id, stream, rank)
            for rank in (0, 1)
            for stream in (1, 2)
        ]
        return [streams, *(_entries(packing, job_id, startFromHead=flag) for flag in ("true", "false"))]

    before = everything()
    assert packing.query("SELECT 1 FROM log_objects") == [], "it rests in rows for a while"
    assert len(before[1]) == 2 * 601
    wait_until(lambda: packing.query("SELECT 1 FROM log_chunks") == [], 120, "no output is left in rows")
    ((job_key,),) = packing.query("SELECT DISTINCT job_id FROM log_objects")
    found = [path for path in (packing.folder / "objects" / "logs" / job_key).rglob("*") if path.is_file()]
    assert len(found) == 2
    assert everything() == before
    client.delete(job_id)
    wait_until(lambda: not any(path.exists() for path in found), 60, "the objects of a deleted job are gone")
