"""Who may ask for what: keys, accounts, creators and admins; and the one error body for all."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import func, update

from core.database import Database
from core.models import ApiKey
from tests.api.conftest import ACCOUNT, IMAGE, OTHER_ACCOUNT, Served
from tests.lab.platform import wait_until

Create = Callable[..., str]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Basic eDp5", "Bearer wrong", "Bearer lsk_0_0", "Bearer lsk__", "lsk_0_0"],
)
def test_any_call_without_a_valid_key_answers_one_401(served: Served, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = httpx.get(f"{served.url}/v1/accounts/{ACCOUNT}/batchJobs", headers=headers)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {
        "code": 16,
        "message": "send a valid API key as `Authorization: Bearer <key>`",
        "details": [],
    }


def test_every_route_under_an_account_without_a_key_answers_401(served: Served) -> None:
    paths = httpx.get(f"{served.url}/openapi.json").json()["paths"]
    calls = [(method, path) for path, methods in paths.items() if path.startswith("/v1/") for method in methods]
    assert len(calls) >= 7
    for method, path in calls:
        assert httpx.request(method, served.url + path.replace("{", "x").replace("}", "x")).status_code == 401


def test_create_without_a_key_is_refused_before_its_body_is_looked_at(
    served: Served, count_jobs: Callable[[], int]
) -> None:
    before = count_jobs()
    answer = httpx.post(f"{served.url}/v1/accounts/{ACCOUNT}/batchJobs", content=b"{")
    assert answer.status_code == 401
    assert count_jobs() == before


def test_key_with_another_secret_is_refused(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.admin_key[:-1]}"}
    assert httpx.get(f"{served.url}/v1/accounts/{ACCOUNT}/batchJobs", headers=headers).status_code == 401


def test_key_that_was_revoked_is_refused_within_a_second(served: Served, database: Database) -> None:
    headers = {"Authorization": f"bearer {served.user_key}"}
    url = f"{served.url}/v1/accounts/{ACCOUNT}/batchJobs"
    assert httpx.get(url, headers=headers).status_code == 200
    of_key = ApiKey.id == served.user_key.split("_")[1]
    with database.transaction() as connection:
        connection.execute(update(ApiKey).where(of_key).values(revoked_at=func.now()))
    wait_until(lambda: httpx.get(url, headers=headers).status_code == 401, 1, "the key is refused")
    with database.transaction() as connection:
        connection.execute(update(ApiKey).where(of_key).values(revoked_at=None))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/batchJobs/{id}"),
        ("DELETE", "/batchJobs/{id}"),
        ("POST", "/batchJobs/{id}:cancel"),
        ("GET", "/batchJobs/{id}:getLogs"),
        ("GET", "/batchJobs/{id}:downloadLogs"),
        ("GET", "/batchJobs/{id}/ranks/0/notebook"),
    ],
)
def test_job_of_another_account_answers_as_one_that_does_not_exist(
    served: Served, admin: httpx.Client, stranger: httpx.Client, create: Create, method: str, path: str
) -> None:
    job_id, unknown = create(), "x" * 16
    theirs = stranger.request(method, path.format(id=job_id))
    assert theirs.status_code == 404 and theirs.json()["code"] == 5
    nobodys = stranger.request(method, path.format(id=unknown))
    assert nobodys.json() == {**theirs.json(), "message": theirs.json()["message"].replace(job_id, unknown)}
    # Under his own account's path the id does not exist either.
    own = served.url + f"/v1/accounts/{OTHER_ACCOUNT}" + path.format(id=job_id)
    assert stranger.request(method, own).status_code == 404
    assert admin.get(f"/batchJobs/{job_id}").json()["state"] == "QUEUED"


def test_lists_and_creations_in_another_account_answer_404(
    stranger: httpx.Client, count_jobs: Callable[[], int]
) -> None:
    before = count_jobs()
    assert stranger.get("/batchJobs").status_code == 404
    body = {"nodePoolId": "default", "imageRef": IMAGE}
    assert stranger.post("/batchJobs", json=body).status_code == 404
    assert count_jobs() == before


@pytest.mark.parametrize(("method", "path"), [("POST", "/batchJobs/{id}:cancel"), ("DELETE", "/batchJobs/{id}")])
def test_job_that_is_not_shared_is_stopped_by_its_creator_and_admins_only(
    admin: httpx.Client, user: httpx.Client, create: Create, method: str, path: str
) -> None:
    of_admin, of_user, shared = create(), create(user), create(shared=True)
    refused = user.request(method, path.format(id=of_admin))
    assert refused.status_code == 403 and refused.json()["code"] == 7
    assert user.get(f"/batchJobs/{of_admin}").json()["state"] == "QUEUED"
    assert user.request(method, path.format(id=shared)).json() == {}
    assert user.request(method, path.format(id=of_user)).json() == {}
    assert admin.request(method, path.format(id=of_admin)).json() == {}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, 5),
        ("GET", "/v1/accounts/acme/batchJobs/", 404, 5),
        ("GET", "/docs/", 404, 5),
        ("POST", "/docs", 501, 12),
        ("PUT", "/v1/accounts/acme/batchJobs", 501, 12),
        ("OPTIONS", "/v1/accounts/acme/batchJobs", 501, 12),
        ("POST", "/v1/accounts/acme/batchJobs/x", 501, 12),
        ("POST", "/healthz", 501, 12),
    ],
)
def test_unknown_routes_and_methods_answer_the_one_error_body(
    served: Served, method: str, path: str, status: int, code: int
) -> None:
    answer = httpx.request(method, served.url + path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json()) == {"code", "message", "details"} and answer.json()["code"] == code
