"""The verdict: pure, so every case is a line. Its laws over every mix of ends are in `test_verdict_laws`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.jobs.verdict import CLOCK_TOLERANCE, Overrun, RankOutcome, judge, signal_of
from core.policies import RankFailurePolicy
from core.states import JobState, RankState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUNNING, FAILED, SUCCEEDED = RankState.RUNNING, RankState.FAILED, RankState.SUCCEEDED
IGNORE, MAIN = RankFailurePolicy.IGNORE, RankFailurePolicy.MAIN_RANK_DECIDES


def ended(rank: int, state: RankState, code: int | None = 0, after: float = 0, **more: object) -> RankOutcome:
    return RankOutcome(
        rank,
        state,
        exit_code=code,
        started_at=None if code is None else NOON,
        ended_at=NOON + timedelta(seconds=after),
        **{"node": "n1", **more},  # type: ignore[arg-type]
    )


def live(rank: int, state: RankState = RUNNING) -> RankOutcome:
    return RankOutcome(rank, state, node="n1")


def test_judge_all_ranks_exited_0_completes() -> None:
    verdict = judge([ended(0, SUCCEEDED), ended(1, SUCCEEDED)])
    assert verdict.end is JobState.COMPLETED
    assert verdict.status == "every rank exited 0"


def test_judge_one_failed_with_others_live_asks_to_stop_them() -> None:
    verdict = judge([live(0), ended(1, FAILED, 3, message="boom")])
    assert (verdict.end, verdict.stop) == (None, True)
    assert verdict.status == "rank 1 failed first on node n1: exit code 3: boom; stopping 1 other rank"


def test_judge_several_failed_names_the_earliest_by_the_engine() -> None:
    verdict = judge([ended(0, FAILED, 1, after=2), ended(1, FAILED, 7, after=1), ended(2, RankState.STOPPED)])
    assert verdict.end is JobState.FAILED
    assert verdict.status.startswith("rank 1 failed first on node n1: exit code 7")


@pytest.mark.parametrize(
    ("node", "earlier", "recorded", "named"),
    [
        pytest.param("n1", 0.001, 9, 1, id="one node: its clock, whatever was written down first"),
        pytest.param("n2", 0.001, 9, 0, id="two nodes, near: what was written down first"),
        pytest.param("n2", 0.999, 9, 0, id="two nodes, nearly too far apart for their clocks"),
        pytest.param("n2", 1.001, 9, 1, id="two nodes, too far apart for their clocks"),
        pytest.param("n2", 0.5, 5, 1, id="written down at the same moment: the clocks"),
        pytest.param("n2", 0.0, 5, 0, id="all equal: the lower rank"),
    ],
)
def test_judge_first_to_fail_across_hosts_whose_clocks_may_differ(
    node: str, earlier: float, recorded: float, named: int
) -> None:
    """Rank 1 ended `earlier` than rank 0 by its engine's clock; rank 0's end was written down at 5."""
    assert timedelta(seconds=1) == CLOCK_TOLERANCE
    zero = ended(0, FAILED, 1, recorded_at=NOON + timedelta(seconds=5))
    one = ended(1, FAILED, 1, after=-earlier, node=node, recorded_at=NOON + timedelta(seconds=recorded))
    for outcomes in ([zero, one], [one, zero]):
        culprit = judge(outcomes).culprit
        assert culprit is not None and culprit.rank == named


def test_judge_exit_above_128_names_the_signal() -> None:
    verdict = judge([ended(0, FAILED, 137)])
    assert verdict.status == "the job failed on node n1: exit code 137, its own or that of signal 9, SIGKILL"


@pytest.mark.parametrize(
    ("code", "signal", "said"),
    [
        (137, 9, "killed by signal 9, SIGKILL"),
        (139, 11, "killed by signal 11, SIGSEGV"),
        (168, 40, "killed by signal 40"),
        (137, 0, "exit code 137"),
        (3, 0, "exit code 3"),
        (3, None, "exit code 3"),
        (255, None, "exit code 255"),
    ],
)
def test_judge_says_no_more_of_a_signal_than_is_known(code: int, signal: int | None, said: str) -> None:
    verdict = judge([ended(0, FAILED, code, signal=signal)])
    assert verdict.status == f"the job failed on node n1: {said}"


@pytest.mark.parametrize(
    ("code", "number"), [(None, 0), (0, 0), (1, 0), (128, 0), (129, 1), (137, 9), (192, 64), (193, 0), (255, 0)]
)
def test_signal_of_an_exit_code_is_by_the_shells_custom(code: int | None, number: int) -> None:
    assert signal_of(code) == number


def test_judge_out_of_memory_is_what_the_engine_says_not_137() -> None:
    verdict = judge([ended(0, FAILED, 137, oom_killed=True, reason="OUT_OF_MEMORY")])
    assert verdict.reason == "OUT_OF_MEMORY"
    assert "out of memory" in verdict.status


def test_judge_child_killed_for_memory_with_exit_0_completes_with_a_warning() -> None:
    verdict = judge([ended(0, SUCCEEDED, oom_killed=True)])
    assert (verdict.end, verdict.reason) == (JobState.COMPLETED, "CHILD_OUT_OF_MEMORY")
    assert verdict.status == "exited 0; a process of rank 0 was killed for running out of memory"


def test_judge_never_started_says_so() -> None:
    verdict = judge([ended(0, FAILED, None, message="the image has no /bin/sh")])
    assert verdict.status == "the job could not be started on node n1: the image has no /bin/sh"


def test_judge_all_stopped_is_cancelled() -> None:
    assert judge([ended(0, RankState.STOPPED)]).end is JobState.CANCELLED


def test_judge_live_ranks_only_decides_nothing() -> None:
    verdict = judge([live(0), ended(1, SUCCEEDED)])
    assert (verdict.end, verdict.stop) == (None, False)


def test_judge_ignoring_a_failure_waits_for_the_others_then_completes_naming_it() -> None:
    failed = ended(1, FAILED, 3, message="boom")
    assert judge([live(0), failed], IGNORE).stop is False
    verdict = judge([ended(0, SUCCEEDED), failed], IGNORE)
    assert (verdict.end, verdict.reason) == (JobState.COMPLETED, "RANKS_FAILED")
    assert verdict.status == (
        "1 of 2 ranks exited 0; rank 1 failed and was ignored: rank 1 failed first on node n1: exit code 3: boom"
    )


def test_judge_ignoring_the_failure_of_every_rank_fails() -> None:
    verdict = judge([ended(0, FAILED, 4, after=1), ended(1, FAILED, 3)], IGNORE)
    assert (verdict.end, verdict.culprit and verdict.culprit.rank) == (JobState.FAILED, 1)


@pytest.mark.parametrize("policy", RankFailurePolicy)
def test_judge_rank_that_could_not_be_started_ends_a_gang_under_every_policy(policy: RankFailurePolicy) -> None:
    verdict = judge([live(0), ended(1, FAILED, None, message="no such file")], policy)
    assert verdict.stop and "rank 1 could not be started" in verdict.status


def test_judge_main_rank_that_exits_0_stops_the_others_and_completes() -> None:
    main, failed = ended(0, SUCCEEDED), ended(1, FAILED, 3)
    verdict = judge([main, failed, live(2)], MAIN)
    assert (verdict.stop, verdict.status) == (True, "rank 0 exited 0; stopping 1 other rank")
    verdict = judge([main, failed, ended(2, RankState.STOPPED, 143)], MAIN)
    assert verdict.end is JobState.COMPLETED
    assert verdict.status.startswith("rank 0 exited 0; rank 1 failed and was ignored")


@pytest.mark.parametrize("state", [RankState.PLACED, RankState.CREATED, RankState.STARTING])
def test_judge_main_rank_that_exits_0_waits_for_the_whole_gang_to_have_been_started(state: RankState) -> None:
    verdict = judge([ended(0, SUCCEEDED), live(1, state)], MAIN)
    assert (verdict.end, verdict.stop) == (None, False)


def test_judge_main_rank_that_fails_fails() -> None:
    assert judge([ended(0, FAILED, 3), live(1)], MAIN).stop
    verdict = judge([ended(0, FAILED, 3), ended(1, FAILED, 9, after=-60)], MAIN)
    assert (verdict.end, verdict.culprit and verdict.culprit.rank) == (JobState.FAILED, 0)


def test_judge_overrun_fails_whatever_the_ranks_then_do() -> None:
    overrun = Overrun("RUN_TIMEOUT", "too long")
    assert judge([live(0)], overrun=overrun).end is None
    for outcome in (ended(0, SUCCEEDED), ended(0, FAILED, 3), ended(0, RankState.STOPPED, 143)):
        verdict = judge([outcome], overrun=overrun)
        assert (verdict.end, verdict.reason, verdict.culprit) == (JobState.FAILED, "RUN_TIMEOUT", None)
