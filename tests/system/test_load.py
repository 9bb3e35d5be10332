"""Many mixed jobs at once: every one in its right end state, every log complete, nothing left at rest.

The long form has 300 jobs; the short one, of the same mix, runs every time.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_work
from tests.lab.platform import Platform, wait_until
from tests.system.test_executors import FILES

SEED = 20_26


def bodies(work: str) -> list[tuple[dict[str, Any], str, int]]:
    """(what to create, its right end, how many lines each rank prints); one in sixteen is a notebook."""
    lines = "i=0; while [ $i -lt 50 ]; do echo $RANK $i; i=$((i+1)); done"
    shell = {"imageRef": BUSYBOX, "shellExecutor": {"command": lines}}
    failing = {"imageRef": BUSYBOX, "shellExecutor": {"command": f"{lines}; [ $RANK != 0 ]"}}
    long = {"imageRef": BUSYBOX, "shellExecutor": {"command": "sleep 300"}, "stopGracePeriod": "1s"}
    module = {"imageRef": work, "pythonExecutor": {"targetType": "MODULE", "target": "greet"}}
    notebook = {"imageRef": work, "notebookExecutor": {"notebookFilename": "plain.ipynb"}}
    return [
        *[(shell, "COMPLETED", 50)] * 6,
        *[(failing, "FAILED", 50)] * 3,
        *[(long, "CANCELLED", 0)] * 3,
        *[(module, "COMPLETED", 1)] * 3,
        (notebook, "COMPLETED", -1),
    ]


@pytest.mark.parametrize("count", [32, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_mixed_jobs_all_end_right_and_nothing_is_left(client: ApiClient, platform: Platform, count: int) -> None:
    kinds = bodies(ensure_work(FILES))
    chance = random.Random(SEED)
    wanted: dict[str, tuple[str, int, int]] = {}
    for index in range(count):
        body, end, lines = kinds[index % len(kinds)]
        ranks = chance.randint(1, 4)
        wanted[client.create(**body, numRanks=ranks)["id"]] = (end, lines, ranks)
    cancel_midway(client, [job_id for job_id, (end, _, _) in wanted.items() if end == "CANCELLED"], chance)
    for job_id, (end, lines, ranks) in wanted.items():
        done = client.wait_end(job_id, 900)
        assert done["state"] == end, (job_id, done["status"])
        if end == "COMPLETED" and lines >= 0:
            assert len(client.lines(job_id)) == lines * ranks
        if end == "FAILED":
            assert len(client.lines(job_id, rank=0)) == lines
            assert "exit code 1" in done["status"]
    platform.wait_at_rest(60)
    assert_one_container_per_rank(platform)


def cancel_midway(client: ApiClient, jobs: list[str], chance: random.Random) -> None:
    """Cancel half of the jobs at once, wherever they are, and each of the others as soon as it runs."""
    waiting = set()
    for job_id in jobs:
        if chance.random() < 0.5:
            client.cancel(job_id)
        else:
            waiting.add(job_id)

    def all_cancelled() -> bool:
        running = {job["name"].rpartition("/")[2] for job in client.list_all() if job["state"] == "RUNNING"}
        for job_id in waiting & running:
            client.cancel(job_id)
        waiting.difference_update(running)
        return not waiting

    wait_until(all_cancelled, 900, "every job to be cancelled was seen running", every=0.5)


def assert_one_container_per_rank(platform: Platform) -> None:
    """No rank was ever moved twice into the same state, so none was started twice."""
    twice = platform.query(
        "SELECT job_id, attempt, rank, state FROM job_events WHERE rank IS NOT NULL AND state IN"
        " ('CREATED', 'STARTING', 'RUNNING') GROUP BY 1, 2, 3, 4 HAVING count(*) > 1"
    )
    assert twice == []
