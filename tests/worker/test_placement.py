"""Placement: all or none, never over capacity, in the order of turns, the same answer for the same question."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.placement import sentences
from core.placement.planning import plan_pass
from core.placement.reservations import PATIENCE_SECONDS
from core.placement.values import Need, NodeRoom, Plan, Release, Snapshot, WaitingJob

LABELS = {"disk": "ssd", "zone": "a"}
accounts = st.sampled_from("ABC")
needs = st.builds(
    Need,
    st.none() | st.integers(1, 4).map(lambda cpus: cpus * 500),
    st.none() | st.integers(1, 4),
)
labels = st.dictionaries(st.sampled_from(sorted(LABELS)), st.sampled_from(["ssd", "a", "b"]), max_size=2)


@st.composite
def nodes(draw: st.DrawFn, *, number: int) -> NodeRoom:
    slots, cpus, memory, gpus = (draw(st.integers(1, 12)) for _ in range(4))
    held = draw(st.integers(0, slots))
    cpu_share, memory_share = cpus * 1000 // slots, memory // slots
    return NodeRoom(
        id=number,
        name=f"n{number}",
        slots=slots,
        free=slots - held,
        cpu_milli=cpus * 1000,
        cpu_free=cpus * 1000 - held * cpu_share,
        memory_bytes=memory,
        memory_free=memory - held * memory_share,
        gpus=gpus,
        gpus_free=max(0, gpus - held),
        cpu_share=cpu_share,
        memory_share=memory_share,
        labels=draw(labels),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    room = [draw(nodes(number=number)) for number in range(1, draw(st.integers(0, 4)) + 1)]
    releases = [
        Release(node.id, node.slots - node.free, draw(ends), draw(st.floats(0, 100)))
        for node in room
        if node.free < node.slots
    ]
    waiting = [draw(jobs(number=number, nodes=len(room))) for number in range(draw(st.integers(0, 12)))]
    return Snapshot(
        1,
        tuple(room),
        tuple(waiting),
        in_use=draw(st.dictionaries(accounts, st.integers(0, 20))),
        releases=draw(st.just(tuple(releases)) | st.none()),
        may_span=draw(st.booleans()),
        has_gpus=draw(st.booleans()),
    )


ends = st.sampled_from([5.0, 40.0, 300.0, float("inf")])


@st.composite
def jobs(draw: st.DrawFn, *, number: int, nodes: int) -> WaitingJob:
    return WaitingJob(
        f"j{number:02}",
        1,
        draw(st.integers(1, 16)),
        draw(st.sampled_from([0.0, 10.0, PATIENCE_SECONDS, 100.0, 1000.0])),
        account=draw(accounts),
        priority=draw(st.integers(-1, 1)),
        need=draw(needs),
        labels=tuple(sorted(draw(st.just({}) | labels).items())),
        avoided=frozenset(draw(st.sets(st.integers(1, max(nodes, 1)), max_size=2))),
        run_seconds=draw(st.none() | ends.filter(lambda end: end != float("inf"))),
        is_limited=draw(st.booleans()),
    )


@given(snapshots())
def test_plan_pass_any_pool_never_exceeds_any_capacity(snapshot: Snapshot) -> None:
    room = {node.id: node for node in snapshot.nodes}
    found = {job.id: job for job in snapshot.waiting}
    taken: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for placement in plan_pass(snapshot).placements:
        need = found[placement.job_id].need
        for node in placement.nodes:
            facts = room[node]
            taken[node]["slots"] += 1
            taken[node]["cpu"] += facts.cpu_share if need.cpu_milli is None else need.cpu_milli
            taken[node]["memory"] += facts.memory_share if need.memory_bytes is None else need.memory_bytes
    for node, used in taken.items():
        facts = room[node]
        assert used["slots"] <= facts.free
        assert used["cpu"] <= facts.cpu_free
        assert used["memory"] <= facts.memory_free
        assert not snapshot.has_gpus or used["slots"] <= facts.gpus_free


@given(snapshots())
def test_plan_pass_any_pool_places_all_ranks_or_says_why_not(snapshot: Snapshot) -> None:
    plan = plan_pass(snapshot)
    found = {job.id: job for job in snapshot.waiting}
    placed = [placement.job_id for placement in plan.placements]
    assert all(len(placement.nodes) == found[placement.job_id].num_ranks for placement in plan.placements)
    assert len(set(placed)) == len(placed)
    assert set(placed).isdisjoint(plan.waiting)
    assert set(placed) | set(plan.waiting) == set(found)
    assert all(waiting.reason and waiting.status for waiting in plan.waiting.values())
    if not snapshot.may_span:
        assert all(len(set(placement.nodes)) == 1 for placement in plan.placements)


@given(snapshots())
def test_plan_pass_uses_only_nodes_with_the_jobs_labels(snapshot: Snapshot) -> None:
    room = {node.id: node for node in snapshot.nodes}
    found = {job.id: job for job in snapshot.waiting}
    for placement in plan_pass(snapshot).placements:
        for node in placement.nodes:
            assert dict(found[placement.job_id].labels).items() <= dict(room[node].labels).items()


@given(snapshots(), st.randoms(use_true_random=False))
def test_plan_pass_any_order_of_nodes_jobs_and_ends_gives_the_same_plan(
    snapshot: Snapshot, shuffle: random.Random
) -> None:
    other = replace(
        snapshot,
        nodes=tuple(shuffle.sample(snapshot.nodes, len(snapshot.nodes))),
        waiting=tuple(shuffle.sample(snapshot.waiting, len(snapshot.waiting))),
        releases=snapshot.releases and tuple(shuffle.sample(snapshot.releases, len(snapshot.releases))),
    )
    assert plan_pass(snapshot) == plan_pass(snapshot)
    assert plan_pass(other) == plan_pass(snapshot)


@given(snapshots())
def test_plan_pass_again_with_what_it_wrote_writes_nothing(snapshot: Snapshot) -> None:
    plan = plan_pass(snapshot)
    written = tuple(
        replace(job, reason=said.reason, status=said.status, position=said.position, starts_at=said.starts_at)
        if (said := plan.waiting.get(job.id))
        else job
        for job in snapshot.waiting
    )
    assert plan_pass(replace(snapshot, waiting=written)).changed == frozenset()
    assert plan.changed == frozenset(plan.waiting)


# The order of turns. Without patience run out nothing is held back, so whoever fits may start.

impatient = snapshots().map(
    lambda snapshot: replace(
        snapshot, waiting=tuple(replace(job, waited_seconds=job.waited_seconds % 30) for job in snapshot.waiting)
    )
)


def started(snapshot: Snapshot, plan: Plan) -> list[WaitingJob]:
    found = {job.id: job for job in snapshot.waiting}
    return [found[placement.job_id] for placement in plan.placements]


def alone(snapshot: Snapshot, job: WaitingJob, before: list[WaitingJob], plan: Plan) -> bool:
    """Whether a job would have fitted after the first placements of a plan."""
    used: defaultdict[int, list[Need]] = defaultdict(list)
    for placement, other in zip(plan.placements, before, strict=False):
        for node in placement.nodes:
            used[node].append(other.need)

    def less(node: NodeRoom) -> NodeRoom:
        held = used[node.id]
        cpu = sum(node.cpu_share if need.cpu_milli is None else need.cpu_milli for need in held)
        memory = sum(node.memory_share if need.memory_bytes is None else need.memory_bytes for need in held)
        return replace(
            node,
            free=node.free - len(held),
            cpu_free=node.cpu_free - cpu,
            memory_free=node.memory_free - memory,
            gpus_free=node.gpus_free - len(held),
        )

    rest = replace(snapshot, nodes=tuple(map(less, snapshot.nodes)), waiting=(job,), in_use={})
    return bool(plan_pass(rest).placements)


@given(impatient)
def test_plan_pass_a_job_of_lower_priority_never_takes_what_a_higher_one_needs(snapshot: Snapshot) -> None:
    plan = plan_pass(snapshot)
    order = started(snapshot, plan)
    assert [job.priority for job in order] == sorted((job.priority for job in order), reverse=True)
    waits = [job for job in snapshot.waiting if job.id in plan.waiting]
    for number, job in enumerate(order):
        higher = [other for other in waits if other.priority > job.priority]
        assert not any(alone(snapshot, other, order[:number], plan) for other in higher)


@given(impatient)
def test_plan_pass_no_account_is_served_while_one_with_less_waits_for_what_is_there(snapshot: Snapshot) -> None:
    plan = plan_pass(snapshot)
    order = started(snapshot, plan)
    in_use = Counter(snapshot.in_use)
    for number, job in enumerate(order):
        poorer = [
            other
            for other in snapshot.waiting
            if other.id in plan.waiting
            and other.priority == job.priority
            and in_use[other.account] < in_use[job.account]
        ]
        assert not any(alone(snapshot, other, order[:number], plan) for other in poorer)
        in_use[job.account] += job.num_ranks


def test_plan_pass_ten_thousand_jobs_of_one_account_do_not_keep_ten_of_another_waiting() -> None:
    mine = [WaitingJob(f"a{i}", 1, 1, 10_000.0 - i, account="A") for i in range(10_000)]
    theirs = [WaitingJob(f"b{i}", 1, 1, 5.0, account="B") for i in range(10)]
    plan = plan_pass(Snapshot(1, (NodeRoom(1, "n", 20, 20),), (*mine, *theirs)))
    assert {placement.job_id for placement in plan.placements if placement.job_id[0] == "b"} == {
        job.id for job in theirs
    }


def test_plan_pass_an_account_that_holds_slots_waits_for_one_that_holds_none() -> None:
    jobs = (WaitingJob("a", 1, 1, 99.0, account="A"), WaitingJob("b", 1, 1, 1.0, account="B"))
    plan = plan_pass(Snapshot(1, (NodeRoom(1, "n", 8, 1),), jobs, in_use={"A": 7}))
    assert [placement.job_id for placement in plan.placements] == ["b"]


# Where ranks go.


def pool(*free: int, slots: int = 8, **more: Any) -> tuple[NodeRoom, ...]:
    return tuple(replace(NodeRoom(i, f"n{i}", slots, room), **more) for i, room in enumerate(free, 1))


def hosts(snapshot: Snapshot) -> list[dict[int, int]]:
    return [dict(Counter(placement.nodes)) for placement in plan_pass(snapshot).placements]


def job(ranks: int, name: str = "j", waited: float = 0.0, **more: Any) -> WaitingJob:
    return replace(WaitingJob(name, 1, ranks, waited), **more)


@pytest.mark.parametrize(
    ("free", "ranks", "expected"),
    [
        ((3, 5, 8), 4, [{2: 4}]),
        ((3, 5, 8), 1, [{3: 1}]),
        ((3, 5, 8), 12, [{3: 8, 2: 4}]),
        ((4, 5, 8), 12, [{3: 8, 1: 4}]),
        ((3, 5, 8), 16, [{3: 8, 2: 5, 1: 3}]),
        ((3, 5, 8), 17, []),
    ],
)
def test_plan_pass_gang_takes_the_fewest_hosts_and_the_fullest_that_holds_it(
    free: tuple[int, ...], ranks: int, expected: list[dict[int, int]]
) -> None:
    assert hosts(Snapshot(1, pool(*free), (job(ranks),), may_span=True)) == expected


def test_plan_pass_single_ranks_are_spread_on_cpus_and_packed_on_gpus() -> None:
    waiting = tuple(job(1, f"j{i}") for i in range(4))
    assert hosts(Snapshot(1, pool(4, 4), waiting)) == [{1: 1}, {2: 1}, {1: 1}, {2: 1}]
    gpus = pool(4, 4, gpus=4, gpus_free=3)
    assert hosts(Snapshot(1, gpus, waiting, has_gpus=True)) == [{1: 1}, {1: 1}, {1: 1}, {2: 1}]


def test_plan_pass_a_pool_of_gpus_places_nothing_on_a_node_that_has_none() -> None:
    assert hosts(Snapshot(1, pool(4), (job(1),), has_gpus=True)) == []


def test_plan_pass_gang_without_a_network_waits_for_one_host_and_says_so() -> None:
    plan = plan_pass(Snapshot(1, pool(8, 8), (job(12),)))
    said = plan.waiting["j"]
    assert (said.reason, said.position) == (sentences.NEVER_FITS_POOL, None)
    assert "needs 12 ranks on one node, and the largest takes 8" in said.status
    assert "network" in said.status


def test_plan_pass_avoids_a_node_that_failed_the_job_while_others_can_hold_it() -> None:
    avoiding = job(8, avoided=frozenset({1}))
    assert hosts(Snapshot(1, pool(8, 8), (avoiding,))) == [{2: 8}]
    assert hosts(Snapshot(1, pool(8, 0), (avoiding,))) == []
    assert hosts(Snapshot(1, pool(8), (avoiding,))) == [{1: 8}]


@pytest.mark.parametrize(
    ("nodes", "waiting", "reason", "said"),
    [
        ((), job(1), sentences.NO_NODE, "waiting: the pool has no node that takes ranks now"),
        (pool(8), job(9), sentences.NEVER_FITS_POOL, "waiting: needs 9 slots, the pool has 8"),
        (
            pool(8),
            job(1, labels=(("disk", "ssd"),)),
            sentences.NEVER_FITS_POOL,
            "waiting: needs nodes with disk=ssd, and no node of the pool is one",
        ),
        (
            pool(8, cpu_milli=4000, cpu_free=4000, memory_bytes=8 << 30, memory_free=8 << 30),
            job(3, need=Need(1500, 4 << 30)),
            sentences.NEVER_FITS_POOL,
            "waiting: needs 3 ranks with 1.5 CPUs and 4 GiB each, and all nodes together could take 2",
        ),
        (pool(2), job(3), sentences.WAITING_FOR_ROOM, "waiting for 3 of 8 slots; position 1 in the queue"),
    ],
)
def test_plan_pass_says_why_a_job_waits(
    nodes: tuple[NodeRoom, ...], waiting: WaitingJob, reason: str, said: str
) -> None:
    found = plan_pass(Snapshot(1, nodes, (waiting,))).waiting["j"]
    assert (found.reason, found.status) == (reason, said)


@given(snapshots())
@settings(max_examples=50)
def test_plan_pass_positions_count_those_that_can_start_at_all(snapshot: Snapshot) -> None:
    waiting = plan_pass(snapshot).waiting.values()
    placed = sorted(said.position for said in waiting if said.position is not None)
    assert placed[:10] == list(range(1, min(len(placed), 10) + 1))
    never = {sentences.NO_NODE, sentences.NEVER_FITS_POOL}
    assert all((said.position is None) == (said.reason in never) for said in waiting)
