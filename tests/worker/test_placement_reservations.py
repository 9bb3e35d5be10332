"""What is kept for a job that has waited long enough: nothing that passes may delay it, and it does start."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.placement import sentences
from core.placement.planning import plan_pass
from core.placement.reservations import LAST_PATIENCE_SECONDS, PATIENCE_SECONDS
from core.placement.room import Room
from core.placement.timeline import Ends, Timeline
from core.placement.values import UNKNOWN, NodeRoom, Plan, Release, Snapshot, WaitingJob

ends = st.sampled_from([1.0, 5.0, 20.0, 60.0, 300.0])


@st.composite
def contended(draw: st.DrawFn) -> Snapshot:
    """A pool in use, a gang that does not fit and has waited long enough, and younger jobs behind it."""
    slots = [draw(st.integers(1, 8)) for _ in range(draw(st.integers(1, 4)))]
    releases, nodes = [], []
    for number, size in enumerate(slots, 1):
        held = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 3)))]
        while sum(held) > size:
            held.pop()
        for ranks in held:
            ends_in = draw(ends | st.just(UNKNOWN))
            releases.append(Release(number, ranks, ends_in, draw(st.integers(0, 500)) / 1.0))
        nodes.append(NodeRoom(number, f"n{number}", size, size - sum(held)))
    may_span = draw(st.booleans())
    most = sum(slots) if may_span else max(slots)
    big = WaitingJob("big", 1, draw(st.integers(1, most)), draw(st.sampled_from([30.0, 1000.0])), priority=1)
    small = [
        WaitingJob(
            f"s{number}",
            1,
            draw(st.integers(1, 3)),
            1.0,
            run_seconds=draw(ends | st.none()),
            is_limited=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    return Snapshot(1, tuple(nodes), (big, *small), releases=tuple(releases), may_span=may_span)


def after(snapshot: Snapshot, plan: Plan, *, until: float) -> tuple[Room, list[Release]]:
    """What is free once a plan's jobs have started, and what ends, of them only those that end by a time."""
    jobs = {job.id: job for job in snapshot.waiting}
    room = Room(snapshot.nodes, has_gpus=False)
    releases = list(snapshot.releases or ())
    for placement in plan.placements:
        job = jobs[placement.job_id]
        for node in placement.nodes:
            room.change(room.index[node], job.need, 1)
            if job.run_seconds is not None and job.run_seconds <= until:
                releases.append(Release(node, 1, job.run_seconds))
    return room, releases


@given(contended())
def test_what_passes_does_not_delay_the_reserved_start_by_estimate(snapshot: Snapshot) -> None:
    big = snapshot.waiting[0]
    promised = plan_pass(replace(snapshot, waiting=(big,)))
    plan = plan_pass(snapshot)
    if promised.placements:
        assert plan.placements[0] == promised.placements[0]
        return
    starts_in = promised.waiting["big"].starts_in
    room, releases = after(snapshot, plan, until=-1.0 if starts_in is None else starts_in)
    timeline = Timeline(room, Ends(releases, room.index))
    hosts = timeline.wait_for(big.num_ranks, big.need, room.eligible(()), may_span=snapshot.may_span)
    assert hosts is not None, "a job that passes and never ends is not in its way"
    assert starts_in is None or timeline.now <= starts_in


@given(contended())
def test_while_the_start_is_unknown_only_what_is_not_needed_may_be_taken(snapshot: Snapshot) -> None:
    """As above, from the other side: whatever a job says of its run, it is as if it never ended."""
    unknown = tuple(release._replace(ends_in=UNKNOWN) for release in snapshot.releases or ())
    snapshot = replace(snapshot, releases=unknown)
    big = snapshot.waiting[0]
    plan = plan_pass(snapshot)
    if "big" not in plan.waiting:
        return
    room, _ = after(snapshot, plan, until=-1.0)
    ends = Ends(unknown, room.index)
    needed = Timeline(Room(snapshot.nodes, has_gpus=False), ends)
    needed.wait_for(big.num_ranks, big.need, room.eligible(()), may_span=snapshot.may_span)
    left = Timeline(room, ends)
    left.wait_for(big.num_ranks, big.need, room.eligible(()), may_span=snapshot.may_span)
    # The same ranks have to end as before: none more.
    assert len(left.ends) == len(needed.ends)


# Cases.


def job(ranks: int, name: str, waited: float, **more: float | bool | None) -> WaitingJob:
    return replace(WaitingJob(name, 1, ranks, waited), **more)  # type: ignore[arg-type]


BIG = job(8, "big", PATIENCE_SECONDS)
HELD = (Release(1, 6, 60.0),)


def placed(*waiting: WaitingJob, releases: tuple[Release, ...] = HELD, free: int = 2, **more: bool) -> list[str]:
    nodes = (NodeRoom(1, "n", 8, free),)
    plan = plan_pass(Snapshot(1, nodes, waiting, releases=releases, **more))  # type: ignore[arg-type]
    return [placement.job_id for placement in plan.placements]


def test_a_job_that_has_not_waited_long_is_passed() -> None:
    assert placed(job(8, "big", PATIENCE_SECONDS - 1), job(1, "small", 1.0)) == ["small"]


@pytest.mark.parametrize(
    ("run_seconds", "limited", "waited", "passes"),
    [
        (59.0, False, PATIENCE_SECONDS, True),
        (61.0, False, PATIENCE_SECONDS, False),
        (None, False, PATIENCE_SECONDS, False),
        (59.0, False, LAST_PATIENCE_SECONDS, False),
        (59.0, True, LAST_PATIENCE_SECONDS, True),
    ],
)
def test_a_job_passes_the_reserved_one_only_if_it_is_gone_before(
    run_seconds: float | None, limited: bool, waited: float, passes: bool
) -> None:
    small = job(1, "small", 1.0, run_seconds=run_seconds, is_limited=limited)
    assert placed(replace(BIG, waited_seconds=waited), small) == (["small"] if passes else [])


