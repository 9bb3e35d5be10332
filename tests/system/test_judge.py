"""The judge of gangs over hosts finds what it is there to find: what an engine says against what a row says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab.engine_witness import ContainerStory
from tests.lab.judge import check_containers
from tests.lab.row_sampler import JobRow, check_job
from worker.engine import RankKey

KEY = RankKey("job", 1, 0)
RAN = ContainerStory(KEY, "one", "c1", 1.0, [2.0], 3.0, 0, 4.0)
ROW = {
    "state": "SUCCEEDED",
    "node": "one",
    "container_id": "c1",
    "exit_code": 0,
    "started_at": datetime.now(UTC),
}
JOB = JobRow("acme", "job", "COMPLETED", 2, 1, "", "FAIL_ALL", ranks=2, live=0, good=2, started=2)


def test_judge_where_row_and_engine_agree_finds_nothing() -> None:
    assert check_containers(KEY, [RAN], SimpleNamespace(**ROW)) == []
    never_ran = replace(RAN, starts=[], died_at=None, exit_code=None)
    row = SimpleNamespace(**{**ROW, "state": "STOPPED", "exit_code": None, "started_at": None})
    assert check_containers(KEY, [never_ran], row) == []


@pytest.mark.parametrize(
    ("stories", "row", "sentence"),
    [
        ([RAN], None, "no row explains it"),
        ([RAN, replace(RAN, container_id="c2")], {}, "was 2 containers"),
        ([replace(RAN, starts=[2.0, 2.5])], {}, "was started 2 times"),
        ([replace(RAN, host="two")], {}, "ran on two, and its row says one"),
        ([replace(RAN, container_id="c2")], {}, "is another container"),
        ([replace(RAN, died_at=None)], {}, "never ended"),
        ([replace(RAN, starts=[])], {}, "was started 0 times"),
        ([RAN], {"started_at": None}, "its row says None"),
        ([replace(RAN, exit_code=3)], {}, "exited with 3, and its row says 0"),
        ([RAN], {"state": "STOPPED"}, "is STOPPED, and its engine says exit code 0"),
        ([replace(RAN, exit_code=3)], {"exit_code": 3}, "is SUCCEEDED, and its engine says exit code 3"),
    ],
)
def test_judge_where_row_and_engine_differ_says_how(
    stories: list[ContainerStory], row: dict[str, Any] | None, sentence: str
) -> None:
    seen = None if row is None else SimpleNamespace(**{**ROW, **row})
    assert any(sentence in fault for fault in check_containers(KEY, stories, seen))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"state": "RUNNING"}, "has not ended: RUNNING"),
        ({"live": 1}, "has 2 ranks of 2, 1 of them live"),
        ({"ranks": 1}, "has 1 ranks of 2"),
        ({"good": 1}, "is COMPLETED with 1 good ranks of 2"),
        ({"started": 1}, "1 of 2 ranks were started"),
    ],
)
def test_judge_of_a_job_that_differs_from_its_ranks_says_how(change: dict[str, Any], sentence: str) -> None:
    assert check_job(JOB) == []
    assert any(sentence in fault for fault in check_job(replace(JOB, **change)))
