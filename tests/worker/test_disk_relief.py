"""Whose job is ended where a disk is short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.engine import RankKey
from worker.supervisor.disk_relief import rank_to_end

KEYS = st.builds(RankKey, st.sampled_from(["a", "b", "c"]), st.integers(1, 2), st.integers(0, 3))


@given(free=st.integers(0, 99), written=st.dictionaries(KEYS, st.integers(0, 200)))
def test_only_who_wrote_most_is_ended_and_only_where_that_mends_it(free: int, written: dict[RankKey, int]) -> None:
    ended = rank_to_end(free, 100, written)
    if ended is None:
        assert all(free + each < 100 for each in written.values())
    else:
        assert written[ended] == max(written.values())
        assert free + written[ended] >= 100
