"""Nodes of a running platform, with a real engine: drained, deleted, added; what is said of those not reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, Platform, wait_until
from tests.lab.servers import Servers

pytestmark = pytest.mark.skipif(
    not ENGINE.startswith("unix://"), reason="the engine's second name is a link to its socket"
)
NODES = "/nodePools/default/nodes"


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(
        servers, tmp_path_factory.mktemp("nodes"), slots=6, orphan_grace_seconds=1, listing_seconds=1
    )
    started.query("UPDATE accounts SET may_own_nodes = true RETURNING id")
    yield started
    started.stop()


@pytest.fixture
def client(platform: Platform) -> ApiClient:
    return platform.client


@pytest.fixture
def node_of(client: ApiClient) -> Callable[[str], dict[str, Any]]:
    def get(node: str) -> dict[str, Any]:
        answer = client.http.get(f"{NODES}/{node}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return get


@pytest.fixture
def another_name(tmp_path: Path) -> str:
    """The engine's endpoint in another spelling."""
    link = tmp_path / "engine.sock"
    link.symlink_to(ENGINE.removeprefix("unix://"))
    return f"unix://{link}"


def call(client: ApiClient, method: str, path: str, **options: Any) -> dict[str, Any]:
    answer: httpx.Response = client.http.request(method, path, **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_facts_of_a_node_come_from_its_engine(
    platform: Platform, node_of: Callable[[str], dict[str, Any]]
) -> None:
    info = platform.engine.info()
    wait_until(lambda: node_of("local")["engineVersion"] != "", 10, "the engine's facts are known")
    node = node_of("local")
    assert node["state"] == "READY" and node["slots"] == 6
    assert (node["cpus"], node["memoryBytes"]) == (info["NCPU"], str(info["MemTotal"]))
    assert node["engineVersion"] == info["ServerVersion"]
    assert int(node["freeDiskBytes"]) > 0


def test_drain_lets_ranks_end_and_nothing_new_in_and_undrain_lets_in_again(
    client: ApiClient, node_of: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    running = client.shell("until [ -e /go ]; do sleep 0.1; done", image=BUSYBOX, ranks=2)
    client.wait_for(running["id"], lambda job: job["state"] == "RUNNING")
    drained = call(client, "POST", f"{NODES}/local:drain")
    assert (drained["state"], drained["slotsInUse"]) == ("DRAINING", 2)
    assert drained["status"] == "2 ranks still run; nothing new is placed here"
    refused = client.http.delete(f"{NODES}/local")
    assert (refused.status_code, refused.json()["code"]) == (400, 9)
    waiting = client.shell("true", image=BUSYBOX)
    client.wait_for(waiting["id"], lambda job: "no node that takes ranks" in job["status"])
    assert client.get(running["id"])["state"] == "RUNNING"
    client.cancel(running["id"])
    wait_until(lambda: node_of("local")["slotsInUse"] == 0, 20, "the ranks have ended")
    assert client.get(waiting["id"])["state"] == "QUEUED"
    assert call(client, "POST", f"{NODES}/local:undrain")["state"] == "READY"
    # The ring of the undrain; a sweep would come too.
    assert client.wait_end(waiting["id"], 10)["state"] == "COMPLETED"


def test_more_slots_let_a_waiting_gang_in(client: ApiClient) -> None:
    gang = client.shell("true", image=BUSYBOX, ranks=7)
    client.wait_for(gang["id"], lambda job: "pool has 6" in job["status"])
    assert call(client, "PATCH", f"{NODES}/local", json={"slots": 7})["slots"] == 7
    assert client.wait_end(gang["id"])["state"] == "COMPLETED"
    assert call(client, "PATCH", f"{NODES}/local", json={"slots": 6})["slots"] == 6


@pytest.fixture
def unused_nodes(client: ApiClient) -> Iterator[None]:
    """Whatever becomes of the test, the nodes that it made are no other test's."""
    yield
    for node in ("far", "twin"):
        client.http.delete(f"{NODES}/{node}")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("unix:///nowhere/engine.sock", "the engine at unix:///nowhere/engine.sock does not answer"),
        ("tcp://127.0.0.1:9", "the engine at tcp://127.0.0.1:9 is not used: tcp:// needs mutual TLS"),
        ("ssh://nobody@127.0.0.1:9", "ssh://nobody@127.0.0.1:9"),
    ],
)
@pytest.mark.usefixtures("unused_nodes")
def test_node_whose_engine_is_not_reached_stays_down_and_says_why(
    client: ApiClient, node_of: Callable[[str], dict[str, Any]], endpoint: str, said: str
) -> None:
    made = call(client, "POST", NODES, json={"node": {"endpoint": endpoint}, "nodeId": "far"})
    assert made["state"] == "DOWN" and made["status"].startswith("not seen yet")
    wait_until(lambda: not node_of("far")["status"].startswith("not seen yet"), 15, "the supervisor has tried")
    tried = node_of("far")
    assert tried["state"] == "DOWN" and tried["stateTime"] == made["stateTime"]
    assert said in tried["status"] and tried["engineVersion"] == ""
    assert node_of("local")["state"] == "READY"
    assert call(client, "DELETE", f"{NODES}/far") == {}


