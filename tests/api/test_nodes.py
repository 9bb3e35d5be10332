"""Nodes over the wire, without a supervisor: made, read, changed, drained, deleted; who may; what is refused."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis

from core.database import Database
from core.nodes import ensure_node
from core.pools.reading import get_pool
from core.queue import CONTROL_QUEUE
from core.settings import Settings
from tests.api.conftest import ACCOUNT, ENDPOINT, IMAGE
from tests.api.test_node_pools import violations
from tests.lab.broker_lists import lists_of
from tests.lab.platform import wait_until

#: Beyond those that the fixtures give.
_numbers = itertools.count(10_000)
pytestmark = pytest.mark.usefixtures("may_own_nodes")


def test_new_node_is_down_until_it_is_seen(admin: httpx.Client, pool: str, settings: Settings) -> None:
    endpoint = ENDPOINT.format(next(_numbers))
    body = {"node": {"endpoint": endpoint, "slots": 3}, "node_id": "first"}
    made = admin.post(f"/nodePools/{pool}/nodes", json=body)
    assert made.status_code == 200, made.text
    node = made.json()
    assert node == admin.get(f"/nodePools/{pool}/nodes/first").json()
    for field in ("stateTime", "createTime", "updateTime"):
        assert node.pop(field).endswith("Z")
    assert node == {
        "name": f"accounts/{ACCOUNT}/nodePools/{pool}/nodes/first",
        "endpoint": endpoint,
        "workerGroup": settings.worker_group,
        "address": "",
        "labels": {},
        "slots": 3,
        "slotsInUse": 0,
        "gpus": 0,
        "cpus": 0,
        "memoryBytes": "0",
        "freeDiskBytes": None,
        "freeInodes": None,
        "engineVersion": "",
        "swarmRole": "",
        "accepting": False,
        "state": "DOWN",
        "status": "not seen yet: no supervisor of worker group local has reached it",
    }
    assert admin.get(f"/nodePools/{pool}:getStats").json()["nodeCount"] == 0


def test_node_of_a_taken_id_or_engine_is_refused(
    admin: httpx.Client, pool: str, make_node: Callable[..., str]
) -> None:
    path = make_node(workerGroup="far")
    node = admin.get(path).json()
    taken = {"endpoint": node["endpoint"], "workerGroup": "far"}
    free = {"endpoint": ENDPOINT.format("free")}
    for node_id, fields, word in ((path.rpartition("/")[2], free, "nodes/"), ("other", taken, "endpoint")):
        answer = admin.post(f"/nodePools/{pool}/nodes", json={"node": fields, "nodeId": node_id})
        assert (answer.status_code, answer.json()["code"]) == (409, 6)
        assert word in answer.json()["message"]
    elsewhere = {"endpoint": node["endpoint"], "workerGroup": "near"}
    assert admin.post(f"/nodePools/{pool}/nodes", json={"node": elsewhere, "nodeId": "o"}).status_code == 200


@pytest.mark.parametrize(
    "endpoint",
    [
        "unix:///var/run/docker.sock",
        "tcp://10.0.0.1:2376",
        "tcp://[fd00::1]:2376",
        "ssh://root@build-1.example:22",
        "ssh://host",
    ],
)
def test_endpoint_of_each_kind_is_taken(make_node: Callable[..., str], admin: httpx.Client, endpoint: str) -> None:
    assert admin.get(make_node(endpoint=endpoint, workerGroup="kinds")).json()["endpoint"] == endpoint


BAD_NODES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no endpoint": ({"endpoint": ""}, {"endpoint"}),
    "group in capitals": ({"workerGroup": "Far"}, {"workerGroup"}),
    "group with NUL": ({"workerGroup": "a\0"}, {"workerGroup"}),
    "slots of 1001": ({"slots": 1001}, {"slots"}),
    "slots below 0": ({"slots": -1}, {"slots"}),
    "slots of 10^30": ({"slots": 10**30}, {"slots"}),
    "slots as text": ({"slots": "1"}, {"slots"}),
    "label of ours": ({"labels": {"longshore/a": "", "b": ""}}, {'labels["longshore/a"]'}),
    "label with a bad key": ({"labels": {"-a": "x"}}, {'labels["-a"]'}),
    "label too long": ({"labels": {"a": "x" * 64}}, {"labels"}),
    "label with NUL": ({"labels": {"a": "x\0"}}, {'labels["a"]'}),
    "label that is null": ({"labels": {"a": None}}, {'labels["a"]'}),
    "labels as a list": ({"labels": ["a=b"]}, {"labels"}),
    "labels, 33 of them": ({"labels": {f"a{number}": "" for number in range(33)}}, {"labels"}),
    "address with a port": ({"address": "10.0.0.1:22"}, {"address"}),
    "address with a space": ({"address": "a b"}, {"address"}),
    "address with NUL": ({"address": "a\0"}, {"address"}),
    "address of 300 characters": ({"address": "a" * 300}, {"address"}),
    "address as a number": ({"address": 1}, {"address"}),
    "everything at once": (
        {"endpoint": "x", "workerGroup": "-", "slots": -1},
        {"endpoint", "workerGroup", "slots"},
    ),
    **{
        f"endpoint {value!r}"[:60]: ({"endpoint": value}, {"endpoint"})
        for value in (
            "unix://relative.sock",
            "unix:///",
            "unix:///a b",
            "unix:///a/../b",
            "unix:///" + "x" * 120,
            "unix:///a\0",
            "tcp://10.0.0.1",
            "tcp://10.0.0.1:2375",
            "tcp://10.0.0.1:99999",
            "tcp://user@host:1",
            "tcp://host:1/path",
            "http://host:80",
            "ssh://-oProxyCommand=reboot",
            "ssh://a b",
            "file:///etc/passwd",
            "/var/run/docker.sock",
            "tcp://" + "x" * 3000 + ":1",
            ["unix:///a"],
            {"a": {"b": 1}},
            10**30,
        )
    },
}


@pytest.mark.parametrize("name", BAD_NODES)
def test_bad_field_of_a_node_is_refused_by_its_name(admin: httpx.Client, pool: str, name: str) -> None:
    fields, named = BAD_NODES[name]
    node = {"endpoint": ENDPOINT.format("never"), **fields}
    answer = admin.post(f"/nodePools/{pool}/nodes", json={"node": node, "nodeId": "never"})
    assert violations(answer) == {f"node.{field}" for field in named}
    assert admin.get(f"/nodePools/{pool}/nodes").json()["totalSize"] == 0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"nodeId": "a"}, {"node.endpoint"}),
        ({"node": {"endpoint": "unix:///a"}}, {"nodeId"}),
        ({"node": {"endpoint": "unix:///a"}, "nodeId": "A"}, {"nodeId"}),
        ({"node": 1, "nodeId": "a"}, {"node"}),
        ({"endpoint": "unix:///a", "nodeId": "a"}, {"endpoint", "node.endpoint"}),
    ],
)
def test_bad_creation_of_a_node_is_refused_by_name(
    admin: httpx.Client, pool: str, body: object, named: set[str]
) -> None:
    assert violations(admin.post(f"/nodePools/{pool}/nodes", json=body)) == named


def test_slots_are_what_is_asked_for_or_else_the_pools_rule(
    admin: httpx.Client, pool: str, make_node: Callable[..., str]
) -> None:
    path = make_node(slots=5)
    assert admin.patch(path, json={"slots": 6}).json()["slots"] == 6
    # Nobody has seen its engine, so the rule has nothing to say yet.
    assert admin.patch(path, json={"slots": 0}).json()["slots"] == 0
    admin.patch(f"/nodePools/{pool}", json={"dockerNodePool": {"ranksPerNode": 4}})
    assert admin.get(path).json()["slots"] == 4
    assert admin.patch(path, json={"slots": 7}).json()["slots"] == 7
    reset = admin.patch(path, params={"updateMask": "slots"}, json={})
    assert reset.json()["slots"] == 4
    assert admin.patch(path, json={}).json()["slots"] == 4


def test_labels_of_a_node_are_answered_replaced_reset_and_filtered_by(
    admin: httpx.Client, pool: str, make_node: Callable[..., str]
) -> None:
    path, plain = make_node(labels={"disk": "ssd", "rack.example/row": "7"}), make_node()
    assert admin.get(path).json()["labels"] == {"disk": "ssd", "rack.example/row": "7"}
    assert admin.get(plain).json()["labels"] == {}
    listed = admin.get(f"/nodePools/{pool}/nodes", params={"filter": 'labels.disk = "ssd"', "readMask": "labels"})
    assert listed.json()["nodes"] == [{"labels": {"disk": "ssd", "rack.example/row": "7"}}]
    assert admin.patch(path, json={"slots": 2}).json()["labels"] != {}
    patched = admin.patch(path, json={"labels": {"disk": "hdd"}}).json()
    assert (patched["labels"], patched["slots"]) == ({"disk": "hdd"}, 2)
    assert admin.patch(path, params={"updateMask": "labels"}, json={}).json()["labels"] == {}


def test_labels_of_a_node_are_refused_in_a_patch_with_every_other_fault(
    admin: httpx.Client, make_node: Callable[..., str]
) -> None:
    path = make_node(labels={"disk": "ssd"})
    answer = admin.patch(path, json={"labels": {"longshore/a": "x" * 64}, "slots": -1, "address": "a b"})
    assert violations(answer) == {'labels["longshore/a"]', "labels", "slots", "address"}
    assert admin.get(path).json()["labels"] == {"disk": "ssd"}


def test_labels_that_a_node_gets_are_room_for_jobs_that_want_them_and_ring(
    admin: httpx.Client, database: Database, broker_url: str, pool: str
) -> None:
    ensure_node(
        database,
        account=ACCOUNT,
        pool=pool,
        name="labelled",
        endpoint=ENDPOINT.format(pool),
        cpu_count=2,
        memory_bytes=1 << 30,
    )
    wanted = {"nodePoolId": pool, "imageRef": IMAGE, "nodeLabels": {"disk": "ssd", "site": "a"}}
    params = {"validateOnly": "true"}

    def said() -> str:
        return str(admin.post("/batchJobs", params=params, json=wanted).json()["status"])

    assert "needs nodes with disk=ssd and site=a, and no node of the pool is one" in said()
    path, _, number = broker_url.removeprefix("redis+socket://").partition("?virtual_host=")
    broker = redis.Redis(unix_socket_path=path, db=int(number))
    admin.patch(f"/nodePools/{pool}", json={"dockerNodePool": {"labels": {"disk": "hdd", "site": "a"}}})
    assert "no node of the pool is one" in said()
    pool_row = get_pool(database, ACCOUNT, pool).row

    def rings() -> int:
        lists = lists_of(CONTROL_QUEUE)
        messages = (json.loads(message) for each in lists for message in broker.lrange(each, 0, -1))
        return sum(json.loads(base64.b64decode(each["body"]))[0] == [pool_row] for each in messages)

    wait_until(lambda: rings() == 1, 10, "the change of the pool has rung")
    admin.patch(f"/nodePools/{pool}/nodes/labelled", json={"labels": {"disk": "ssd"}})
    wait_until(lambda: rings() == 2, 10, "the change of the node has rung")
    assert "would start now on node labelled" in said(), "the pool's labels, and the node's own over them"


@pytest.mark.parametrize("body", [{"endpoint": "unix:///b"}, {"workerGroup": "b"}, {"slots": -1}, {"slot": 1}])
def test_patch_of_what_cannot_change_is_refused_by_name(
    admin: httpx.Client, make_node: Callable[..., str], body: dict[str, Any]
) -> None:
    path = make_node()
    before = admin.get(path).json()
    assert violations(admin.patch(path, json=body)) == set(body)
    assert admin.get(path).json() == before


def test_list_of_nodes_pages_filters_and_orders(
    admin: httpx.Client, pool: str, make_node: Callable[..., str]
) -> None:
    names = [admin.get(make_node(slots=slots)).json()["name"] for slots in (2, 3, 1)]
    asked: dict[str, Any] = {"orderBy": "slots desc", "pageSize": 2}
    first = admin.get(f"/nodePools/{pool}/nodes", params=asked).json()
    token = {"pageToken": first["nextPageToken"]}
    second = admin.get(f"/nodePools/{pool}/nodes", params={**asked, **token}).json()
    assert [node["name"] for node in first["nodes"] + second["nodes"]] == [names[1], names[0], names[2]]
    found = admin.get(f"/nodePools/{pool}/nodes", params={"filter": "state = DOWN AND slots < 2"}).json()
    assert [node["name"] for node in found["nodes"]] == [names[2]] and found["totalSize"] == 1
    for field in ("slotsInUse = 0", "freeDiskBytes > 1 OR memoryBytes = 0", 'workerGroup = "local"', "-gpus:*"):
        answer = admin.get(f"/nodePools/{pool}/nodes", params={"filter": field})
        assert answer.status_code == 200 and answer.json()["totalSize"] == 3, answer.text


def test_drain_and_undrain_may_be_repeated(admin: httpx.Client, database: Database, pool: str) -> None:
    ensure_node(
        database,
        account=ACCOUNT,
        pool=pool,
        name="ready",
        endpoint=ENDPOINT.format(pool),
        cpu_count=2,
        memory_bytes=1 << 30,
    )
    path = f"/nodePools/{pool}/nodes/ready"
    ready = admin.get(path).json()
    assert (ready["state"], ready["slots"], ready["status"]) == ("READY", 8, "0 of 8 slots are in use")
    drained = admin.post(f"{path}:drain").json()
    assert drained["state"] == "DRAINING" and drained["stateTime"] > ready["stateTime"]
    assert drained["status"] == "nothing runs here any more; nothing new is placed here"
    assert admin.post(f"{path}:drain", json={}).json() == drained
    assert admin.post(f"{path}:undrain", json={}).json()["state"] == "READY"
    assert admin.post(f"{path}:undrain").json()["state"] == "READY"
    assert violations(admin.post(f"{path}:drain", json={"force": True})) == {"force"}


def test_deleted_node_is_gone_and_its_engine_may_be_named_again(
    admin: httpx.Client, pool: str, make_node: Callable[..., str]
) -> None:
    path = make_node()
    node = admin.get(path).json()
    assert admin.delete(path).json() == {}
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", ":drain"), ("PATCH", "")):
        answer = admin.request(method, path + suffix, json=None if method in ("GET", "DELETE") else {})
        assert (answer.status_code, answer.json()["code"]) == (404, 5), method
    body = {"node": {"endpoint": node["endpoint"]}, "nodeId": path.rpartition("/")[2]}
    assert admin.post(f"/nodePools/{pool}/nodes", json=body).status_code == 200


def test_deleted_pool_takes_its_nodes_with_it(
    admin: httpx.Client, pool: str, make_node: Callable[..., str]
) -> None:
    path = make_node()
    endpoint = admin.get(path).json()["endpoint"]
    assert admin.delete(f"/nodePools/{pool}").json() == {}
    assert admin.get(path).status_code == 404
    admin.post("/nodePools", json={"nodePool": {}, "nodePoolId": pool})
    assert admin.get(f"/nodePools/{pool}/nodes").json()["nodes"] == []
    body = {"node": {"endpoint": endpoint}, "nodeId": "again"}
    assert admin.post(f"/nodePools/{pool}/nodes", json=body).status_code == 200
