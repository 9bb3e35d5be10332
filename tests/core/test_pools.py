"""Pools and nodes on a real Postgres: slots, the moves of a node's state, capacity, and who wins a race."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from core.accounts import Caller
from core.database import Database
from core.enrolment import ensure_first_account
from core.errors import FailedPrecondition, InvalidArgument, LongshoreError, NotFound
from core.jobs.placing import Placement, place, take_snapshot
from core.jobs.quotas import Limits
from core.jobs.submitting import Submission, submit
from core.nodes import (
    EngineFacts,
    drop_lease,
    ensure_node,
    ensure_pool,
    nodes_of_group,
    record_answer,
    record_facts,
    record_silence,
    take_lease,
)
from core.pools import nodes
from core.pools.changing import change_pool, delete_pools
from core.pools.nodes import NodeDetails
from core.pools.reading import get_pool
from core.spec import JobSpec, ShellExecutor

RANGE = IPv4Network("10.201.0.0/16")
FACTS = EngineFacts("e", "20.10", cpu_count=2, gpu_count=0, memory_bytes=4 << 30, free_disk_bytes=1 << 40)
_numbers = itertools.count()


class Site:
    """An account with a pool of one node, which nobody has seen."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.account = f"account-{next(_numbers)}"
        ensure_first_account(database, account=self.account, user_email="a@b.c", key_file_has_key=False)
        self.caller = Caller(
            account=self.account,
            user_row=1,
            user_id="a",
            email="a@b.c",
            is_admin=True,
            is_operator=False,
            may_own_nodes=True,
            key_id="k",
        )
        ensure_pool(database, account=self.account)
        self.row = self.add_node("node").row

    def add_node(self, node: str, slots: int = 0) -> NodeDetails:
        return nodes.create_node(
            self.database,
            self.account,
            "default",
            node,
            endpoint=f"unix:///{node}",
            worker_group=self.account,
            slots=slots,
        )

    def node(self, node: str = "node") -> NodeDetails:
        return nodes.get_node_details(self.database, self.account, "default", node)

    def drain(self, *, wanted: bool) -> NodeDetails:
        return nodes.drain_node(self.database, self.account, "default", "node", wanted=wanted)

    def submit(self, ranks: int = 1) -> str:
        spec = JobSpec("image:1", num_ranks=ranks, executor=ShellExecutor("true"))
        submission = Submission(pool="default", display_name="", shared=False, spec=spec)
        return submit(self.database, self.caller, submission, Limits(1000, 10_000)).job.id

    def place(self, job_id: str, ranks: int = 1) -> bool:
        pool_row = self.node().pool_row
        return bool(place(self.database, pool_row, [Placement(job_id, 1, (self.row,) * ranks)], RANGE))

    def room(self) -> list[tuple[str, int, int]]:
        pool_row = get_pool(self.database, self.account, "default").row
        snapshot = take_snapshot(self.database, pool_row, with_room=True)
        return [(room.name, room.slots, room.free) for room in snapshot.nodes]


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


@pytest.mark.parametrize(
    ("wanted", "ranks_per_node", "facts", "slots"),
    [
        (0, 0, {}, 8),
        (0, 0, {"cpu_count": 32}, 64),
        (0, 0, {"cpu_count": 32, "gpu_count": 4}, 4),
        (0, 3, {"cpu_count": 32, "gpu_count": 4}, 3),
        (5, 3, {"cpu_count": 32, "gpu_count": 4}, 5),
    ],
)
def test_slots_of_a_node_follow_the_rule_once_it_is_seen(
    site: Site, wanted: int, ranks_per_node: int, facts: dict[str, Any], slots: int
) -> None:
    change_pool(site.database, site.account, "default", {"ranks_per_node": ranks_per_node})
    nodes.change_node(site.database, site.account, "default", "node", slots=wanted)
    assert site.node().slots == (wanted or ranks_per_node)
    assert record_facts(site.database, site.row, replace(FACTS, **facts))
    assert (site.node().slots, site.node().state) == (slots, "READY")
    assert site.room() == [("node", slots, slots)]


def test_facts_of_a_node_are_answered_and_ring_only_for_new_room(site: Site) -> None:
    assert record_facts(site.database, site.row, FACTS)
    assert not record_facts(site.database, site.row, FACTS)
    assert record_facts(site.database, site.row, replace(FACTS, cpu_count=16))
    node = site.node()
    assert (node.engine_version, node.cpu_count, node.gpu_count) == ("20.10", 16, 0)
    assert (node.memory_bytes, node.free_disk_bytes) == (4 << 30, 1 << 40)


def silent(site: Site) -> None:
    record_silence(site.database, site.row, "gone")


def answers(site: Site) -> object:
    return record_answer(site.database, site.row, "1")


def drains(site: Site) -> object:
    return site.drain(wanted=True)


def undrains(site: Site) -> object:
    return site.drain(wanted=False)


@pytest.mark.parametrize(
    ("moves", "state"),
    [
        ([], "DOWN"),
        ([drains], "DOWN"),
        ([answers], "READY"),
        ([answers, answers], "READY"),
        ([answers, silent], "DOWN"),
        ([answers, silent, answers], "READY"),
        ([answers, drains], "DRAINING"),
        ([answers, drains, answers], "DRAINING"),
        ([answers, drains, undrains], "READY"),
        ([answers, drains, silent], "DOWN"),
        ([answers, drains, silent, answers], "DRAINING"),
        ([answers, drains, silent, undrains, answers], "READY"),
        ([drains, answers], "DRAINING"),
        ([answers, silent, undrains], "DOWN"),
    ],
)
def test_state_of_a_node_after_moves(site: Site, moves: list[Callable[[Site], Any]], state: str) -> None:
    for move in moves:
        move(site)
    assert site.node().state == state
    assert bool(site.room()) == (state == "READY")