@pytest.mark.usefixtures("unused_nodes")
def test_engine_by_a_second_name_is_not_used_twice(
    client: ApiClient, platform: Platform, node_of: Callable[[str], dict[str, Any]], another_name: str
) -> None:
    running = client.shell("sleep 30", image=BUSYBOX)
    client.wait_for(running["id"], lambda job: job["state"] == "RUNNING")
    call(client, "POST", NODES, json={"node": {"endpoint": another_name}, "nodeId": "twin"})
    wait_until(lambda: "that of another node" in node_of("twin")["status"], 15, "the engine is recognised")
    assert node_of("twin")["state"] == "DOWN"
    # Past the grace period of strays, the job's container is still there.
    wait_until(lambda: node_of("local")["slotsInUse"] == 1 and len(platform.containers()) == 1, 5, "one rank")
    job = client.shell("sleep 3; echo done", image=BUSYBOX)
    assert client.wait_end(job["id"])["state"] == "COMPLETED"
    assert client.lines(job["id"]) == ["done"]
    assert client.get(running["id"])["state"] == "RUNNING"
    client.cancel(running["id"])
    assert call(client, "DELETE", f"{NODES}/twin") == {}
    client.wait_end(running["id"])


def test_node_is_deleted_and_another_added_while_the_platform_runs(
    client: ApiClient, platform: Platform, node_of: Callable[[str], dict[str, Any]], another_name: str
) -> None:
    platform.wait_at_rest()
    assert call(client, "DELETE", f"{NODES}/local") == {}
    assert client.http.get(f"{NODES}/local").status_code == 404
    assert call(client, "GET", "/nodePools/default:getStats")["nodeCount"] == 0
    held = "SELECT name FROM nodes WHERE lease_owner IS NOT NULL"
    wait_until(lambda: platform.query(held) == [], 10, "the supervisor has let go")
    waiting = client.shell("echo $LONGSHORE_RANKS", image=BUSYBOX, ranks=2)
    client.wait_for(waiting["id"], lambda job: "no node that takes ranks" in job["status"])
    call(client, "POST", NODES, json={"node": {"endpoint": another_name}, "nodeId": "second"})
    wait_until(lambda: node_of("second")["state"] == "READY", 15, "the new node is seen")
    assert node_of("second")["slots"] == max(8, 2 * node_of("second")["cpus"])
    assert client.wait_end(waiting["id"])["state"] == "COMPLETED"
    assert len(client.lines(waiting["id"])) == 2
    platform.wait_at_rest()
    assert call(client, "GET", "/nodePools/default:getStats")["nodeCount"] == 1


def test_shared_memory_and_cpus_of_the_pool_are_those_of_its_ranks(client: ApiClient, platform: Platform) -> None:
    resources = {"cpu": "500m", "memory": "64Mi", "shmSize": "8Mi"}
    call(client, "PATCH", "/nodePools/default", json={"dockerNodePool": {"defaultResources": resources}})
    job = client.shell("sleep 60", image=BUSYBOX)
    client.wait_for(job["id"], lambda found: found["state"] == "RUNNING")
    host = platform.engine.containers.get(platform.containers()[0].id).attrs["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["ShmSize"]) == (500_000_000, 64 << 20, 8 << 20)
    client.cancel(job["id"])
    client.wait_end(job["id"])
    call(client, "PATCH", "/nodePools/default", params={"updateMask": "dockerNodePool"}, json={})
