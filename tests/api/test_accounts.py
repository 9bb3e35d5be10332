"""Accounts: the operator's admins make and bound them, their own admins describe them, others do not see them."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from core.database import Database
from core.models import Account, ApiKey, User
from core.nodes import ensure_pool
from tests.api.conftest import ACCOUNT, IMAGE, OTHER_ACCOUNT, Served, client_of

_numbers = count(1)
READ_FIELDS = {
    "name", "displayName", "createTime", "email", "state", "status", "updateTime",
    "isOperator", "mayOwnNodes", "maxLiveJobs", "maxLiveRanks", "retentionDays", "retentionSize",
}  # fmt: skip


def new_account(operator: httpx.Client, **fields: Any) -> dict[str, Any]:
    account_id = f"initech-{next(_numbers)}"
    body = {"account": {"email": "Peter@Initech.example", **fields}, "accountId": account_id}
    answer = operator.post("/accounts", json=body)
    assert answer.status_code == 200, answer.text
    return {**answer.json(), "id": account_id}


def test_account_that_the_operator_makes_has_an_admin_whose_key_is_shown_once(
    operator: httpx.Client, served: Served
) -> None:
    made = new_account(operator, displayName="Initech", mayOwnNodes=True, maxLiveJobs=3)
    assert set(made) - {"id"} == READ_FIELDS | {"adminApiKey"}
    assert made["name"] == f"accounts/{made['id']}" and made["displayName"] == "Initech"
    assert (made["mayOwnNodes"], made["maxLiveJobs"], made["maxLiveRanks"]) == (True, 3, 0)
    assert made["state"] == "READY" and made["status"] == {"code": "OK", "message": ""}
    assert made["createTime"].endswith("Z") and made["isOperator"] is False
    with client_of(f"{served.url}/v1/accounts", made["adminApiKey"]) as admin:
        assert admin.get(f"/{made['id']}").json() == {name: made[name] for name in READ_FIELDS}
        (first,) = admin.get(f"/{made['id']}/users").json()["users"]
        assert (first["email"], first["role"]) == ("Peter@Initech.example", "admin")
        assert first["name"].endswith("/users/peter")


def test_account_of_an_id_that_is_taken_is_refused(operator: httpx.Client) -> None:
    body = {"account": {"email": "a@b.example"}, "accountId": ACCOUNT}
    answer = operator.post("/accounts", json=body)
    assert answer.status_code == 409 and answer.json()["code"] == 6


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"account", "accountId"}),
        ({"accountId": "good"}, {"account"}),
        ({"account": {}, "accountId": "Bad_Id"}, {"account.email", "accountId"}),
        ({"account": {"email": "nobody"}, "accountId": "good"}, {"account.email"}),
        ({"account": {"email": "a b@c.example"}, "accountId": "good"}, {"account.email"}),
        ({"account": {"email": "a@b", "displayName": "x" * 64}, "accountId": "good"}, {"account.displayName"}),
        (
            {"account": {"email": "a@b", "maxLiveJobs": -1, "maxLiveRanks": "many"}, "accountId": "good"},
            {"account.maxLiveJobs", "account.maxLiveRanks"},
        ),
        (
            {"account": {"email": "a@b", "retentionDays": -1, "retentionSize": "much"}, "accountId": "good"},
            {"account.retentionDays", "account.retentionSize"},
        ),
        (
            {"account": {"email": "a@b", "retentionDays": 36_501, "retentionSize": 1 << 61}, "accountId": "good"},
            {"account.retentionDays", "account.retentionSize"},
        ),
        ({"account": {"email": "a@b", "role": "admin"}, "accountId": "good"}, {"account.role"}),
        ({"account": {"email": "a\0@b"}, "accountId": "good"}, {"account.email"}),
    ],
)
def test_account_with_faults_is_refused_naming_each(
    operator: httpx.Client, database: Database, body: dict[str, Any], fields: set[str]
) -> None:
    answer = operator.post("/accounts", json=body)
    assert answer.status_code == 400, answer.text
    assert {each["field"] for each in answer.json()["details"][0]["fieldViolations"]} == fields
    with database.transaction() as connection:
        assert connection.execute(select(Account.id).where(Account.id == "good")).first() is None


def test_is_operator_in_a_body_makes_no_operator(operator: httpx.Client, served: Served) -> None:
    made = new_account(operator, isOperator=True)
    assert made["isOperator"] is False
    with client_of(f"{served.url}/v1/accounts", made["adminApiKey"]) as admin:
        answer = admin.patch(f"/{made['id']}", json={"isOperator": True})
        assert answer.status_code == 400
        assert answer.json()["details"][0]["fieldViolations"][0]["field"] == "isOperator"
        assert admin.get(f"/{made['id']}").json()["isOperator"] is False


def test_list_of_accounts_is_whole_for_the_operator_and_ones_own_for_others(
    operator: httpx.Client, served: Served
) -> None:
    everyone = operator.get("/accounts", params={"pageSize": 200}).json()
    names = [each["name"] for each in everyone["accounts"]]
    assert {f"accounts/{ACCOUNT}", f"accounts/{OTHER_ACCOUNT}", "accounts/operator"} <= set(names)
    assert names == sorted(names) and everyone["totalSize"] == len(names)
    for key, own in (
        (served.admin_key, ACCOUNT),
        (served.user_key, ACCOUNT),
        (served.stranger_key, OTHER_ACCOUNT),
    ):
        with client_of(f"{served.url}/v1", key) as client:
            found = client.get("/accounts").json()
        assert [each["name"] for each in found["accounts"]] == [f"accounts/{own}"] and found["totalSize"] == 1


def test_list_of_accounts_by_filter_and_mask_gives_those_fields_of_those_accounts(operator: httpx.Client) -> None:
    params = {"filter": "isOperator = true", "readMask": "name,isOperator"}
    found = operator.get("/accounts", params=params).json()["accounts"]
    assert found == [{"name": "accounts/operator", "isOperator": True}]


def test_page_token_of_the_operators_list_is_none_of_anothers(operator: httpx.Client, served: Served) -> None:
    token = operator.get("/accounts", params={"pageSize": 1}).json()["nextPageToken"]
    assert token
    with client_of(f"{served.url}/v1", served.admin_key) as client:
        assert client.get("/accounts", params={"pageSize": 1, "pageToken": token}).status_code == 400


def test_account_is_described_by_its_own_admins_and_bounded_by_the_operators(
    operator: httpx.Client, served: Served
) -> None:
    made = new_account(operator)
    path = f"/accounts/{made['id']}"
    with client_of(f"{served.url}/v1", made["adminApiKey"]) as admin:
        changed = admin.patch(path, json={"displayName": "Initrode", "email": "new@initech.example"}).json()
        assert (changed["displayName"], changed["email"]) == ("Initrode", "new@initech.example")
        assert changed["updateTime"] > made["updateTime"]
        for field, value in (
            ("mayOwnNodes", True),
            ("maxLiveJobs", 10**6),
            ("maxLiveRanks", 10**6),
            ("retentionDays", 36_500),
            ("retentionSize", "1Pi"),
        ):
            refused = admin.patch(path, json={"displayName": "mine", field: value})
            assert refused.status_code == 403 and field in refused.json()["message"]
    bounded = operator.patch(path, json={"mayOwnNodes": True, "maxLiveJobs": 5}).json()
    assert (bounded["mayOwnNodes"], bounded["maxLiveJobs"], bounded["displayName"]) == (True, 5, "Initrode")
    assert operator.patch(path, json={"displayName": "theirs"}).status_code == 403
    reset = operator.patch(path, params={"updateMask": "max_live_jobs"}, json={}).json()
    assert (reset["mayOwnNodes"], reset["maxLiveJobs"]) == (True, 0)


def test_retention_of_an_account_is_set_read_searched_for_and_reset(operator: httpx.Client) -> None:
    made = new_account(operator, retentionDays=7)
    path = f"/accounts/{made['id']}"
    assert (made["retentionDays"], made["retentionSize"]) == (7, "")
    changed = operator.patch(path, json={"retentionSize": "20Gi"}).json()
    assert (changed["retentionDays"], changed["retentionSize"]) == (7, "20Gi")
    condition = f'retentionDays = 7 AND retentionSize > 1000 AND name = "{made["name"]}"'
    (found,) = operator.get("/accounts", params={"filter": condition}).json()["accounts"]
    assert found["retentionSize"] == "20Gi"
    reset = operator.patch(path, params={"updateMask": "retentionDays,retention_size"}, json={}).json()
    assert (reset["retentionDays"], reset["retentionSize"]) == (0, "")
    assert operator.patch(path, json={"retentionSize": 1500}).json()["retentionSize"] == "1500"
    assert operator.patch(path, json={"retentionSize": ""}).json()["retentionSize"] == ""


def test_quota_of_an_account_bounds_its_live_jobs(
    operator: httpx.Client, served: Served, database: Database
) -> None:
    made = new_account(operator, maxLiveJobs=1)
    ensure_pool(database, account=made["id"])
    body = {"nodePoolId": "default", "imageRef": IMAGE}
    with client_of(f"{served.url}/v1/accounts/{made['id']}", made["adminApiKey"]) as admin:
        assert admin.post("/batchJobs", json=body).status_code == 200
        assert admin.post("/batchJobs", json=body).status_code == 429


def test_account_without_jobs_and_pools_is_deleted_with_its_users_and_keys(
    operator: httpx.Client, served: Served, database: Database
) -> None:
    made = new_account(operator)
    assert operator.delete(f"/accounts/{made['id']}").json() == {}
    assert operator.get(f"/accounts/{made['id']}").status_code == 404
    assert operator.delete(f"/accounts/{made['id']}").status_code == 404
    with database.transaction() as connection:
        assert connection.execute(select(User.id).where(User.account_id == made["id"])).first() is None
        key_id = made["adminApiKey"].split("_")[1]
        assert connection.execute(select(ApiKey.id).where(ApiKey.id == key_id)).first() is None


def test_account_with_a_pool_or_a_job_is_not_deleted(
    operator: httpx.Client, served: Served, database: Database
) -> None:
    made = new_account(operator)
    ensure_pool(database, account=made["id"])
    refused = operator.delete(f"/accounts/{made['id']}")
    assert refused.status_code == 400 and refused.json()["code"] == 9
    assert "node pools" in refused.json()["message"]
    with client_of(f"{served.url}/v1/accounts/{made['id']}", made["adminApiKey"]) as admin:
        answer = admin.post("/batchJobs", json={"nodePoolId": "default", "imageRef": IMAGE})
        assert answer.status_code == 200
    assert "jobs" in operator.delete(f"/accounts/{made['id']}").json()["message"]
    assert operator.get(f"/accounts/{made['id']}").status_code == 200


def test_account_that_runs_the_platform_is_not_deleted(operator: httpx.Client) -> None:
    refused = operator.delete("/accounts/operator")
    assert refused.status_code == 400 and refused.json()["code"] == 9


@pytest.mark.parametrize("path", ["", "/batchJobs", "/users", "/apiKeys", "/secrets", "/nodePools"])
def test_operator_sees_an_account_and_nothing_in_it(operator: httpx.Client, path: str) -> None:
    answer = operator.get(f"/accounts/{ACCOUNT}{path}")
    assert answer.status_code == (404 if path else 200)


def test_user_of_the_operators_account_who_is_no_admin_manages_nothing(
    operator: httpx.Client, served: Served
) -> None:
    body = {"email": f"clerk{next(_numbers)}@operator.example", "role": "user"}
    user_id = operator.post("/accounts/operator/users", json=body).json()["name"].rpartition("/")[2]
    answer = operator.post(f"/accounts/operator/users/{user_id}/apiKeys", json={"apiKey": {}})
    with client_of(f"{served.url}/v1", answer.json()["key"]) as clerk:
        assert [each["name"] for each in clerk.get("/accounts").json()["accounts"]] == ["accounts/operator"]
        assert clerk.get(f"/accounts/{ACCOUNT}").status_code == 404
        assert clerk.post("/accounts", json={}).status_code == 403
        assert clerk.delete(f"/accounts/{ACCOUNT}").status_code == 404
        assert clerk.delete("/accounts/operator").status_code == 403
