"""How long a registry is waited for between two tries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.supervisor.pulls import retry_delay_seconds


def test_retry_delay_doubles_up_to_a_minute() -> None:
    assert [retry_delay_seconds(tries, None, 0) for tries in (1, 2, 3, 4, 7, 8, 10_000)] == [
        1,
        2,
        4,
        8,
        60,
        60,
        60,
    ]


@given(st.integers(1, 10_000), st.floats(-1, 1))
def test_retry_delay_is_spread_by_a_quarter_either_way(tries: int, spread: float) -> None:
    middle = retry_delay_seconds(tries, None, 0)
    assert 0.75 * middle <= retry_delay_seconds(tries, None, spread) <= 1.25 * middle


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(-1, 1))
def test_retry_delay_is_never_less_than_what_was_asked_for(tries: int, asked: float, spread: float) -> None:
    delay = retry_delay_seconds(tries, asked, spread)
    assert delay >= asked
    assert delay == pytest.approx(max(delay, retry_delay_seconds(tries, None, spread)))
