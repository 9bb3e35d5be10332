"""Placement: all or none, never over capacity, the same answer for the same question."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.jobs.placing import NodeRoom, Snapshot, WaitingJob
from worker.placement import PATIENCE_SECONDS, plan_pass

rooms = st.lists(
    st.tuples(st.integers(1, 16), st.integers(0, 16)).map(lambda pair: (pair[0], min(pair))), max_size=6
)
waits = st.lists(st.tuples(st.integers(1, 24), st.floats(0, 100)), max_size=20)


def snapshot(nodes: list[tuple[int, int]], jobs: list[tuple[int, float]]) -> Snapshot:
    return Snapshot(
        1,
        tuple(NodeRoom(i, f"n{i}", slots, free) for i, (slots, free) in enumerate(nodes)),
        tuple(WaitingJob(f"j{i}", 1, ranks, waited, "queued") for i, (ranks, waited) in enumerate(jobs)),
    )


@given(rooms, waits)
def test_plan_pass_any_pool_places_all_ranks_or_none_within_capacity(
    nodes: list[tuple[int, int]], jobs: list[tuple[int, float]]
) -> None:
    plan = plan_pass(snapshot(nodes, jobs))
    used: Counter[int] = Counter()
    for placement in plan.placements:
        assert len(placement.nodes) == jobs[int(placement.job_id[1:])][0]
        used.update(placement.nodes)
    assert all(used[node] <= nodes[node][1] for node in used)
    placed = {placement.job_id for placement in plan.placements}
    assert placed.isdisjoint(plan.waiting)
    assert placed | set(plan.waiting) == {f"j{i}" for i in range(len(jobs))}


@given(rooms, waits)
def test_plan_pass_same_snapshot_gives_the_same_plan(
    nodes: list[tuple[int, int]], jobs: list[tuple[int, float]]
) -> None:
    assert plan_pass(snapshot(nodes, jobs)) == plan_pass(snapshot(nodes, jobs))


def test_plan_pass_gang_that_fits_one_node_is_not_spread() -> None:
    plan = plan_pass(snapshot([(8, 3), (8, 5), (8, 8)], [(4, 0)]))
    assert plan.placements[0].nodes == (1, 1, 1, 1)


def test_plan_pass_younger_job_passes_an_older_one_that_does_not_fit() -> None:
    plan = plan_pass(snapshot([(8, 2)], [(8, 1.0), (1, 0.5)]))
    assert [placement.job_id for placement in plan.placements] == ["j1"]
    assert plan.waiting == {"j0": "waiting for 8 of 8 slots"}


def test_plan_pass_job_that_waited_too_long_is_passed_no_more() -> None:
    plan = plan_pass(snapshot([(8, 2)], [(8, PATIENCE_SECONDS), (1, 0.5)]))
    assert plan.placements == ()
    assert "behind an older job" in plan.waiting["j1"]


def test_plan_pass_job_larger_than_the_pool_holds_up_nobody() -> None:
    plan = plan_pass(snapshot([(8, 2)], [(9, 1000.0), (1, 0.5)]))
    assert [placement.job_id for placement in plan.placements] == ["j1"]
    assert plan.waiting["j0"] == "waiting: needs 9 slots, and the pool has 8"
