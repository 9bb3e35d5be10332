"""Placement on a real Postgres: what a pass looks at, the judge under the pool's lock, what is written down."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any

import pytest
from sqlalchemy import text

from core.accounts import Caller
from core.database import Database
from core.enrolment import ensure_first_account
from core.errors import Superseded
from core.jobs import gang_networks, launching, queue_reading
from core.jobs.outlook import Outlook, outlook
from core.jobs.placing import Placement, place, take_snapshot, write_waiting
from core.jobs.quotas import Limits
from core.jobs.submitting import Submission, submit
from core.nodes import EngineFacts, ensure_pool, record_facts
from core.placement.planning import plan_pass
from core.placement.values import Need
from core.pools import nodes
from core.pools.changing import change_pool
from core.pools.reading import get_pool
from core.spec import JobSpec, ShellExecutor
from worker.scheduler import run_pass

RANGE = IPv4Network("10.202.0.0/16")
GIB = 1 << 30
FACTS = EngineFacts("e", "29.0", cpu_count=8, gpu_count=0, memory_bytes=10 * GIB, free_disk_bytes=1 << 40)
_numbers = itertools.count()


class Site:
    """A pool of two nodes with eight slots, eight CPUs and nine GiB each, in an account of its own."""

    def __init__(self, database: Database, facts: EngineFacts = FACTS, *, node_count: int = 2) -> None:
        self.database = database
        self.account = f"site-{next(_numbers)}"
        ensure_first_account(database, account=self.account, user_email="a@b.c", key_file_has_key=False)
        ensure_pool(database, account=self.account)
        self.nodes = [self.add_node(number, facts) for number in range(node_count)]
        self.pool_row = get_pool(database, self.account, "default").row

    def add_node(self, number: int, facts: EngineFacts, slots: int = 8) -> int:
        name = f"n{number}"
        made = nodes.create_node(
            self.database,
            self.account,
            "default",
            name,
            endpoint=f"unix:///{name}",
            worker_group=self.account,
            slots=slots,
        )
        record_facts(self.database, made.row, facts)
        return made.row

    def caller(self, account: str) -> Caller:
        return Caller(account, 1, "a", "a@b.c", is_admin=True, is_operator=False, may_own_nodes=True, key_id="k")

    def submit(self, ranks: int = 1, *, account: str = "", **asked: Any) -> str:
        spec = JobSpec("image:1", num_ranks=ranks, executor=ShellExecutor("true"), **asked)
        submission = Submission(pool="default", display_name="", shared=False, spec=spec)
        caller = self.caller(account or self.account)
        return submit(self.database, caller, submission, Limits(100_000, 1_000_000)).job.id

    def share_with(self) -> str:
        """Another account, to which the pool is offered."""
        change_pool(self.database, self.account, "default", {"offered_to_all": True})
        other = f"other-{next(_numbers)}"
        ensure_first_account(self.database, account=other, user_email="a@b.c", key_file_has_key=False)
        self.query("UPDATE node_pools SET pool_id = %s WHERE id = %s", self.account, self.pool_row)
        return other

    def place(self, job: str, *on: int) -> bool:
        return bool(place(self.database, self.pool_row, [Placement(job, 1, on)], RANGE))

    def query(self, statement: str, *values: Any) -> list[Any]:
        with self.database.transaction() as connection:
            found = connection.exec_driver_sql(statement, values)
            return list(found) if found.returns_rows else []

    def run(self) -> list[str]:
        return [order.job_id for order in run_pass(self.database, self.pool_row, RANGE)]

    def written(self, job: str) -> Any:
        return self.query(
            "SELECT reason, status, queue_position, estimated_start_at, updated_at FROM jobs WHERE id = %s", job
        )[0]


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


# The judge.


@pytest.mark.parametrize(
    ("asked", "fit"),
    [({}, 8), ({"cpu_milli": 3000}, 2), ({"memory_bytes": 4 * GIB}, 2), ({"cpu_milli": 500}, 8)],
)
def test_place_counts_slots_cpu_and_memory_of_what_holds_them(site: Site, asked: dict[str, Any], fit: int) -> None:
    placed = [site.place(site.submit(**asked), site.nodes[0]) for _ in range(10)]
    assert placed == [True] * fit + [False] * (10 - fit)
    room = take_snapshot(site.database, site.pool_row, with_room=True).nodes[0]
    assert room.free == 8 - fit
    assert room.cpu_free == 8000 - fit * asked.get("cpu_milli", 1000)
    assert site.place(site.submit(**asked), site.nodes[1])


def test_place_counts_a_pools_limit_of_memory_as_what_a_rank_holds(site: Site) -> None:
    change_pool(site.database, site.account, "default", {"memory_limit_bytes": 4 * GIB})
    placed = [site.place(site.submit(), site.nodes[0]) for _ in range(3)]
    assert placed == [True, True, False]


def test_place_gives_each_rank_a_gpu_of_its_own(database: Database) -> None:
    site = Site(database, replace(FACTS, gpu_count=4))
    first, second = site.submit(2), site.submit(1)
    assert site.place(first, *site.nodes[:1] * 2)
    assert site.place(second, site.nodes[0])
    held = site.query("SELECT gpu FROM ranks WHERE node_id = %s ORDER BY gpu", site.nodes[0])
    assert [gpu for (gpu,) in held] == [0, 1, 2]
    site.query("UPDATE ranks SET released_at = now() WHERE job_id = %s AND rank = 1", first)
    assert site.place(site.submit(2), *site.nodes[:1] * 2)
    held = site.query("SELECT gpu FROM ranks WHERE node_id = %s AND released_at IS NULL", site.nodes[0])
    assert sorted(gpu for (gpu,) in held) == [0, 1, 2, 3]
    assert not site.place(site.submit(1), site.nodes[0])


def test_launch_knows_the_gpu_that_each_of_its_ranks_was_given(database: Database) -> None:
    site = Site(database, replace(FACTS, gpu_count=2))
    change_pool(database, site.account, "default", {"network": "host"})
    single, gang = site.submit(1), site.submit(3)
    assert site.place(single, site.nodes[1])
    assert site.place(gang, site.nodes[0], site.nodes[1], site.nodes[0])
    first, second = (launching.claim_launch(database, gang, 1, node, 60) for node in site.nodes)
    assert first is not None and first.gpu_of_rank == {0: 0, 2: 1}
    assert second is not None and second.gpu_of_rank == {1: 1}, "the other is the single rank's"
    # What was reserved counts, whatever the engine says of itself meanwhile.
    record_facts(database, site.nodes[1], FACTS)
    alone = launching.claim_launch(database, single, 1, site.nodes[1], 60)
    assert alone is not None and alone.gpu_of_rank == {0: 0}


def test_launch_in_a_pool_without_gpus_has_none(site: Site) -> None:
    job = site.submit(2, cpu_milli=500)
    assert site.place(job, *site.nodes[:1] * 2)
    work = launching.claim_launch(site.database, job, 1, site.nodes[0], 60)
    assert work is not None and work.gpu_of_rank == {}


def test_place_refuses_a_node_without_the_jobs_labels(site: Site) -> None:
    site.query("""UPDATE nodes SET labels = '{"disk": "ssd"}' WHERE id = %s""", site.nodes[1])
    job = site.submit(node_labels={"disk": "ssd"})
    assert not site.place(job, site.nodes[0])
    assert site.place(job, site.nodes[1])
    assert not site.place(site.submit(node_labels={"disk": "hdd"}), site.nodes[1])


def test_place_counts_a_pools_labels_as_its_nodes_and_a_nodes_own_over_them(site: Site) -> None:
    change_pool(site.database, site.account, "default", {"labels": {"site": "a", "disk": "hdd"}})
    nodes.change_node(site.database, site.account, "default", "n1", labels={"disk": "ssd"})
    found = {room.name: room.labels for room in take_snapshot(site.database, site.pool_row, with_room=True).nodes}
    assert found == {"n0": {"site": "a", "disk": "hdd"}, "n1": {"site": "a", "disk": "ssd"}}
    job = site.submit(node_labels={"site": "a", "disk": "ssd"})
    assert not site.place(job, site.nodes[0])
    assert site.place(job, site.nodes[1])
    assert not site.place(site.submit(node_labels={"disk": "hdd"}), site.nodes[1])


def test_place_refuses_a_node_that_failed_the_job_while_another_could_hold_it(site: Site) -> None:
    job = site.submit(8)
    site.query("UPDATE jobs SET avoided_nodes = ARRAY[%s::bigint] WHERE id = %s", site.nodes[0], job)
    assert not site.place(job, *site.nodes[:1] * 8)
    site.query("UPDATE nodes SET state = 'DOWN' WHERE id = %s", site.nodes[1])
    assert site.place(job, *site.nodes[:1] * 8)


@pytest.mark.parametrize(("network", "placed"), [("", False), ("bridge", False), ("overlay", True)])
def test_place_puts_a_gang_on_several_hosts_only_where_the_pool_has_a_network(
    site: Site, network: str, placed: bool
) -> None:
    change_pool(site.database, site.account, "default", {"network": network})
    job = site.submit(12)
    assert site.place(job, *site.nodes[:1] * 8, *site.nodes[1:] * 4) is placed
    held = site.query("SELECT count(*) FROM ranks WHERE job_id = %s AND state = 'PLACED'", job)
    assert held == [(12 if placed else 0,)]


@pytest.mark.parametrize("on", [(0,), (0, 0, 0), (-1, -1)])
def test_place_of_what_is_not_the_job_or_no_node_takes_nothing(site: Site, on: tuple[int, ...]) -> None:
    job = site.submit(2)
    assert not site.place(job, *(site.nodes[node] if node >= 0 else node for node in on))
    assert site.place(job, *site.nodes[:1] * 2)


def test_place_in_another_pool_takes_nothing(site: Site, database: Database) -> None:
    other = Site(database)
    assert not place(database, other.pool_row, [Placement(site.submit(), 1, (other.nodes[0],))], RANGE)


def test_passes_at_the_same_time_never_hold_more_than_there_is(database: Database) -> None:
    site = Site(database, node_count=3)
    change_pool(database, site.account, "default", {"network": "overlay"})
    needs: list[dict[str, Any]] = [{}, {"cpu_milli": 2500}, {"memory_bytes": 3 * GIB}, {"cpu_milli": 250}]
    for number in range(40):
        site.submit(1 + number % 5, **needs[number % 4])
    with ThreadPoolExecutor(6) as threads:
        started = [job for ran in threads.map(lambda _: site.run(), range(12)) for job in ran]
    assert started
    held = site.query(
        "SELECT node_id, cpu_milli, memory_bytes FROM ranks WHERE node_id = ANY(%s) AND released_at IS NULL",
        site.nodes,
    )
    for node in site.nodes:
        of_node = [(cpu, memory) for on, cpu, memory in held if on == node]
        assert len(of_node) <= 8
        assert sum(1000 if cpu is None else cpu for cpu, _ in of_node) <= 8000
        assert sum(9 * GIB // 8 if memory is None else memory for _, memory in of_node) <= 9 * GIB
    whole = site.query(
        "SELECT j.id FROM jobs j JOIN ranks r ON r.job_id = j.id WHERE j.pool_id = %s GROUP BY j.id"
        " HAVING count(r.node_id) NOT IN (0, j.num_ranks) OR (count(r.node_id) > 0) <> (j.state = 'PENDING')",
        site.pool_row,
    )
    assert whole == [], "all ranks of a job have room, or none"


def test_gangs_of_pools_that_are_placed_at_the_same_time_get_blocks_of_their_own(database: Database) -> None:
    sites = [Site(database) for _ in range(4)]
    for site in sites:
        for _ in range(4):
            site.submit(2)
    with ThreadPoolExecutor(4) as threads:
        started = [job for ran in threads.map(lambda site: site.run(), sites) for job in ran]
    assert len(started) == 16
    blocks = sites[0].query("SELECT subnet FROM gang_networks WHERE job_id = ANY(%s)", started)
    assert len(set(blocks)) == 16


#: A range without a block.
NO_RANGE = IPv4Network("10.203.0.0/32")


def networks(site: Site, job: str) -> list[Any]:
    return site.query("SELECT driver, subnet, nodes FROM gang_networks WHERE job_id = %s", job)


def test_gang_on_its_hosts_own_network_takes_no_block_of_addresses(site: Site) -> None:
    change_pool(site.database, site.account, "default", {"network": "host"})
    first, second, third = site.submit(2), site.submit(10), site.submit(2)
    for gang, on in ((first, site.nodes), (second, (*site.nodes * 5,))):
        assert place(site.database, site.pool_row, [Placement(gang, 1, tuple(on))], NO_RANGE)
        assert networks(site, gang) == [("host", None, [])]
    on_one = Placement(third, 1, (site.nodes[0],) * 2)
    assert not place(site.database, site.pool_row, [on_one], NO_RANGE), "on one host it has a bridge of its own"
    assert place(site.database, site.pool_row, [on_one], RANGE)
    ((driver, subnet, on),) = networks(site, third)
    assert (driver, on) == ("bridge", site.nodes[:1]) and subnet is not None


def test_gang_on_its_hosts_own_network_is_launched_there_and_its_row_goes_with_its_ranks(site: Site) -> None:
    change_pool(site.database, site.account, "default", {"network": "host"})
    for name, address in (("n0", "10.0.0.1"), ("n1", "10.0.0.2")):
        nodes.change_node(site.database, site.account, "default", name, address=address)
    gang = site.submit(2)
    assert site.place(gang, *site.nodes)
    # What it was placed with counts, whatever the pool says by the time of its launch.
    change_pool(site.database, site.account, "default", {"network": "overlay"})
    work = launching.claim_launch(site.database, gang, 1, site.nodes[1], 60)
    assert work is not None
    assert (work.driver, work.subnet, work.address_of_rank) == ("host", None, ("10.0.0.1", "10.0.0.2"))
    with pytest.raises(Superseded, match="no network to make"):
        gang_networks.overlay_home(site.database, gang, 1)
    assert (gang, 1) in gang_networks.held_networks(site.database, [(gang, 1)])
    site.query("UPDATE ranks SET state = 'STOPPED' WHERE job_id = %s", gang)
    gang_networks.free_unused_blocks(site.database)
    assert networks(site, gang), "its ranks' containers are still there"
    site.query("UPDATE ranks SET released_at = now() WHERE job_id = %s", gang)
    assert not any(gang_networks.networks_to_remove(site.database, node) for node in site.nodes)
    gang_networks.free_unused_blocks(site.database)
    assert networks(site, gang) == [] and (gang, 1) not in gang_networks.held_networks(site.database, [(gang, 1)])


# What a pass looks at.


def test_snapshot_of_a_long_queue_has_the_head_of_every_accounts_and_reads_little_more(
    database: Database,
) -> None:
    site = Site(database)
    other = site.share_with()
    site.query(
        "INSERT INTO jobs (id, account_id, batch_job_id, pool_id, created_by, display_name, shared, num_ranks,"
        " image_ref, spec, state, created_at) SELECT %s || g || '-' || a, a, 'b' || g, %s, 'a', '', false, 1, 'i',"
        " jsonb_build_object('priority', g %% 3), 'QUEUED', now() - make_interval(secs => g)"
        " FROM unnest(%s::text[], %s::int[]) AS u(a, n), generate_series(1, u.n) AS g",
        site.account,
        site.pool_row,
        [site.account, other],
        [10_000, 10],
    )
    site.query(
        "INSERT INTO ranks (job_id, attempt, rank, state) SELECT id, 1, 0, 'WAITING' FROM jobs WHERE pool_id = %s",
        site.pool_row,
    )
    site.query("ANALYZE jobs")
    snapshot = take_snapshot(database, site.pool_row)
    counted = Counter(job.account for job in snapshot.waiting)
    assert counted == {site.account: queue_reading.PASS_LIMIT // 2, other: 10}
    assert snapshot.is_cut
    mine = [job for job in snapshot.waiting if job.account == site.account]
    assert {job.priority for job in mine} == {2}
    assert [job.waited_seconds for job in mine] == sorted((job.waited_seconds for job in mine), reverse=True)
    with database.transaction() as connection:
        asked = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {queue_reading._HEADS.text}")
        given = {"pool": site.pool_row, "limit": queue_reading.PASS_LIMIT, "skipped": []}
        plan = connection.execute(asked, given).scalar_one()
    assert _rows_read(plan[0]["Plan"]) < 4 * queue_reading.PASS_LIMIT
    ran = set(site.run())
    started = Counter(job.account for job in snapshot.waiting if job.id in ran)
    assert started == {site.account: 13, other: 3}, "of the other's ten, three have the priority of the head"


def _rows_read(plan: dict[str, Any]) -> int:
    own = plan["Actual Rows"] * plan["Actual Loops"] if "Relation Name" in plan else 0
    filtered = plan.get("Rows Removed by Filter", 0) * plan["Actual Loops"]
    return int(own + filtered + sum(_rows_read(child) for child in plan.get("Plans", ())))


def test_snapshot_has_what_a_job_asks_for(site: Site) -> None:
    site.submit(
        3,
        priority=7,
        cpu_milli=1500,
        memory_bytes=GIB,
        node_labels={"b": "2", "a": "1"},
        run_timeout_seconds=90.0,
    )
    site.submit()
    first, second = take_snapshot(site.database, site.pool_row).waiting
    assert (first.num_ranks, first.priority, first.need) == (3, 7, Need(1500, GIB))
    assert (first.labels, first.run_seconds, first.is_limited) == ((("a", "1"), ("b", "2")), 90.0, True)
    assert (second.priority, second.need, second.labels, second.is_limited) == (0, Need(), (), False)


def test_snapshot_leaves_out_a_job_that_is_to_be_tried_again_later(site: Site) -> None:
    job = site.submit()
    site.query("UPDATE jobs SET not_before_at = now() + interval '1 minute' WHERE id = %s", job)
    assert take_snapshot(site.database, site.pool_row).waiting == ()
    site.query("UPDATE jobs SET not_before_at = now() WHERE id = %s", job)
    assert len(take_snapshot(site.database, site.pool_row).waiting) == 1


def test_pass_goes_on_while_it_has_not_seen_the_whole_queue(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_reading, "PASS_LIMIT", 4)
    jobs = {site.submit() for _ in range(10)}
    assert set(site.run()) == jobs


def test_pass_looks_past_jobs_that_can_never_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_reading, "PASS_LIMIT", 4)
    hopeless = [site.submit(17) for _ in range(10)]
    job = site.submit(1)
    assert site.run() == [job]
    assert {site.written(each).reason for each in hopeless} == {"NEVER_FITS_POOL"}


# Why they wait.


def fill(site: Site, *, runs: float | None = None, started: float = 0.0) -> list[str]:
    """Have every slot held by single ranks that run for so long, and have run for some of it."""
    jobs = [site.submit(run_timeout_seconds=runs) for _ in range(16)]
    assert set(site.run()) == set(jobs)
    site.query(
        "UPDATE jobs SET state = 'RUNNING', started_at = now() - make_interval(secs => %s) WHERE id = ANY(%s)",
        started,
        jobs,
    )
    return jobs


def wait(site: Site, seconds: float) -> None:
    """Let what is queued have waited longer."""
    site.query(
        "UPDATE jobs SET created_at = created_at - make_interval(secs => %s)"
        " WHERE pool_id = %s AND state = 'QUEUED'",
        seconds,
        site.pool_row,
    )


def test_reasons_are_written_once_and_again_only_when_they_change(site: Site) -> None:
    running = fill(site)
    jobs = [site.submit(2), site.submit(1), site.submit(20)]
    site.run()
    before = [site.written(job) for job in jobs]
    assert [(row.reason, row.queue_position) for row in before] == [
        ("WAITING_FOR_ROOM", 1),
        ("WAITING_FOR_TURN", 2),
        ("NEVER_FITS_POOL", None),
    ]
    assert before[0].status == "waiting for 2 of 16 slots; position 1 in the queue"
    assert before[2].status == "waiting: needs 20 slots, the pool has 16"
    site.run()
    assert [site.written(job) for job in jobs] == before
    site.query("UPDATE ranks SET released_at = now() WHERE job_id = ANY(%s)", running[:1])
    wait(site, 60)
    site.run()
    second = site.written(jobs[1])
    assert second.reason == "WAITING_BEHIND_RESERVATION"
    assert "behind a job that has waited longer and needs 2 slots" in second.status


def test_start_is_estimated_from_the_run_timeouts_of_what_runs(site: Site) -> None:
    fill(site, runs=600.0, started=300.0)
    job = site.submit(8)
    wait(site, 60)
    site.run()
    row = site.written(job)
    seconds = (row.estimated_start_at - row.updated_at).total_seconds()
    assert 290 < seconds < 365
    assert f"estimated start {row.estimated_start_at:%Y-%m-%d %H:%M} UTC" in row.status


def test_start_is_estimated_from_past_runs_of_the_image(site: Site) -> None:
    past = fill(site)
    site.query(
        "UPDATE jobs SET state = 'COMPLETED', ended_at = now(), started_at = now() - interval '100 s'"
        " WHERE id = ANY(%s)",
        past,
    )
    site.query("UPDATE ranks SET released_at = now() WHERE job_id = ANY(%s)", past)
    fill(site, started=40.0)
    job = site.submit(8)
    wait(site, 60)
    site.run()
    row = site.written(job)
    assert 55 < (row.estimated_start_at - row.updated_at).total_seconds() < 125


def test_start_after_runs_that_nobody_can_know_is_unknown(site: Site) -> None:
    fill(site)
    job = site.submit(8)
    wait(site, 60)
    site.run()
    assert site.written(job).estimated_start_at is None


def test_write_waiting_leaves_alone_what_is_not_queued_or_another_attempt(site: Site) -> None:
    fill(site)
    jobs = [site.submit(1), site.submit(1)]
    plan = plan_pass(take_snapshot(site.database, site.pool_row))
    site.query("UPDATE jobs SET state = 'CANCELLED' WHERE id = %s", jobs[0])
    site.query("UPDATE jobs SET attempt = 2 WHERE id = %s", jobs[1])
    before = [site.written(job) for job in jobs]
    write_waiting(site.database, list(plan.waiting.values()))
    assert [site.written(job) for job in jobs] == before


# The dry run.


def ask(site: Site, ranks: int, **asked: Any) -> Outlook:
    return outlook(site.database, site.pool_row, site.account, JobSpec("image:1", num_ranks=ranks, **asked))


def say(site: Site, ranks: int, **asked: Any) -> str:
    return ask(site, ranks, **asked).sentence


def test_outlook_a_job_that_fits_names_the_nodes(site: Site) -> None:
    assert say(site, 4) == "valid; it would start now on node n0 (4 ranks)"
    change_pool(site.database, site.account, "default", {"network": "overlay"})
    assert say(site, 9) == "valid; it would start now on node n0 (8 ranks) and node n1 (1 rank)"
    ((now,),) = site.query("SELECT now()")
    found = ask(site, 4)
    assert (found.reason, found.position) == ("", 0)
    assert found.starts_at is not None and timedelta(0) <= found.starts_at - now < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ranks", "asked", "said"),
    [
        (17, {}, "needs 17 slots, the pool has 16"),
        (9, {}, "needs 9 ranks on one node, and the largest takes 8"),
        (1, {"cpu_milli": 9000}, "needs 1 rank with 9 CPUs each, and all nodes together could take 0"),
        (1, {"node_labels": {"disk": "ssd"}}, "needs nodes with disk=ssd, and no node of the pool is one"),
    ],
)
def test_outlook_a_job_that_never_fits_says_why(site: Site, ranks: int, asked: Any, said: str) -> None:
    found = ask(site, ranks, **asked)
    assert found.sentence.startswith(f"valid; as the pool is now, never: {said}")
    assert (found.reason, found.position, found.starts_at) == ("NEVER_FITS_POOL", 0, None)


def test_outlook_a_job_that_waits_says_its_place_and_when(site: Site) -> None:
    fill(site, runs=600.0, started=300.0)
    site.submit(1, run_timeout_seconds=60.0)
    found = ask(site, 8)
    assert found.sentence == (
        "valid; it would wait: waiting for its turn and for 8 of 16 slots, position 2,"
        " estimated start in about 5 minutes"
    )
    ((now,),) = site.query("SELECT now()")
    assert (found.reason, found.position) == ("WAITING_FOR_TURN", 2)
    assert found.starts_at is not None and timedelta(minutes=4) < found.starts_at - now < timedelta(minutes=7)
    assert say(site, 8, priority=1).startswith("valid; it would wait: waiting for 8 of 16 slots, position 1")
    assert site.query("SELECT count(*) FROM jobs WHERE pool_id = %s", site.pool_row) == [(17,)]


def test_outlook_in_a_pool_without_a_node_says_so(database: Database) -> None:
    site = Site(database, node_count=0)
    assert say(site, 3) == "valid; as the pool is now, never: needs 3 slots, the pool has 0"
    assert ask(site, 3).reason == "NO_NODE"
