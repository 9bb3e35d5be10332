"""Gangs over three real engines: placed on several hosts, meeting by name, ended together; and nothing left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api_client import ApiClient, Json
from tests.lab.host_pool import ALL_TO_ALL, SLOTS, gang, nodes_of, ranks_of, remains, reports, used_hosts
from tests.lab.hosts import Hosts, can_make_hosts
from tests.lab.images import BUSYBOX, import_weighted_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.registry import Registry

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())


@pytest.fixture(scope="module")
def platform(hosts_platform: Platform) -> Platform:
    return hosts_platform


@pytest.fixture
def client(platform: Platform) -> ApiClient:
    return platform.client


@pytest.fixture
def nothing_left(platform: Platform, hosts: Hosts) -> Iterator[None]:
    yield
    wait_until(lambda: platform.slots_in_use() == 0, 30, "no slot is in use")
    wait_until(lambda: not any(remains(host.engine) for host in hosts.hosts), 30, "no container, no network")
    wait_until(lambda: platform.query("SELECT 1 FROM gang_networks") == [], 30, "no address block is held")


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(("ranks", "on"), [(2, 1), (4, 1), (6, 2), (12, 3)])
def test_gang_over_hosts_meets_by_name(client: ApiClient, platform: Platform, ranks: int, on: int) -> None:
    job = gang(client, ALL_TO_ALL, ranks)
    ended = client.wait_end(job["id"], 60)
    assert ended["state"] == "COMPLETED", (ended["status"], client.lines(job["id"]))
    assert used_hosts(client, job["id"]) == on
    everybody = " ".join(["reached", *map(str, range(ranks))])
    assert reports(client, job) == [everybody] * ranks


@pytest.mark.usefixtures("judge")
def test_ranks_of_another_job_are_not_reached(client: ApiClient, platform: Platform) -> None:
    serving = gang(client, "echo $RANK > /tmp/rank; httpd -p 8080 -h /tmp; cat /etc/hosts; sleep 120", 5)
    client.wait_for(serving["id"], lambda job: job["state"] == "RUNNING")
    wait_until(lambda: len(addresses(client, serving)) == 5, 10, "the ranks' addresses are printed")
    # From the same hosts, by address: names of another gang do not resolve at all.
    knock = "; ".join(
        f"timeout 1 wget -qO- http://{address}:8080/rank >/dev/null 2>&1 && echo reached {address}"
        for address in addresses(client, serving)
    )
    curious = gang(client, f"{knock}; echo asked", 6)
    assert client.wait_end(curious["id"])["state"] == "COMPLETED"
    assert used_hosts(client, curious["id"]) > 1
    assert reports(client, curious) == []
    assert client.lines(curious["id"]).count("asked") == 6
    # And from a single rank's bridge.
    alone = client.shell(f"{knock}; echo asked", image=BUSYBOX, nodePoolId="swarm")
    assert client.wait_end(alone["id"])["state"] == "COMPLETED"
    assert reports(client, alone) == []
    client.cancel(serving["id"])
    client.wait_end(serving["id"])


def addresses(client: ApiClient, job: Json) -> list[str]:
    """Of a gang's ranks, from the hosts file that rank 0 printed, and its own."""
    lines = [line.split() for line in client.lines(job["id"], rank=0)]
    return sorted({words[0] for words in lines if len(words) > 1 and words[1].startswith("rank-")})


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(
    ("mebibytes", "sizes"),
    [
        (24, [5, 1, 1, 2, 3, 12]),
        pytest.param(500, [12, 1, 2, 5, 8] * 10, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
    ids=["6 gangs", "50 gangs"],
)
def test_image_that_many_gangs_want_on_all_hosts_is_one_pull_on_each(
    client: ApiClient, platform: Platform, hosts: Hosts, hosts_registry: Registry, mebibytes: int, sizes: list[int]
) -> None:
    name = f"team/weighted-{mebibytes}"
    local = f"longshore-test/weighted:{mebibytes}"
    import_weighted_busybox(hosts[0].engine, local, mebibytes << 20)
    reference = hosts_registry.push(local, f"{name}:1", endpoint=hosts[0].socket)
    hosts_registry.forget(local, endpoint=hosts[0].socket)
    jobs = [gang(client, "true", ranks, image=reference, stopGracePeriod="1s") for ranks in sizes]
    try:
        ended = [client.wait_end(job["id"], 600) for job in jobs]
    finally:
        for host in hosts.hosts:
            hosts_registry.forget(reference, endpoint=host.socket)
    assert [job["state"] for job in ended] == ["COMPLETED"] * len(jobs), [job["status"] for job in ended]
    assert len({job["imageDigest"] for job in ended}) == 1
    used = {rank["nodeId"] for job in jobs for rank in ranks_of(client, job["id"])}
    assert used == {host.name for host in hosts.hosts}
    # The registry's own word: every part of the image went once to each host.
    downloads = Counter(hosts_registry.downloads(name))
    assert {client for client, _ in downloads} == {host.address for host in hosts.hosts}
    assert set(downloads.values()) == {1}, downloads
    assert platform.log("supervisor").count(f"event='image_pulled' image='{reference}'") == 3


@pytest.mark.usefixtures("nothing_left")
def test_failing_rank_names_its_host_and_ends_the_others(client: ApiClient, platform: Platform) -> None:
    job = gang(client, '[ "$RANK" = 5 ] && { sleep 2; echo so it goes; exit 7; }; sleep 120', 6)
    ended = client.wait_end(job["id"], 60)
    rows = platform.query(
        "SELECT n.name FROM ranks r JOIN jobs j ON j.id = r.job_id JOIN nodes n ON n.id = r.node_id"
        f" WHERE j.batch_job_id = '{job['id']}' AND r.rank = 5"
    )
    assert ended["state"] == "FAILED"
    assert f"rank 5 failed first on node {rows[0][0]}: exit code 7: so it goes" in ended["status"]
    assert used_hosts(client, job["id"]) == 2


@pytest.mark.usefixtures("nothing_left")
def test_engine_that_crashes_is_down_and_disturbs_no_job_elsewhere(
    client: ApiClient, platform: Platform, hosts: Hosts
) -> None:
    # One manager is enough to make networks; a worker of the swarm is killed.
    victim = hosts[2]
    call(client, f"{victim.name}:drain")
    job = gang(client, ALL_TO_ALL + "; sleep 6", 6)
    client.wait_for(job["id"], lambda found: found["state"] == "RUNNING")
    victim.kill()
    wait_until(lambda: node(client, victim.name)["state"] == "DOWN", 20, "the node is DOWN")
    assert "does not answer" in node(client, victim.name)["status"]
    assert not node(client, victim.name)["accepting"]
    after = gang(client, ALL_TO_ALL, 5)
    for each in (job, after):
        assert client.wait_end(each["id"], 60)["state"] == "COMPLETED"
    assert {found["state"] for found in nodes_of(client)} == {"READY", "DOWN"}
    victim.start()
    call(client, f"{victim.name}:undrain")
    wait_until(lambda: node(client, victim.name)["accepting"], 20, "the node is READY again")


@pytest.mark.usefixtures("nothing_left")
def test_cut_cable_makes_the_node_down_and_its_job_goes_on(
    client: ApiClient, platform: Platform, hosts: Hosts
) -> None:
    first = hosts[0].name
    others = [host.name for host in hosts.hosts[1:]]
    for name in others:
        call(client, f"{name}:drain")
    job = client.shell("sleep 8; echo survived", image=BUSYBOX, nodePoolId="swarm")
    client.wait_for(job["id"], lambda found: found["state"] == "RUNNING")
    hosts[0].cut()
    try:
        wait_until(lambda: node(client, first)["state"] == "DOWN", 40, "the node is DOWN")
        assert client.get(job["id"])["state"] == "RUNNING"
    finally:
        hosts[0].heal()
    ended = client.wait_end(job["id"], 60)
    assert (ended["state"], client.lines(job["id"])) == ("COMPLETED", ["survived"])
    for name in others:
        call(client, f"{name}:undrain")
    wait_until(lambda: all(found["accepting"] for found in nodes_of(client)), 20, "all nodes are READY")


def test_node_in_no_swarm_takes_no_ranks_of_a_pool_with_an_overlay(
    client: ApiClient, platform: Platform, hosts: Hosts
) -> None:
    hosts[2].engine.swarm.leave(force=True)
    try:
        wait_until(lambda: not node(client, hosts[2].name)["accepting"], 20, "the node takes no ranks")
        left = node(client, hosts[2].name)
        assert left["state"] == "READY" and "its engine is in no swarm" in left["status"]
        assert left["swarmRole"] == ""
    finally:
        hosts.join(hosts[2])
    wait_until(lambda: node(client, hosts[2].name)["accepting"], 20, "the node takes ranks")
    assert [found["swarmRole"] for found in nodes_of(client)] == ["manager", "worker", "worker"]


@pytest.mark.usefixtures("nothing_left")
def test_gang_of_a_pool_without_a_swarm_meets_on_the_hosts_own_addresses(
    client: ApiClient, platform: Platform, hosts: Hosts
) -> None:
    change_pool(client, network="host", ranksPerNode=1)
    try:
        job = gang(client, ALL_TO_ALL, 3)
        ended = client.wait_end(job["id"], 60)
        assert ended["state"] == "COMPLETED", (ended["status"], client.lines(job["id"]))
        assert used_hosts(client, job["id"]) == 3
        assert reports(client, job) == ["reached 0 1 2"] * 3
    finally:
        change_pool(client, network="overlay", ranksPerNode=SLOTS)


@pytest.mark.usefixtures("nothing_left")
def test_overlay_that_its_removal_was_not_seen_through_for_is_swept(
    client: ApiClient, platform: Platform, hosts: Hosts
) -> None:
    labels = {"longshore.installation": platform.installation, "longshore.network": "gang"}
    hosts[0].engine.networks.create("ls-astray-1", driver="overlay", attachable=True, labels=labels)
    hosts[1].engine.networks.create("ls-astray-2", driver="bridge", labels=labels)
    wait_until(lambda: not any(remains(host.engine) for host in hosts.hosts), 20, "no network is left")


def change_pool(client: ApiClient, **fields: Any) -> None:
    answer = client.http.patch("/nodePools/swarm", json={"dockerNodePool": fields})
    assert answer.status_code == 200, answer.text


def node(client: ApiClient, name: str) -> Json:
    found: Json = client.http.get(f"/nodePools/swarm/nodes/{name}").json()
    return found


def call(client: ApiClient, path: str) -> None:
    answer = client.http.post(f"/nodePools/swarm/nodes/{path}")
    assert answer.status_code == 200, answer.text
