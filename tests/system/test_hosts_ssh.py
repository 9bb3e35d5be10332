"""A node at ssh://: its jobs, what its status says of a spoiled way, and that it mends by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, Platform, wait_until
from tests.lab.servers import Servers
from tests.lab.sshd import Sshd, can_run_sshd, ssh_clients

pytestmark = [
    pytest.mark.skipif(bool(can_run_sshd()), reason=can_run_sshd()),
    pytest.mark.skipif(ENGINE != "unix:///var/run/docker.sock", reason="the engine's socket is elsewhere"),
]
#: A refused client is tried again after 20 s, and the machine may be busy.
_MENDED_SECONDS = 60


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    started = Sshd(tmp_path / "sshd")
    yield started
    started.end()


@pytest.fixture
def by_ssh(servers: Servers, sshd: Sshd, tmp_path: Path) -> Iterator[Platform]:
    """A platform whose one node is this machine's engine, by ssh."""
    ensure_busybox()
    platform = Platform(
        servers,
        tmp_path,
        ssh_key_file=sshd.key,
        ssh_known_hosts=sshd.known_hosts,
        listing_seconds=1,
        facts_seconds=1,
        engine_timeout_seconds=20,
    )
    try:
        assert platform.client.http.delete("/nodePools/default/nodes/local").status_code == 200
        held = "SELECT name FROM nodes WHERE lease_owner IS NOT NULL"
        wait_until(lambda: platform.query(held) == [], 20, "the supervisor has let go of the socket's node")
        node = {"nodeId": "far", "node": {"endpoint": sshd.endpoint}}
        assert platform.client.http.post("/nodePools/default/nodes", json=node).status_code == 200
        yield platform
    finally:
        platform.stop()


def far(platform: Platform) -> dict[str, str]:
    found: dict[str, str] = platform.client.http.get("/nodePools/default/nodes/far").json()
    return found


def wait_ready(platform: Platform) -> None:
    wait_until(lambda: far(platform)["state"] == "READY", _MENDED_SECONDS, "the node is READY")


def wait_down(platform: Platform, said: str) -> None:
    def is_said() -> bool:
        node = far(platform)
        return node["state"] == "DOWN" and said in node["status"]

    wait_until(is_said, _MENDED_SECONDS, f"the node is DOWN and says: {said}")


def run_gang(platform: Platform) -> None:
    client = platform.client
    job = client.shell("echo rank $RANK by ssh", image=BUSYBOX, ranks=2)
    done = client.wait_end(job["id"], 60)
    assert done["state"] == "COMPLETED", done["status"]
    assert sorted(client.lines(job["id"])) == ["rank 0 by ssh", "rank 1 by ssh"]


def test_gang_runs_through_ssh_and_nothing_is_left_of_it(by_ssh: Platform, sshd: Sshd) -> None:
    wait_ready(by_ssh)
    run_gang(by_ssh)
    assert len(ssh_clients(sshd.key)) == 2, "one of the worker, one of the supervisor"
    # The worker as an operator ends it; the supervisor itself alone, as the kernel does for memory.
    os.kill(by_ssh.pid("worker"), signal.SIGTERM)
    os.kill(by_ssh.pid("supervisor"), signal.SIGKILL)
    wait_until(lambda: ssh_clients(sshd.key) == [], 30, "no client outlives its process")
    by_ssh.start("worker")
    by_ssh.start("supervisor")
    run_gang(by_ssh)


def test_node_says_what_is_wrong_with_the_way_and_is_ready_once_it_is_mended(by_ssh: Platform, sshd: Sshd) -> None:
    wait_ready(by_ssh)
    sshd.kill()
    wait_down(by_ssh, "no sshd answers there")
    sshd.trust(sshd.new_key("stranger"))
    sshd.start()
    wait_down(by_ssh, "its host key is not the one in")
    sshd.trust()
    sshd.shut_out()
    wait_down(by_ssh, "it refuses our key")
    sshd.let_in()
    wait_ready(by_ssh)
    run_gang(by_ssh)


def test_rank_outlives_a_lost_connection_with_its_whole_log(by_ssh: Platform, sshd: Sshd) -> None:
    wait_ready(by_ssh)
    client = by_ssh.client
    job = client.shell("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 1; done", image=BUSYBOX)
    client.wait_for(job["id"], lambda _: client.lines(job["id"]) != [])
    sshd.kill()
    wait_down(by_ssh, "no sshd answers there")
    sshd.start()
    done = client.wait_end(job["id"], 60)
    assert done["state"] == "COMPLETED", done["status"]
    assert client.lines(job["id"]) == list("12345678")
