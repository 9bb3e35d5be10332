"""Node pools over the wire: made, read, changed, deleted; who may; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import ACCOUNT, OTHER_ACCOUNT

Json = dict[str, Any]


def violations(answer: httpx.Response) -> set[str]:
    """The fields that a 400 names."""
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["code"] == 3, body
    return {each["field"] for detail in body["details"] for each in detail["fieldViolations"]}


FULL: Json = {
    "displayName": "Fast",
    "minNodeCount": 1,
    "maxNodeCount": 3,
    "overprovisionNodeCount": 1,
    "annotations": {"team.example/owner": "ml"},
    "dockerNodePool": {
        "ranksPerNode": 4,
        "network": "bridge",
        "defaultImageRef": "tool:1",
        "defaultResources": {"cpu": "500m", "memory": "512Mi", "shmSize": 64 << 20},
        "nodeRole": "arn:aws:iam::1:role/x",
        "labels": {"disk": "fast"},
    },
}


def test_pool_made_with_every_field_is_answered_with_every_field(admin: httpx.Client) -> None:
    made = admin.post("/nodePools", json={"nodePool": FULL, "nodePoolId": "full"})
    assert made.status_code == 200, made.text
    pool = made.json()
    assert pool == admin.get("/nodePools/full").json()
    assert pool["createTime"].endswith("Z") and pool["createTime"] == pool["updateTime"]
    del pool["createTime"], pool["updateTime"]
    docker = {**FULL["dockerNodePool"], "defaultResources": {"cpu": "0.5", "memory": "512Mi", "shmSize": "64Mi"}}
    assert pool == {
        **FULL,
        "name": f"accounts/{ACCOUNT}/nodePools/full",
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "nodePoolStats": {
            "nodeCount": 0,
            "ranksPerNode": 4,
            "environmentCount": 0,
            "environmentRanks": 0,
            "batchJobCount": {},
            "batchJobRanks": {},
        },
        "dockerNodePool": docker,
        "offeredToAll": False,
    }


def test_pool_made_in_the_other_spelling_and_with_nothing_set_has_zero_values(admin: httpx.Client) -> None:
    body = {"node_pool": {"docker_node_pool": {"ranks_per_node": 2}}, "node_pool_id": "plain"}
    pool = admin.post("/nodePools", json=body).json()
    assert pool["displayName"] == "" and pool["annotations"] == {} and pool["minNodeCount"] == 0
    assert pool["dockerNodePool"] == {
        "ranksPerNode": 2,
        "network": "",
        "defaultImageRef": "",
        "defaultResources": {"cpu": "1", "memory": "", "shmSize": ""},
        "nodeRole": "",
        "labels": {},
    }


@pytest.mark.parametrize(
    ("field", "given", "answered"),
    [
        ("cpu", 0.01, "0.01"),
        ("cpu", "1500m", "1.5"),
        ("cpu", 2.0, "2"),
        ("cpu", "", "1"),
        ("memory", "1.5Gi", "1536Mi"),
        ("memory", "6291456", "6Mi"),
        ("memory", "1G", "1000000000"),
        ("memory", 2.0**31, "2Gi"),
        ("memory", "", ""),
        ("shmSize", "4096", "4Ki"),
        ("shmSize", None, ""),
    ],
)
def test_quantity_of_a_pool_is_answered_in_one_form(
    admin: httpx.Client, make_pool: Callable[..., str], field: str, given: object, answered: str
) -> None:
    pool_id = make_pool(dockerNodePool={"defaultResources": {field: given}})
    pool = admin.get(f"/nodePools/{pool_id}").json()
    assert pool["dockerNodePool"]["defaultResources"][field] == answered


def test_pool_of_a_taken_id_is_refused(admin: httpx.Client, make_pool: Callable[..., str]) -> None:
    answer = admin.post("/nodePools", json={"nodePool": {}, "nodePoolId": make_pool()})
    assert (answer.status_code, answer.json()["code"]) == (409, 6)


NO_CPU: list[Any] = [0, -1, True, "0.5m", "1e3", "x", "10" * 20, 10**30, 0.0001, [], {"a": 1}, "\0", "٣"]
NO_BYTES: list[Any] = [0, 1, 10**30, 1e300, "1.5", "2Pi", "2gi", "512 Mi", "1e9", True, [1], "9" * 30]
BAD: dict[str, tuple[Json, set[str]]] = {
    "display name of 64": ({"displayName": "x" * 64}, {"displayName"}),
    "display name with NUL": ({"displayName": "a\0"}, {"displayName"}),
    "display name of a wrong kind": ({"displayName": {"a": [1]}}, {"displayName"}),
    "negative count": ({"minNodeCount": -1}, {"minNodeCount"}),
    "count of 1001": (
        {"maxNodeCount": 1001, "overprovisionNodeCount": 1001},
        {"maxNodeCount", "overprovisionNodeCount"},
    ),
    "count of 10^30": ({"maxNodeCount": 10**30}, {"maxNodeCount"}),
    "count as a truth": ({"maxNodeCount": True}, {"maxNodeCount"}),
    "more at least than at most": ({"minNodeCount": 3, "maxNodeCount": 2}, {"minNodeCount"}),
    "annotation with a bad key": ({"annotations": {"-a": "x"}}, {'annotations["-a"]'}),
    "annotation of the reference": ({"annotations": {"fireworks.ai/a": ""}}, {'annotations["fireworks.ai/a"]'}),
    "ranks of 1001": ({"dockerNodePool": {"ranksPerNode": 1001}}, {"dockerNodePool.ranksPerNode"}),
    "ranks as text": ({"dockerNodePool": {"ranksPerNode": "4"}}, {"dockerNodePool.ranksPerNode"}),
    "docker as a list": ({"dockerNodePool": [1]}, {"dockerNodePool"}),
    "an image that is none": ({"dockerNodePool": {"defaultImageRef": "A b"}}, {"dockerNodePool.defaultImageRef"}),
    "a role with a space": ({"dockerNodePool": {"nodeRole": "a b"}}, {"dockerNodePool.nodeRole"}),
    "a label of ours": (
        {"dockerNodePool": {"labels": {"longshore/a": ""}}},
        {'dockerNodePool.labels["longshore/a"]'},
    ),
    "a label too long": ({"dockerNodePool": {"labels": {"a": "x" * 64}}}, {"dockerNodePool.labels"}),
    "offered as text": ({"offeredToAll": "yes"}, {"offeredToAll"}),
    "unknown field below": ({"dockerNodePool": {"ranksPerHost": 1}}, {"dockerNodePool.ranksPerHost"}),
    **{
        f"cpu {value!r}": (
            {"dockerNodePool": {"defaultResources": {"cpu": value}}},
            {"dockerNodePool.defaultResources.cpu"},
        )
        for value in NO_CPU
    },
    **{
        f"memory {value!r}": (
            {"dockerNodePool": {"defaultResources": {"memory": value}}},
            {"dockerNodePool.defaultResources.memory"},
        )
        for value in NO_BYTES
    },
    "shared memory of nothing": (
        {"dockerNodePool": {"defaultResources": {"shmSize": 1}}},
        {"dockerNodePool.defaultResources.shmSize"},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_field_of_a_pool_is_refused_by_its_name_when_made_and_when_changed(
    admin: httpx.Client, make_pool: Callable[..., str], name: str
) -> None:
    fields, named = BAD[name]
    made = admin.post("/nodePools", json={"nodePool": fields, "nodePoolId": "never"})
    assert violations(made) == {f"nodePool.{field}" for field in named}
    assert admin.get("/nodePools/never").status_code == 404
    pool_id = make_pool()
    before = admin.get(f"/nodePools/{pool_id}").json()
    assert violations(admin.patch(f"/nodePools/{pool_id}", json=fields)) == named
    assert admin.get(f"/nodePools/{pool_id}").json() == before


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"nodePool": {}}, {"nodePoolId"}),
        ({"nodePool": {}, "nodePoolId": ""}, {"nodePoolId"}),
        ({"nodePool": {}, "nodePoolId": "Big"}, {"nodePoolId"}),
        ({"nodePool": {}, "nodePoolId": "a\0"}, {"nodePoolId"}),
        ({"nodePool": {}, "nodePoolId": 10**30}, {"nodePoolId"}),
        ({"nodePool": {}, "nodePoolId": "a" * 64}, {"nodePoolId"}),
        ({"nodePool": "x", "nodePoolId": "a"}, {"nodePool"}),
        ({"nodePool": {"minNodeCount": -1}, "nodePoolId": "-"}, {"nodePoolId", "nodePool.minNodeCount"}),
        ({"displayName": "x", "nodePoolId": "a"}, {"displayName"}),
        ([], {"body"}),
    ],
)
def test_bad_creation_of_a_pool_is_refused_by_name(admin: httpx.Client, body: object, named: set[str]) -> None:
    answer = admin.post("/nodePools", content=json.dumps(body), headers={"Content-Type": "application/json"})
    found = violations(answer)
    assert found == named if named != {"body"} else "body" in found


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"eksNodePool": {}}, "eksNodePool"),
        ({"fakeNodePool": {"replicas": 1}}, "fakeNodePool"),
    ],
)
def test_kind_of_pool_that_is_not_served_answers_501(
    admin: httpx.Client, make_pool: Callable[..., str], fields: Json, named: str
) -> None:
    for answer in (
        admin.post("/nodePools", json={"nodePool": fields, "nodePoolId": "never"}),
        admin.patch(f"/nodePools/{make_pool()}", json=fields),
    ):
        assert (answer.status_code, answer.json()["code"]) == (501, 12)
        assert named in answer.json()["message"]


def test_patch_changes_what_the_body_has_and_keeps_what_is_beside_it(
    admin: httpx.Client, make_pool: Callable[..., str]
) -> None:
    pool_id = make_pool(**FULL)
    before = admin.get(f"/nodePools/{pool_id}").json()
    body = {"displayName": "Slow", "dockerNodePool": {"ranksPerNode": 7, "defaultResources": {"cpu": 2}}}
    after = admin.patch(f"/nodePools/{pool_id}", json=body).json()
    assert after["displayName"] == "Slow" and after["updateTime"] > before["updateTime"]
    expected = {**before["dockerNodePool"], "ranksPerNode": 7}
    expected["defaultResources"] = {**expected["defaultResources"], "cpu": "2"}
    assert after["dockerNodePool"] == expected
    assert after["annotations"] == before["annotations"]


@pytest.mark.parametrize(
    ("mask", "body", "changed"),
    [
        ("display_name", {"displayName": "x", "minNodeCount": 2}, {"displayName": "x"}),
        ("displayName,annotations", {}, {"displayName": "", "annotations": {}}),
        ("dockerNodePool.ranksPerNode", {"dockerNodePool": {"labels": {}}}, {"ranksPerNode": 0}),
        (
            "docker_node_pool.default_resources",
            {"dockerNodePool": {"defaultResources": {"memory": "1Gi"}}},
            {"defaultResources": {"cpu": "1", "memory": "1Gi", "shmSize": ""}},
        ),
        (
            "dockerNodePool",
            {"dockerNodePool": {"ranksPerNode": 3}},
            {
                "ranksPerNode": 3,
                "network": "",
                "defaultImageRef": "",
                "defaultResources": {"cpu": "1", "memory": "", "shmSize": ""},
                "nodeRole": "",
                "labels": {},
            },
        ),
    ],
)
def test_patch_with_a_mask_changes_what_it_names_and_nothing_else(
    admin: httpx.Client, make_pool: Callable[..., str], mask: str, body: Json, changed: Json
) -> None:
    pool_id = make_pool(**FULL)
    before = admin.get(f"/nodePools/{pool_id}").json()
    answer = admin.patch(f"/nodePools/{pool_id}", params={"updateMask": mask}, json=body)
    assert answer.status_code == 200, answer.text
    after = answer.json()
    for pool in (before, after):
        pool.update(pool.pop("dockerNodePool"))
        del pool["updateTime"], pool["nodePoolStats"]
    assert after == {**before, **changed}


def test_patch_with_the_whole_answer_changes_nothing_and_is_no_fault(
    admin: httpx.Client, make_pool: Callable[..., str]
) -> None:
    pool_id = make_pool(**FULL)
    before = admin.get(f"/nodePools/{pool_id}").json()
    answer = admin.patch(f"/nodePools/{pool_id}", json=before)
    assert answer.status_code == 200, answer.text
    assert {**answer.json(), "updateTime": ""} == {**before, "updateTime": ""}


@pytest.mark.parametrize(
    ("mask", "body", "named"),
    [
        ("state", {}, {"state"}),
        ("ranksPerNode", {}, {"updateMask"}),
        ("\0", {}, {"updateMask"}),
        ("", {"minNodeCount": 9}, {"minNodeCount"}),
        ("", {"maxNodeCount": 1, "minNodeCount": 5}, {"minNodeCount"}),
    ],
)
def test_patch_that_cannot_be_is_refused_by_name(
    admin: httpx.Client, make_pool: Callable[..., str], mask: str, body: Json, named: set[str]
) -> None:
    pool_id = make_pool(**FULL)
    assert violations(admin.patch(f"/nodePools/{pool_id}", params={"updateMask": mask}, json=body)) == named


def test_list_pages_filters_orders_and_masks(admin: httpx.Client, make_pool: Callable[..., str]) -> None:
    made = [make_pool(displayName="listed", maxNodeCount=number) for number in (3, 1, 2)]
    asked: Json = {"filter": 'displayName = "listed"', "orderBy": "max_node_count desc", "pageSize": 2}
    first = admin.get("/nodePools", params=asked).json()
    assert first["totalSize"] == 3 and first["nextPageToken"]
    second = admin.get("/nodePools", params={**asked, "pageToken": first["nextPageToken"]}).json()
    assert second["nextPageToken"] == ""
    names = [pool["name"] for page in (first, second) for pool in page["nodePools"]]
    assert names == [f"accounts/{ACCOUNT}/nodePools/{made[index]}" for index in (0, 2, 1)]
    masked = admin.get("/nodePools", params={**asked, "readMask": "name,docker_node_pool.labels"}).json()
    assert masked["nodePools"][0] == {"name": names[0], "dockerNodePool": {"labels": {}}}
    by_name = [pool["name"] for pool in admin.get("/nodePools").json()["nodePools"]]
    assert by_name == sorted(by_name)
    assert violations(admin.get("/nodePools", params={"filter": "nothing = 1"})) == {"filter"}


@pytest.mark.parametrize(
    "field",
    [
        "state = READY",
        "offeredToAll = false",
        "annotations.a = b OR -annotations:a",
        "dockerNodePool.ranksPerNode >= 0",
        'createTime > "2020-01-01T00:00:00Z"',
    ],
)
def test_filter_on_each_kind_of_field_is_served(admin: httpx.Client, field: str) -> None:
    answer = admin.get("/nodePools", params={"filter": field})
    assert answer.status_code == 200 and answer.json()["totalSize"] >= 2, answer.text


@pytest.mark.parametrize("pool_id", ["unknown", "Bad", "a%00b", "x" * 300, "%ED%A0%80"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_pool_that_is_not_there_answers_404(admin: httpx.Client, method: str, pool_id: str) -> None:
    answer = admin.request(method, f"/nodePools/{pool_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, 5)


def test_deleted_pool_is_gone_takes_no_job_and_frees_its_id(
    admin: httpx.Client, make_pool: Callable[..., str]
) -> None:
    pool_id = make_pool()
    assert admin.delete(f"/nodePools/{pool_id}").json() == {}
    assert admin.get(f"/nodePools/{pool_id}").status_code == 404
    assert admin.delete(f"/nodePools/{pool_id}").status_code == 404
    job = {"nodePoolId": pool_id, "imageRef": "tool:1"}
    assert violations(admin.post("/batchJobs", json=job)) == {"nodePoolId"}
    again = admin.post("/nodePools", json={"nodePool": {}, "nodePoolId": pool_id})
    assert again.status_code == 200, again.text


def test_pool_with_a_live_job_is_not_deleted_until_the_job_has_ended(
    admin: httpx.Client, make_pool: Callable[..., str], create: Callable[..., str]
) -> None:
    pool_id = make_pool()
    job_id = create(nodePoolId=pool_id, numRanks=3)
    stats = admin.get(f"/nodePools/{pool_id}:getStats").json()
    assert (stats["batchJobCount"], stats["batchJobRanks"]) == ({"QUEUED": 1}, {"QUEUED": 3})
    refused = admin.delete(f"/nodePools/{pool_id}")
    assert (refused.status_code, refused.json()["code"]) == (400, 9)
    assert "1 live jobs" in refused.json()["message"]
    assert admin.post(f"/batchJobs/{job_id}:cancel", json={}).json() == {}
    assert admin.get(f"/nodePools/{pool_id}").json()["nodePoolStats"]["batchJobCount"] == {}
    assert admin.delete(f"/nodePools/{pool_id}").json() == {}
    assert admin.get(f"/batchJobs/{job_id}").json()["nodePoolId"] == pool_id


def test_batch_delete_is_all_or_nothing(
    admin: httpx.Client, make_pool: Callable[..., str], create: Callable[..., str]
) -> None:
    idle, busy = make_pool(), make_pool()
    job_id = create(nodePoolId=busy)
    names = [f"accounts/{ACCOUNT}/nodePools/{pool_id}" for pool_id in (idle, busy)]
    refused = admin.post("/nodePools:batchDelete", json={"names": names})
    assert (refused.status_code, refused.json()["code"]) == (400, 9)
    unknown = admin.post("/nodePools:batchDelete", json={"names": [names[0], f"accounts/{ACCOUNT}/nodePools/no"]})
    assert unknown.status_code == 404
    assert admin.get(f"/nodePools/{idle}").status_code == 200
    admin.post(f"/batchJobs/{job_id}:cancel", json={})
    assert admin.post("/nodePools:batchDelete", json={"names": names}).json() == {}
    assert [admin.get(f"/nodePools/{pool_id}").status_code for pool_id in (idle, busy)] == [404, 404]


@pytest.mark.parametrize("names", [[], ["x"], [f"accounts/{OTHER_ACCOUNT}/nodePools/default"], "x", [1], ["a\0"]])
def test_batch_delete_of_what_is_not_a_name_here_is_refused(admin: httpx.Client, names: object) -> None:
    assert all(
        field.startswith("names")
        for field in violations(admin.post("/nodePools:batchDelete", json={"names": names}))
    )


@pytest.mark.parametrize("network", ["bridge", "overlay", "host", ""])
def test_network_of_each_kind_is_taken(admin: httpx.Client, make_pool: Callable[..., str], network: str) -> None:
    pool_id = make_pool(dockerNodePool={"network": network})
    assert admin.get(f"/nodePools/{pool_id}").json()["dockerNodePool"]["network"] == network


@pytest.mark.parametrize("network", ["Overlay", "none", "macvlan", "a\0", "x" * 5000])
def test_network_of_no_kind_is_refused_by_name(
    admin: httpx.Client, make_pool: Callable[..., str], network: str
) -> None:
    fields = {"dockerNodePool": {"network": network}}
    made = admin.post("/nodePools", json={"nodePool": fields, "nodePoolId": "never"})
    assert violations(made) == {"nodePool.dockerNodePool.network"}
    changed = admin.patch(f"/nodePools/{make_pool()}", json=fields)
    assert violations(changed) == {"dockerNodePool.network"}
