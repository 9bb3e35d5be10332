"""A platform that keeps output up to a size removes what is over it by itself, and says so."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.images import ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers


def test_output_over_the_size_of_an_account_is_removed_and_its_job_is_not(
    servers: Servers, tmp_path: Path, busybox: str
) -> None:
    ensure_busybox()
    platform = Platform(servers, tmp_path, sweep_seconds=1, compact_after_seconds=1, retention_bytes=1)
    try:
        client = platform.client
        job_id = client.shell("echo $RANK is here; exit 3", image=busybox, ranks=2)["id"]
        assert client.wait_end(job_id)["state"] == "FAILED"

        def messages() -> list[str]:
            answer = client.http.get(f"/batchJobs/{job_id}:getLogs")
            assert answer.status_code == 200, answer.text
            return [entry["message"] for entry in answer.json()["entries"]]

        wait_until(lambda: "was removed on" in "".join(messages()), 120, "its output is removed")
        (said,) = messages()
        assert said.endswith("its account had more than 1 bytes of output, and the oldest goes first")
        logs = tmp_path / "objects" / "logs"
        wait_until(lambda: not any(files for _, _, files in os.walk(logs)), 60, "its objects are gone")
        ranks = client.http.get(f"/batchJobs/{job_id}/ranks").json()["ranks"]
        assert [rank["exitCode"] for rank in ranks] == [3, 3]
        assert client.http.get(f"/batchJobs/{job_id}:downloadLogs").status_code == 404
    finally:
        platform.stop()
