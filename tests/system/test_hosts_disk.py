"""Disks that fill up: nothing new is placed there, and again when there is room; by the node's own word."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab.api_client import Json
from tests.lab.hosts import Hosts, can_make_hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())
_MIB = 1 << 20


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    lab = Hosts(2, live_restore=True, disk="size=256m,nr_inodes=12000")
    try:
        yield lab
    finally:
        lab.end()


@pytest.fixture(scope="module")
def platform(servers: Servers, hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    started = Platform(
        servers,
        tmp_path_factory.mktemp("disk"),
        docker_certs=hosts.client_certificates,
        listing_seconds=1,
        facts_seconds=1,
        min_free_disk_bytes=100 * _MIB,
        min_free_inodes=5000,
        disk_probe_image=BUSYBOX,
    )
    try:
        for pool, endpoint in (("far", hosts[0].endpoint), ("near", hosts[1].socket)):
            http = started.client.http
            assert http.post("/nodePools", json={"nodePoolId": pool, "nodePool": {}}).status_code == 200
            node = {"nodeId": "one", "node": {"endpoint": endpoint}}
            assert http.post(f"/nodePools/{pool}/nodes", json=node).status_code == 200
        yield started
    finally:
        started.stop()


@pytest.mark.parametrize(("pool", "number"), [("far", 0), ("near", 1)])
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_full_disk_takes_no_rank_until_there_is_room(
    platform: Platform, hosts: Hosts, pool: str, number: int, what: str
) -> None:
    client = platform.client

    def node() -> Json:
        found: Json = client.http.get(f"/nodePools/{pool}/nodes/one").json()
        return found

    wait_until(lambda: node()["accepting"], 20, "the node takes ranks")
    assert 100 * _MIB < int(node()["freeDiskBytes"]) <= 256 * _MIB
    assert 5000 < int(node()["freeInodes"]) <= 12_000
    ballast = hosts[number].data / "ballast"
    ballast.mkdir()
    if what == "bytes":
        (ballast / "large").write_bytes(bytes(200 * _MIB))
    else:
        for name in range(8000):
            (ballast / str(name)).touch()
    wait_until(lambda: not node()["accepting"], 20, "the node takes no ranks")
    said = "its disk is below 100 MiB: " if what == "bytes" else "its disk is below 5000 inodes: "
    assert node()["state"] == "READY"
    assert node()["status"].startswith(f"nothing new is placed here: {said}")
    job = client.shell("echo there is room", image=BUSYBOX, nodePoolId=pool)
    client.wait_for(job["id"], lambda found: "no node that takes ranks" in found["status"])
    for file in ballast.iterdir():
        file.unlink()
    ballast.rmdir()
    assert client.wait_end(job["id"], 20)["state"] == "COMPLETED"
    assert client.lines(job["id"]) == ["there is room"]
    assert node()["accepting"]


@pytest.mark.parametrize(("pool", "number"), [("far", 0), ("near", 1)])
def test_rank_that_fills_the_disk_is_ended_and_the_others_go_on(
    platform: Platform, hosts: Hosts, pool: str, number: int
) -> None:
    client = platform.client
    small = client.shell("head -c 1000000 /dev/zero > /small; sleep 8", image=BUSYBOX, nodePoolId=pool)
    command = "while :; do cat /dev/zero >> /big; sleep 0.2; done"
    large = client.shell(command, image=BUSYBOX, nodePoolId=pool, stopGracePeriod="1s")
    done = client.wait_end(large["id"], 60)
    assert (done["state"], done["reason"]) == ("FAILED", "DISK_EXCEEDED")
    said = r"rank 0 has written \d+ MiB to the disk of node one, which had \d+ MiB left"
    assert re.fullmatch(said, done["status"]), done["status"]
    assert client.wait_end(small["id"], 60)["state"] == "COMPLETED"
    after = client.shell("echo there is room", image=BUSYBOX, nodePoolId=pool)
    assert client.wait_end(after["id"], 60)["state"] == "COMPLETED"


def test_full_disk_that_no_rank_has_filled_ends_nobody(platform: Platform, hosts: Hosts) -> None:
    client = platform.client
    job = client.shell("echo here; sleep 6", image=BUSYBOX, nodePoolId="near")
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    ballast = hosts[1].data / "ballast"
    ballast.write_bytes(bytes(230 * _MIB))
    try:
        assert client.wait_end(job["id"], 60)["state"] == "COMPLETED"
    finally:
        ballast.unlink()
