"""Who may read, use and change a pool: admins, users, other accounts, and those to whom it is offered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from core.accounts import OPERATOR
from tests.api.conftest import ACCOUNT, OTHER_ACCOUNT, Served, client_of

CALLS = [
    ("POST", "/nodePools", {"nodePool": {}, "nodePoolId": "never"}),
    ("PATCH", "/nodePools/{id}", {"displayName": "x"}),
    ("DELETE", "/nodePools/{id}", None),
    ("POST", "/nodePools:batchDelete", {"names": [f"accounts/{ACCOUNT}/nodePools/{{id}}"]}),
]
READS = [("GET", "/nodePools/{id}", None), ("GET", "/nodePools/{id}:getStats", None), ("GET", "/nodePools", None)]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_changes_are_for_account_admins(
    admin: httpx.Client, user: httpx.Client, make_pool: Callable[..., str], method: str, path: str, body: object
) -> None:
    pool_id = make_pool()
    before = admin.get("/nodePools").json()
    body = json.loads(json.dumps(body).replace("{id}", pool_id))
    answer = user.request(method, path.format(id=pool_id), json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert admin.get("/nodePools").json() == before


@pytest.mark.parametrize(("method", "path", "body"), READS)
def test_reads_are_for_every_user(
    user: httpx.Client, make_pool: Callable[..., str], method: str, path: str, body: object
) -> None:
    assert user.request(method, path.format(id=make_pool())).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), [*CALLS, *READS])
def test_pool_of_another_account_answers_as_one_that_does_not_exist(
    served: Served,
    admin: httpx.Client,
    stranger: httpx.Client,
    make_pool: Callable[..., str],
    method: str,
    path: str,
    body: object,
) -> None:
    pool_id = make_pool()
    theirs = stranger.request(method, path.format(id=pool_id), json=body)
    nobodys = stranger.request(method, path.format(id="unknown"), json=body)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == json.loads(nobodys.text.replace("unknown", pool_id))
    if "{id}" in path:
        own = f"{served.url}/v1/accounts/{OTHER_ACCOUNT}{path.format(id=pool_id)}"
        assert stranger.request(method, own, json=body).status_code == 404
    assert admin.get(f"/nodePools/{pool_id}").status_code == 200


@pytest.fixture
def owner(served: Served) -> Iterator[httpx.Client]:
    """An admin of the operator's account, below its own path."""
    with client_of(f"{served.url}/v1/accounts/{OPERATOR}", served.operator_key) as client:
        yield client


def test_offer_by_another_account_than_the_operators_is_refused(
    admin: httpx.Client, make_pool: Callable[..., str]
) -> None:
    made = admin.post("/nodePools", json={"nodePool": {"offeredToAll": True}, "nodePoolId": "never"})
    changed = admin.patch(f"/nodePools/{make_pool()}", json={"offeredToAll": True})
    for answer in (made, changed):
        assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert admin.get("/nodePools/never").status_code == 404


def test_offered_pool_is_seen_and_used_by_all_and_changed_by_its_owner_only(
    owner: httpx.Client, admin: httpx.Client, make_pool: Callable[..., str], create: Callable[..., str]
) -> None:
    pool_id = make_pool(owner, offeredToAll=True)
    name = f"accounts/{OPERATOR}/nodePools/{pool_id}"
    seen = admin.get(f"/nodePools/{pool_id}").json()
    assert seen["name"] == name and seen["offeredToAll"] is True
    assert name in [pool["name"] for pool in admin.get("/nodePools?pageSize=200").json()["nodePools"]]
    create(owner, nodePoolId=pool_id, numRanks=2)
    create(nodePoolId=pool_id)
    # Each sees the jobs of his own account; the owner all of them.
    own = admin.get(f"/nodePools/{pool_id}:getStats").json()
    assert (own["batchJobCount"], own["batchJobRanks"]) == ({"QUEUED": 1}, {"QUEUED": 1})
    assert admin.get(f"/nodePools/{pool_id}").json()["nodePoolStats"] == own
    all_jobs = owner.get(f"/nodePools/{pool_id}:getStats").json()
    assert (all_jobs["batchJobCount"], all_jobs["batchJobRanks"]) == ({"QUEUED": 2}, {"QUEUED": 3})
    for method, path, body in (
        ("PATCH", f"/nodePools/{pool_id}", {"displayName": "x"}),
        ("DELETE", f"/nodePools/{pool_id}", None),
        ("GET", f"/nodePools/{pool_id}/nodes", None),
        ("POST", "/nodePoolBindings", {"principal": "a@b.c", "nodePoolId": pool_id}),
    ):
        assert admin.request(method, path, json=body).status_code == 403, (method, path)
    assert owner.get(f"/nodePools/{pool_id}").json()["displayName"] == ""


def test_own_pool_wins_over_an_offered_one_of_the_same_id(
    owner: httpx.Client, admin: httpx.Client, make_pool: Callable[..., str], create: Callable[..., str]
) -> None:
    pool_id = make_pool(owner, offeredToAll=True)
    made = admin.post("/nodePools", json={"nodePool": {"displayName": "own"}, "nodePoolId": pool_id})
    name = f"accounts/{ACCOUNT}/nodePools/{pool_id}"
    assert made.json()["name"] == admin.get(f"/nodePools/{pool_id}").json()["name"] == name
    listed = admin.get("/nodePools", params={"filter": f'name = "*/nodePools/{pool_id}"'}).json()
    assert [pool["name"] for pool in listed["nodePools"]] == [name]
    create(nodePoolId=pool_id)
    assert owner.get(f"/nodePools/{pool_id}:getStats").json()["batchJobCount"] == {}


def test_offered_pool_with_bindings_does_not_exist_for_accounts_not_bound(
    owner: httpx.Client, admin: httpx.Client, user: httpx.Client, make_pool: Callable[..., str]
) -> None:
    pool_id = make_pool(owner, offeredToAll=True)
    job = {"nodePoolId": pool_id, "imageRef": "tool:1"}
    # An e-mail lets in users of the owner's account only: others' admins could make a user of that name.
    bind = {"principal": "admin@acme.example", "nodePoolId": pool_id}
    assert owner.post("/nodePoolBindings", json=bind).status_code == 200
    assert admin.get(f"/nodePools/{pool_id}").status_code == 404
    unknown = admin.post("/batchJobs", json={**job, "nodePoolId": "unknown"})
    answer = admin.post("/batchJobs", json=job)
    assert answer.status_code == 400 and answer.text == unknown.text.replace("unknown", pool_id)
    bind["principal"] = f"accounts/{ACCOUNT}"
    assert owner.post("/nodePoolBindings", json=bind).status_code == 200
    assert admin.get(f"/nodePools/{pool_id}").status_code == 200
    assert user.post("/batchJobs", json=job).status_code == 200