def test_silence_again_keeps_since_when_and_says_the_newest_why(site: Site) -> None:
    record_answer(site.database, site.row, "1")
    record_silence(site.database, site.row, "no route")
    first = site.node()
    record_silence(site.database, site.row, "refused\0" + "x" * 10_000)
    second = site.node()
    assert first.state_since == second.state_since and first.state_detail == "no route"
    assert second.state_detail.startswith("refusedx") and len(second.state_detail) < 1000


def test_room_is_neither_on_deleted_nodes_nor_below_zero(site: Site) -> None:
    record_facts(site.database, site.row, FACTS)
    record_facts(site.database, site.add_node("other").row, FACTS)
    record_facts(site.database, site.add_node("gone").row, FACTS)
    assert site.place(site.submit(4), 4)
    nodes.delete_node(site.database, site.account, "default", "gone")
    nodes.change_node(site.database, site.account, "default", "node", slots=2)
    assert site.room() == [("node", 2, 0), ("other", 8, 8)]
    assert site.node().slots_in_use == 4
    assert [node.name for node in nodes_of_group(site.database, site.account)] == ["node", "other"]


def test_node_on_which_ranks_hold_slots_is_not_deleted(site: Site) -> None:
    record_facts(site.database, site.row, FACTS)
    assert site.place(site.submit(3), 3)
    with pytest.raises(FailedPrecondition, match="3 ranks hold slots of node node: drain it first"):
        nodes.delete_node(site.database, site.account, "default", "node")
    with pytest.raises(FailedPrecondition, match="1 live jobs, and 3 ranks"):
        delete_pools(site.database, site.account, ["default"])
    assert site.node().state == "READY"


def test_engine_that_is_known_by_another_name_stays_that_node(site: Site) -> None:
    ensure_node(
        site.database,
        account=site.account,
        name="local",
        endpoint="unix:///node",
        worker_group=site.account,
        cpu_count=4,
        memory_bytes=1,
    )
    assert [node.name for node in nodes_of_group(site.database, site.account)] == ["node"]


def test_node_made_again_keeps_the_slots_that_were_asked_for(site: Site) -> None:
    local: dict[str, Any] = {
        "account": site.account,
        "name": "local",
        "worker_group": site.account,
        "memory_bytes": 1 << 30,
    }
    ensure_node(site.database, **local, endpoint="unix:///a", cpu_count=4)
    assert site.node("local").slots == 8 and site.node("local").state == "READY"
    nodes.change_node(site.database, site.account, "default", "local", slots=3)
    ensure_node(site.database, **local, endpoint="unix:///b", cpu_count=40)
    node = site.node("local")
    assert (node.slots, node.cpu_count, node.endpoint) == (3, 40, "unix:///b")


def test_lease_of_a_deleted_node_is_given_up_for_good(site: Site) -> None:
    assert take_lease(site.database, site.row, "one", 10)
    nodes.delete_node(site.database, site.account, "default", "node")
    drop_lease(site.database, site.row, "one")
    assert not take_lease(site.database, site.row, "one", 10)
    assert not take_lease(site.database, site.row, "two", 10)


def _at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The calls' results, or the errors that they raised, of calls made at the same time."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except LongshoreError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls))


@pytest.mark.parametrize("_round", range(10))
def test_pool_is_deleted_or_takes_the_job_but_never_both(site: Site, _round: int) -> None:
    deleted, *jobs = _at_once(
        lambda: delete_pools(site.database, site.account, ["default"]), *[site.submit for _ in range(3)]
    )
    stored = [job for job in jobs if isinstance(job, str)]
    if deleted is None:
        assert not stored and all(isinstance(job, InvalidArgument) for job in jobs)
        with pytest.raises(NotFound):
            get_pool(site.database, site.account, "default")
    else:
        assert isinstance(deleted, FailedPrecondition) and stored
        assert get_pool(site.database, site.account, "default")


@pytest.mark.parametrize("_round", range(10))
def test_node_is_deleted_or_takes_the_ranks_but_never_both(site: Site, _round: int) -> None:
    record_facts(site.database, site.row, FACTS)
    pool_row, placement = site.node().pool_row, Placement(site.submit(), 1, (site.row,))
    deleted, placed = _at_once(
        lambda: nodes.delete_node(site.database, site.account, "default", "node"),
        lambda: place(site.database, pool_row, [placement], RANGE),
    )
    if deleted is None:
        assert placed == []
    else:
        assert isinstance(deleted, FailedPrecondition) and len(placed) == 1


def test_node_made_while_its_pool_is_deleted_is_not_left_over(site: Site) -> None:
    deleted, made = _at_once(
        lambda: delete_pools(site.database, site.account, ["default"]), lambda: site.add_node("late")
    )
    assert deleted is None and isinstance(made, NodeDetails | NotFound)
    assert nodes_of_group(site.database, site.account) == []


def test_node_whose_engine_is_unfit_takes_nothing_until_it_is_another_version(site: Site) -> None:
    job = site.submit()
    record_facts(site.database, site.row, replace(FACTS, version="24.0.2"))
    assert "24.0.3 or later is needed" in site.node().withheld
    assert site.node().state == "READY" and site.room() == []
    assert not site.place(job)
    assert record_facts(site.database, site.row, replace(FACTS, version="24.0.3")), "there is room: a ring is due"
    assert site.node().withheld == "" and site.place(job)