def test_a_job_passes_where_the_start_is_unknown_only_beside_the_reserved_one() -> None:
    short = job(1, "small", 1.0, run_seconds=1.0, is_limited=True)
    held = (Release(1, 6, UNKNOWN),)
    assert placed(BIG, short, releases=held) == []
    assert placed(replace(BIG, num_ranks=7), short, releases=held) == ["small"]
    assert placed(replace(BIG, num_ranks=7), short, replace(short, id="x"), releases=held) == ["small"]


def test_a_job_without_a_chance_holds_up_nobody() -> None:
    assert placed(job(9, "never", 1000.0), job(1, "small", 1.0)) == ["small"]


def test_the_node_whose_ranks_have_run_longest_is_held_when_no_end_is_known() -> None:
    nodes = (NodeRoom(1, "a", 4, 3), NodeRoom(2, "b", 4, 2))
    held = (Release(1, 1, UNKNOWN, 5.0), Release(2, 1, UNKNOWN, 50.0), Release(2, 1, UNKNOWN, 40.0))
    small = tuple(job(1, f"s{number}", 1.0) for number in range(5))
    plan = plan_pass(Snapshot(1, nodes, (job(4, "big", 99.0), *small), releases=held))
    assert [placement.nodes for placement in plan.placements] == [(1,)] * 3
    assert plan.waiting["s4"].reason == sentences.WAITING_BEHIND_RESERVATION
    assert "behind a job that has waited longer and needs 4 slots" in plan.waiting["s4"].status


def test_starts_are_foretold_in_the_order_of_turns() -> None:
    waiting = (job(8, "big", 99.0, run_seconds=100.0), job(2, "small", 9.0), job(8, "last", 8.0))
    plan = plan_pass(Snapshot(1, (NodeRoom(1, "n", 8, 2),), waiting, releases=HELD))
    assert [plan.waiting[name].starts_in for name in ("big", "small", "last")] == [60.0, 160.0, None]


# Time passes.


@dataclass
class Running:
    ranks: int
    nodes: tuple[int, ...]
    started: float
    ends: float
    said: float | None


@dataclass
class World:
    """A pool under more small jobs than it can take, a pass every second, and one gang that wants in."""

    sizes: list[int]
    draw: random.Random
    is_limited: bool
    knows: bool
    may_span: bool
    running: list[Running] = field(default_factory=list)
    waiting: list[tuple[WaitingJob, float]] = field(default_factory=list)

    def tick(self, now: float) -> set[str]:
        """Let what has ended go, have one pass, and say what started."""
        self.running = [each for each in self.running if each.ends > now]
        while len(self.waiting) < 6:
            self._submit(now)
        used = dict.fromkeys(range(len(self.sizes)), 0)
        for each in self.running:
            for node in each.nodes:
                used[node] += 1
        nodes = tuple(NodeRoom(i, f"n{i}", size, size - used[i]) for i, size in enumerate(self.sizes))
        jobs = tuple(replace(job, waited_seconds=now - came) for job, came in self.waiting)
        plan = plan_pass(Snapshot(1, nodes, jobs, releases=self._releases(now), may_span=self.may_span))
        found = {job.id: job for job, _ in self.waiting}
        for placement in plan.placements:
            job = found[placement.job_id]
            said = job.run_seconds
            ends = now + (float(job.id.split("-")[1]) if job.id != "big" else 10.0)
            self.running.append(Running(job.num_ranks, placement.nodes, now, ends, said))
        started = {placement.job_id for placement in plan.placements}
        self.waiting = [(job, came) for job, came in self.waiting if job.id not in started]
        return started

    def longest_rest(self, now: float) -> float:
        """The longest that anything which runs may go on."""
        return max((each.ends if each.said is None else each.started + each.said) - now for each in self.running)

    def _submit(self, now: float) -> None:
        runs = self.draw.randint(1, 60)
        limit = float(runs + self.draw.randint(0, 20)) if self.knows else None
        name = f"s{self.draw.getrandbits(60)}-{runs}"
        job = WaitingJob(name, 1, self.draw.randint(1, 2), 0.0, run_seconds=limit, is_limited=self.is_limited)
        self.waiting.append((job, now))

    def _releases(self, now: float) -> tuple[Release, ...]:
        return tuple(
            Release(node, 1, UNKNOWN if each.said is None else each.started + each.said - now, now - each.started)
            for each in self.running
            for node in each.nodes
        )


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("may_span", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_a_gang_starts_within_the_longest_rest_of_what_runs_when_its_patience_ends(
    seed: int, may_span: bool, knows: bool
) -> None:
    """Its patience, or the turn of the last that came before it, whichever ends later."""
    draw = random.Random(seed)
    sizes = [draw.randint(2, 8) for _ in range(draw.randint(1, 4))]
    world = World(sizes, draw, is_limited=True, knows=knows, may_span=may_span)
    came, second, bound = 100, 0, None
    while "big" not in world.tick(float(second)):
        if second == came - 1:
            most = sum(sizes) if may_span else max(sizes)
            world.waiting.append((WaitingJob("big", 1, most, 0.0, run_seconds=10.0), float(came)))
        is_first = all(since >= came for _, since in world.waiting)
        if bound is None and second >= came + PATIENCE_SECONDS and is_first:
            bound = second + world.longest_rest(float(second))
        second += 1
        assert bound is None or second <= bound + 1, "the gang has starved"
        assert second < came + 300
    assert second >= came
