"""How long jobs run, as it is guessed from past runs, and how a guess is written down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.jobs.run_times import MINIMUM_RUNS, RunTimes
from core.placement.sentences import coarse_position, coarse_time

TIMES = RunTimes.from_runs(
    [
        ("a", "often", [float(seconds) for seconds in range(10, 110, 10)]),
        ("a", "seldom", [5.0]),
        ("b", "often", [1000.0] * 5),
    ]
)
NOW = datetime(2026, 11, 24, 12, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("account", "image", "timeout", "age", "remaining"),
    [
        ("a", "often", None, 0.0, 100.0),
        ("a", "often", None, 55.0, 45.0),
        ("a", "often", None, 100.0, None),
        ("a", "often", 600.0, 100.0, 500.0),
        ("a", "often", 600.0, 700.0, 0.0),
        ("b", "often", None, 10.0, 990.0),
        # Of fewer runs than `MINIMUM_RUNS` nothing is concluded: the pool's count.
        ("a", "seldom", None, 0.0, 1000.0),
        ("c", "new", None, 0.0, 1000.0),
        ("c", "new", None, 1000.0, None),
    ],
)
def test_remaining_is_the_timeouts_or_that_of_longer_runs_of_its_kind(
    account: str, image: str, timeout: float | None, age: float, remaining: float | None
) -> None:
    assert TIMES.remaining(account, image, timeout, age) == remaining


def test_remaining_is_unknown_where_little_ran() -> None:
    few = RunTimes.from_runs([("a", "i", [1.0] * (MINIMUM_RUNS - 1))])
    assert few.remaining("a", "i", None) is None
    assert RunTimes().remaining("a", "i", None) is None


@given(st.lists(st.floats(0, 1e6), min_size=MINIMUM_RUNS, max_size=50), st.floats(0, 1e6))
def test_remaining_is_never_less_than_nothing_nor_past_the_longest_run(runs: list[float], age: float) -> None:
    remaining = RunTimes.from_runs([("a", "i", runs)]).remaining("a", "i", None, age)
    assert remaining is None if age >= max(runs) else 0 <= (remaining or 0) <= max(runs) - age


@pytest.mark.parametrize(
    ("position", "written"),
    [(1, 1), (10, 10), (11, 10), (20, 20), (49, 20), (50, 50), (99, 50), (100, 100), (731, 500), (10_000, 10_000)],
)
def test_position_is_exact_at_the_head_and_coarse_behind(position: int, written: int) -> None:
    assert coarse_position(position) == written


@pytest.mark.parametrize(
    ("starts_in", "written"),
    [(0.0, "12:01"), (50.0, "12:01"), (60.0, "12:02"), (3600.0, "13:05"), (36_000.0, "22:30")],
)
def test_time_is_rounded_up_the_coarser_the_further_away(starts_in: float, written: str) -> None:
    assert f"{coarse_time(NOW, starts_in, None):%H:%M}" == written


@given(st.floats(0, 1e6))
@example(1800.0)
@example(10_800.0)
def test_time_that_was_written_stays_while_it_is_about_right(starts_in: float) -> None:
    written = coarse_time(NOW, starts_in, None)
    assert coarse_time(NOW, starts_in, written) == written
    later = NOW + timedelta(seconds=5)
    again = coarse_time(later, max(0.0, starts_in - 5), written)
    assert again == written
