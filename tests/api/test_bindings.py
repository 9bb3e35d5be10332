"""Bindings of pools and of roles: made, listed, deleted; what they do to creations; who may; what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import ACCOUNT, IMAGE
from tests.api.test_node_pools import violations

_numbers = itertools.count()
POOLS, ROLES = "/nodePoolBindings", "/awsIamRoleBindings"
USER = "user@acme.example"


@pytest.fixture
def pool(admin: httpx.Client) -> str:
    pool_id = f"pool-{next(_numbers)}"
    assert admin.post("/nodePools", json={"nodePool": {}, "nodePoolId": pool_id}).status_code == 200
    return pool_id


def test_pool_binding_is_made_listed_and_deleted(admin: httpx.Client, pool: str) -> None:
    pair = {"principal": "Some.One@Acme.example", "nodePoolId": pool}
    made = admin.post(POOLS, json=pair)
    assert made.status_code == 200, made.text
    binding = made.json()
    assert binding.pop("createTime").endswith("Z")
    small = {**pair, "principal": "some.one@acme.example"}
    assert binding == {**small, "accountId": ACCOUNT, "clusterId": ""}
    listed = admin.get(POOLS, params={"filter": f'nodePoolId = "{pool}"'}).json()
    assert [found["principal"] for found in listed["nodePoolBindings"]] == ["some.one@acme.example"]
    assert listed["totalSize"] == 1 and listed["nextPageToken"] == ""
    again = admin.post(POOLS, json=small)
    assert (again.status_code, again.json()["code"]) == (409, 6)
    # The whole answer is a fine request too: what is output only is ignored.
    assert admin.post(f"{POOLS}:delete", json={**made.json(), **pair}).json() == {}
    gone = admin.post(f"{POOLS}:delete", json=pair)
    assert (gone.status_code, gone.json()["code"]) == (404, 5)


def test_role_binding_is_made_listed_and_deleted(admin: httpx.Client) -> None:
    pair = {"principal": f"accounts/{ACCOUNT}", "role": "arn:aws:iam::1:role/Train"}
    made = admin.post(ROLES, json=pair)
    assert made.status_code == 200, made.text
    assert {**made.json(), "createTime": ""} == {**pair, "accountId": ACCOUNT, "createTime": ""}
    assert admin.post(ROLES, json=pair).status_code == 409
    assert admin.post(ROLES, json={**pair, "role": "other"}).status_code == 200
    listed = admin.get(ROLES, params={"orderBy": "role desc"}).json()
    assert [found["role"] for found in listed["awsIamRoleBindings"]] == ["other", pair["role"]]
    assert admin.post(f"{ROLES}:delete", json=pair).json() == {}
    assert admin.post(f"{ROLES}:delete", json=pair).status_code == 404
    assert admin.post(f"{ROLES}:delete", json={**pair, "role": "other"}).json() == {}


@pytest.mark.parametrize("path", [POOLS, ROLES])
def test_list_of_bindings_pages_without_gap_or_repeat(admin: httpx.Client, pool: str, path: str) -> None:
    people = [f"p{number}-{pool}@acme.example" for number in range(5)]
    for person in people:
        pair = {"principal": person, **({"nodePoolId": pool} if path == POOLS else {"role": "listed"})}
        assert admin.post(path, json=pair).status_code == 200
    found, token = [], ""
    asked: dict[str, Any] = {"pageSize": 2, "filter": f"{pool}@acme.example"}
    while True:
        page = admin.get(path, params={**asked, "pageToken": token}).json()
        assert page["totalSize"] == 5
        found += [each["principal"] for each in page[path.removeprefix("/")]]
        token = page["nextPageToken"]
        if not token:
            break
    assert found == people


@pytest.mark.parametrize(
    "principal",
    ["", "nobody", "a@", "a b@c.d", "accounts/", "accounts/A", "accounts/a/b", "a\0@b.c", 1, ["a@b.c"], 10**30],
)
@pytest.mark.parametrize("suffix", ["", ":delete"])
@pytest.mark.parametrize("path", [POOLS, ROLES])
def test_principal_that_is_none_is_refused_by_name(
    admin: httpx.Client, path: str, suffix: str, principal: object
) -> None:
    rest = {"nodePoolId": "default"} if path == POOLS else {"role": "r"}
    assert violations(admin.post(path + suffix, json={"principal": principal, **rest})) == {"principal"}


@pytest.mark.parametrize("role", ["", "a b", "x" * 2049, "a\0", 1, None, {"a": [1]}])
def test_role_that_is_none_is_refused_by_name(admin: httpx.Client, role: object) -> None:
    for suffix in ("", ":delete"):
        assert violations(admin.post(ROLES + suffix, json={"principal": "a@b.c", "role": role})) == {"role"}


@pytest.mark.parametrize("pool_id", ["unknown", "Bad Id", "a\0", 1])
def test_pool_that_is_not_there_is_refused_by_name(admin: httpx.Client, pool_id: object) -> None:
    assert violations(admin.post(POOLS, json={"principal": "a@b.c", "nodePoolId": pool_id})) == {"nodePoolId"}


def test_pool_may_be_left_out_where_there_is_one_to_choose(
    admin: httpx.Client, stranger: httpx.Client, served: Any, pool: str
) -> None:
    body = {"principal": "lonely@acme.example"}
    assert violations(admin.post(POOLS, json=body)) == {"nodePoolId"}
    assert admin.post(f"{POOLS}:delete", json=body).status_code == 404
    for node_pool in (pool, "default"):
        assert admin.post(POOLS, json={**body, "nodePoolId": node_pool}).status_code == 200
    assert violations(admin.post(f"{POOLS}:delete", json=body)) == {"nodePoolId"}
    assert admin.post(f"{POOLS}:delete", json={**body, "nodePoolId": "default"}).json() == {}
    # The reference's own request names the principal only.
    assert admin.post(f"{POOLS}:delete", json=body).json() == {}
    # The other account has one pool.
    path = f"{served.url}/v1/accounts/globex{POOLS}"
    assert stranger.post(path, json=body).json()["nodePoolId"] == "default"
    assert stranger.post(f"{path}:delete", json=body).json() == {}


def test_bound_pool_is_for_its_principals_and_admins(
    admin: httpx.Client, user: httpx.Client, create: Callable[..., str], pool: str
) -> None:
    job = {"nodePoolId": pool, "imageRef": IMAGE}
    before = create(user, nodePoolId=pool)
    bind = {"principal": "other@acme.example", "nodePoolId": pool}
    assert admin.post(POOLS, json=bind).status_code == 200
    for path, query in (
        ("/batchJobs", {}),
        ("/batchJobs", {"validateOnly": "true"}),
        (f"/batchJobs/{before}:clone", {}),
    ):
        answer = user.post(path, params=query, json=job if path == "/batchJobs" else {})
        assert (answer.status_code, answer.json()["code"]) == (403, 7), path
        assert pool in answer.json()["message"]
    # To read the pool is not to use it; admins may use it; what runs goes on.
    assert user.get(f"/nodePools/{pool}").status_code == 200
    create(admin, nodePoolId=pool)
    assert user.get(f"/batchJobs/{before}").json()["state"] == "QUEUED"
    for principal in (USER.upper(), f"accounts/{ACCOUNT}"):
        assert admin.post(POOLS, json={**bind, "principal": principal}).status_code == 200
        create(user, nodePoolId=pool)
        assert admin.post(f"{POOLS}:delete", json={**bind, "principal": principal}).json() == {}
        assert user.post("/batchJobs", json=job).status_code == 403
    # Without its last binding the pool is open again.
    assert admin.post(f"{POOLS}:delete", json=bind).json() == {}
    create(user, nodePoolId=pool)


def test_bindings_go_with_their_pool(admin: httpx.Client, user: httpx.Client, pool: str) -> None:
    assert admin.post(POOLS, json={"principal": "other@acme.example", "nodePoolId": pool}).status_code == 200
    assert admin.delete(f"/nodePools/{pool}").json() == {}
    assert admin.get(POOLS, params={"filter": f'nodePoolId = "{pool}"'}).json()["totalSize"] == 0
    assert admin.post("/nodePools", json={"nodePool": {}, "nodePoolId": pool}).status_code == 200
    job = {"nodePoolId": pool, "imageRef": IMAGE}
    assert user.post("/batchJobs", json=job).status_code == 200


CALLS = [
    ("GET", POOLS, None),
    ("POST", POOLS, {"principal": "a@b.c", "nodePoolId": "default"}),
    ("POST", f"{POOLS}:delete", {"principal": "a@b.c", "nodePoolId": "default"}),
    ("GET", ROLES, None),
    ("POST", ROLES, {"principal": "a@b.c", "role": "r"}),
    ("POST", f"{ROLES}:delete", {"principal": "a@b.c", "role": "r"}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_bindings_are_for_account_admins(
    admin: httpx.Client, user: httpx.Client, stranger: httpx.Client, method: str, path: str, body: object
) -> None:
    before = [admin.get(each).json() for each in (POOLS, ROLES)]
    refused = user.request(method, path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, 7)
    theirs = stranger.request(method, path, json=body)
    assert theirs.status_code == 404
    assert theirs.json() == json.loads(stranger.get("/batchJobs").text)
    assert [admin.get(each).json() for each in (POOLS, ROLES)] == before
