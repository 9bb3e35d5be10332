"""Nodes of one pool that different workers serve: the swarm's manager by one, the others beside their engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.host_pool import ALL_TO_ALL, nodes_of, remains
from tests.lab.hosts import Hosts, can_make_hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())


@pytest.fixture(scope="module")
def platform(servers: Servers, hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    started = Platform(
        servers,
        tmp_path_factory.mktemp("groups"),
        docker_certs=hosts.client_certificates,
        listing_seconds=1,
        facts_seconds=1,
        min_free_disk_bytes=1 << 20,
        min_free_inodes=100,
    )
    try:
        for group in ("beside-2", "beside-3"):
            for name in ("worker", "supervisor"):
                started.start(name, group=group)
        http = started.client.http
        pool = {"dockerNodePool": {"network": "overlay", "ranksPerNode": 2}}
        assert http.post("/nodePools", json={"nodePoolId": "swarm", "nodePool": pool}).status_code == 200
        served = [
            {"endpoint": hosts[0].endpoint},
            {"endpoint": hosts[1].socket, "workerGroup": "beside-2"},
            {"endpoint": hosts[2].socket, "workerGroup": "beside-3"},
        ]
        for host, node in zip(hosts.hosts, served, strict=True):
            made = http.post("/nodePools/swarm/nodes", json={"nodeId": host.name, "node": node})
            assert made.status_code == 200, made.text
        wait_until(lambda: all(node["accepting"] for node in nodes_of(started.client)), 30, "the nodes are READY")
        yield started
    finally:
        started.stop()


def test_gang_away_from_the_manager_gets_its_network_from_there(platform: Platform, hosts: Hosts) -> None:
    client = platform.client
    drained = client.http.post(f"/nodePools/swarm/nodes/{hosts[0].name}:drain")
    assert drained.status_code == 200
    job = client.shell(ALL_TO_ALL, image=BUSYBOX, ranks=4, nodePoolId="swarm")
    ended = client.wait_end(job["id"], 60)
    assert ended["state"] == "COMPLETED", (ended["status"], client.lines(job["id"]))
    reports = [line for line in client.lines(job["id"]) if line.startswith("reached")]
    assert reports == ["reached 0 1 2 3"] * 4
    wait_until(lambda: platform.query("SELECT 1 FROM gang_networks") == [], 30, "no address block is held")
    wait_until(lambda: not any(remains(host.engine) for host in hosts.hosts), 30, "no container, no network")


def test_gang_fails_with_a_sentence_while_nobody_manages_the_swarm(platform: Platform, hosts: Hosts) -> None:
    client = platform.client
    hosts[0].kill()
    try:
        wait_until(lambda: nodes_of(client)[0]["state"] == "DOWN", 30, "the manager is DOWN")
        job = client.shell(ALL_TO_ALL, image=BUSYBOX, ranks=4, nodePoolId="swarm")
        said = client.wait_for(job["id"], lambda found: "manages its swarm" in str(found), 60)
        client.cancel(said["id"] if "id" in said else job["id"])
    finally:
        hosts[0].start()
    client.wait_end(job["id"])
    wait_until(lambda: platform.query("SELECT 1 FROM gang_networks") == [], 30, "no address block is held")
