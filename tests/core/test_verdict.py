"""The verdict: pure, so every case is a line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.jobs.verdict import RankOutcome, judge
from core.states import JobState, RankState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ended(rank: int, state: RankState, code: int | None = 0, after: float = 0, **more: object) -> RankOutcome:
    return RankOutcome(
        rank,
        state,
        node="n1",
        exit_code=code,
        ended_at=NOON + timedelta(seconds=after),
        **more,  # type: ignore[arg-type]
    )


def test_judge_all_ranks_exited_0_completes() -> None:
    verdict = judge([ended(0, RankState.SUCCEEDED), ended(1, RankState.SUCCEEDED)])
    assert verdict.end is JobState.COMPLETED
    assert verdict.status == "every rank exited 0"


def test_judge_one_failed_with_others_live_asks_to_stop_them() -> None:
    verdict = judge([RankOutcome(0, RankState.RUNNING), ended(1, RankState.FAILED, 3, message="boom")])
    assert (verdict.end, verdict.stop) == (None, True)
    assert verdict.status == "rank 1 failed first on node n1: exit code 3: boom; stopping 1 other rank"


def test_judge_several_failed_names_the_earliest_by_the_engine() -> None:
    verdict = judge(
        [
            ended(0, RankState.FAILED, 1, after=2),
            ended(1, RankState.FAILED, 7, after=1),
            ended(2, RankState.STOPPED),
        ]
    )
    assert verdict.end is JobState.FAILED
    assert verdict.status.startswith("rank 1 failed first on node n1: exit code 7")


def test_judge_exit_above_128_names_the_signal() -> None:
    verdict = judge([ended(0, RankState.FAILED, 137)])
    assert verdict.status == "the job failed on node n1: exit code 137 (signal 9, SIGKILL)"


def test_judge_out_of_memory_is_what_the_engine_says_not_137() -> None:
    verdict = judge([ended(0, RankState.FAILED, 137, oom_killed=True, reason="OUT_OF_MEMORY")])
    assert verdict.reason == "OUT_OF_MEMORY"
    assert "out of memory" in verdict.status


def test_judge_child_killed_for_memory_with_exit_0_completes_with_a_warning() -> None:
    verdict = judge([ended(0, RankState.SUCCEEDED, oom_killed=True)])
    assert verdict.end is JobState.COMPLETED
    assert "running out of memory" in verdict.status


def test_judge_never_started_says_so() -> None:
    verdict = judge([ended(0, RankState.FAILED, None, message="the image has no /bin/sh")])
    assert verdict.status == "the job could not be started on node n1: the image has no /bin/sh"


def test_judge_all_stopped_is_cancelled() -> None:
    assert judge([ended(0, RankState.STOPPED)]).end is JobState.CANCELLED


def test_judge_live_ranks_only_decides_nothing() -> None:
    verdict = judge([RankOutcome(0, RankState.RUNNING), ended(1, RankState.SUCCEEDED)])
    assert (verdict.end, verdict.stop) == (None, False)
