"""Placement on a real Postgres: what a pass looks at, the judge under the pool's lock, what is written down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from core.database import Database
from core.errors import Superseded
from core.jobs import gang_networks, launching
from core.jobs.placing import Placement, place, take_snapshot
from core.nodes import record_facts
from core.pools import nodes
from core.pools.changing import change_pool
from tests.core.placing_site import FACTS, GIB, RANGE, Site


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
