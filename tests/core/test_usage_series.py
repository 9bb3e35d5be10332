"""Points that are merged, thinned out and packed: nothing counted is lost, and nothing grows without end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.usage.series import (
    UsagePoint,
    appended,
    merged,
    plain,
    plain_count,
    read_plain,
    read_sealed,
    sealed,
    thinned,
)

_COUNTS = st.integers(0, 2**63 - 1)
_ANY_POINTS = st.lists(st.builds(UsagePoint, *[_COUNTS] * 7), max_size=40)
STEPS = st.sampled_from([0, 1000, 5000, 16_000])


@st.composite
def series(draw: st.DrawFn) -> list[UsagePoint]:
    """As a rank's samples are: later and later, counters growing."""
    points, time_ms, cpu = [], 1_800_000_000_000, 0
    for gap, more, memory in draw(
        st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 10**7), st.integers(0, 1 << 40)), max_size=60)
    ):
        time_ms, cpu = time_ms + gap, cpu + more
        points.append(UsagePoint(time_ms, cpu, memory, cpu, cpu // 2, cpu // 3, cpu // 4))
    return points


@given(_ANY_POINTS)
def test_points_packed_in_either_form_come_out_as_they_were(points: list[UsagePoint]) -> None:
    assert read_plain(plain(points)) == points
    assert plain_count(plain(points)) == len(points)
    assert read_sealed(sealed(points)) == points


@given(series(), st.sampled_from([1000, 3000, 10_000]))
def test_merged_keeps_what_was_counted_and_the_peak_and_lies_in_intervals(
    points: list[UsagePoint], step_ms: int
) -> None:
    found = merged(points, step_ms)
    assert len({point.time_ms // step_ms for point in found}) == len(found)
    assert {point.time_ms for point in found} <= {point.time_ms for point in points}
    if points:
        assert found[-1]._replace(memory_bytes=0) == points[-1]._replace(memory_bytes=0)
        assert max(point.memory_bytes for point in found) == max(point.memory_bytes for point in points)


@given(series(), st.sampled_from([1000, 3000, 10_000]))
def test_merged_twice_is_the_same_as_merged_at_once(points: list[UsagePoint], step_ms: int) -> None:
    assert merged(merged(points, step_ms), 2 * step_ms) == merged(points, 2 * step_ms)
    assert merged(points, 0) == points


@given(series(), st.integers(1, 30), STEPS)
def test_thinned_is_never_more_than_asked_for(points: list[UsagePoint], most: int, step_ms: int) -> None:
    found, step = thinned(points, most, step_ms)
    assert len(found) <= most and found == merged(points, step)
    assert step == step_ms or len(merged(points, step // 2 if step > 1000 else 0)) > most


@given(series(), st.integers(0, 60), STEPS)
def test_appended_in_two_parts_is_the_same_as_in_one(points: list[UsagePoint], cut: int, step_ms: int) -> None:
    at_once = appended(b"", points, step_ms)
    assert read_plain(at_once) == merged(points, step_ms)
    in_two = appended(appended(b"", points[:cut], step_ms), points[cut:], step_ms)
    assert in_two == at_once
    assert appended(at_once, points, step_ms) == at_once, "what is not later is passed over"


def test_a_full_series_of_a_busy_rank_takes_some_kilobytes() -> None:
    points = [
        UsagePoint(
            1_800_000_000_000 + 5003 * n, 4_987_654 * n, (3 << 30) + 4096 * (n % 97), 1399 * n, 777 * n, 0, n
        )
        for n in range(30)
    ]
    assert 48 * len(sealed(points)) < 30_000
