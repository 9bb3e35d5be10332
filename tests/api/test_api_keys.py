"""API keys: shown once, expiring, revoked within a second, last use noted; users see their own, admins all."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text, update

from core.api_keys import still_valid
from core.database import Database
from core.models import ApiKey
from tests.api.conftest import ACCOUNT, Served, client_of
from tests.lab.platform import wait_until


def new_key(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/apiKeys", json=fields)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def own_client(served: Served, key: str) -> httpx.Client:
    return client_of(f"{served.url}/v1/accounts/{ACCOUNT}", key)


def test_new_key_is_shown_once_and_opens_the_account(admin: httpx.Client, served: Served) -> None:
    made = new_key(admin, displayName="ci")
    assert made["key"].startswith(made["prefix"] + "_") and made["prefix"] == f"lsk_{made['keyId']}"
    assert made["name"] == f"accounts/{ACCOUNT}/apiKeys/{made['keyId']}"
    assert (made["displayName"], made["email"], made["user"]) == ("ci", "admin@acme.example", "admin")
    assert made["expireTime"] is None and made["lastUsedTime"] is None and made["secure"] is True
    with own_client(served, made["key"]) as client:
        assert client.get("/batchJobs").status_code == 200
    again = admin.get(f"/apiKeys/{made['keyId']}").json()
    assert "key" not in again
    assert {**again, "lastUsedTime": None} == {name: value for name, value in made.items() if name != "key"}
    assert all("key" not in each for each in admin.get("/apiKeys").json()["apiKeys"])


def test_secret_of_a_key_is_in_no_row(admin: httpx.Client, database: Database) -> None:
    made = new_key(admin)
    secret = made["key"].split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits in base64
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT k::text FROM api_keys k")).scalars().all()
        kept = connection.execute(select(ApiKey.secret_sha256).where(ApiKey.id == made["keyId"])).scalar_one()
    assert rows and not any(secret in row for row in rows)
    assert kept == hashlib.sha256(secret.encode()).digest()


def test_key_without_a_name_has_the_references(admin: httpx.Client) -> None:
    assert new_key(admin)["displayName"] == "default"


@pytest.mark.parametrize("whose", ["user", "user@acme.example", "USER@acme.example"])
def test_admin_makes_a_key_for_another_user_by_id_or_email(
    admin: httpx.Client, served: Served, whose: str
) -> None:
    made = new_key(admin, user=whose)
    assert made["email"] == "user@acme.example"
    with own_client(served, made["key"]) as client:
        assert client.post("/users", json={}).status_code == 403


def test_user_makes_keys_for_himself_only(user: httpx.Client) -> None:
    assert new_key(user, user="user")["user"] == "user"
    assert new_key(user)["user"] == "user"
    for whose in ("admin", "admin@acme.example", "nobody"):
        assert user.post("/apiKeys", json={"user": whose}).status_code == 403
    assert user.post("/users/admin/apiKeys", json={"apiKey": {}}).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expireTime": "2020-01-01T00:00:00Z"}, "expireTime"),
        ({"expireTime": "2999-01-01"}, "expireTime"),
        ({"expireTime": "2999-01-01T00:00:00"}, "expireTime"),
        ({"expireTime": 4_000_000_000}, "expireTime"),
        ({"expireTime": "9999-12-31T23:59:59-01:00"}, "expireTime"),
        ({"displayName": "x" * 64}, "displayName"),
        ({"user": "nobody"}, "user"),
        ({"user": "admin@globex.example"}, "user"),
        ({"role": "admin"}, "role"),
        ({"account": "globex"}, "account"),
    ],
)
def test_key_with_a_fault_is_refused_naming_it(admin: httpx.Client, body: dict[str, Any], field: str) -> None:
    before = admin.get("/apiKeys").json()["totalSize"]
    answer = admin.post("/apiKeys", json=body)
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["details"][0]["fieldViolations"]] == [field]
    assert admin.get("/apiKeys").json()["totalSize"] == before


def test_time_of_expiry_with_an_offset_is_answered_in_utc(admin: httpx.Client) -> None:
    assert new_key(admin, expireTime="2999-01-01T02:00:00+02:00")["expireTime"] == "2999-01-01T00:00:00Z"


def test_key_is_refused_as_soon_as_it_expires(admin: httpx.Client, served: Served) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=1.2)
    made = new_key(admin, expireTime=expires.isoformat().replace("+00:00", "Z"))
    with own_client(served, made["key"]) as client:
        assert client.get("/batchJobs").status_code == 200
        wait_until(lambda: client.get("/batchJobs").status_code == 401, 3, "the key has expired", every=0.02)
        assert datetime.now(UTC) - expires < timedelta(seconds=0.3)
    assert admin.get(f"/apiKeys/{made['keyId']}").json()["expireTime"] == made["expireTime"]


def test_revoked_key_is_refused_within_a_second_however_busy_it_is(admin: httpx.Client, served: Served) -> None:
    made = new_key(admin)
    with own_client(served, made["key"]) as client:
        assert all(client.get("/batchJobs").status_code == 200 for _ in range(5))
        assert admin.delete(f"/apiKeys/{made['keyId']}").json() == {}
        wait_until(lambda: client.get("/batchJobs").status_code == 401, 1, "the key is refused", every=0.01)
        assert client.get("/batchJobs").status_code == 401
    for answer in (admin.get(f"/apiKeys/{made['keyId']}"), admin.delete(f"/apiKeys/{made['keyId']}")):
        assert answer.status_code == 404
    assert made["name"] not in [each["name"] for each in admin.get("/apiKeys").json()["apiKeys"]]


def test_key_may_revoke_itself(user: httpx.Client, served: Served) -> None:
    made = new_key(user)
    with own_client(served, made["key"]) as client:
        assert client.delete(f"/apiKeys/{made['keyId']}").json() == {}
        wait_until(lambda: client.get("/batchJobs").status_code == 401, 1, "it is refused")


def test_keys_of_others_are_not_there_for_a_user(admin: httpx.Client, user: httpx.Client) -> None:
    of_admin, of_user = new_key(admin), new_key(user)
    listed = [each["name"] for each in user.get("/apiKeys", params={"pageSize": 200}).json()["apiKeys"]]
    assert of_user["name"] in listed and of_admin["name"] not in listed
    unknown = "0" * 16
    for method in ("GET", "DELETE"):
        theirs = user.request(method, f"/apiKeys/{of_admin['keyId']}")
        nobodys = user.request(method, f"/apiKeys/{unknown}")
        assert theirs.status_code == 404
        assert theirs.text.replace(of_admin["keyId"], unknown) == nobodys.text
    assert admin.get(f"/apiKeys/{of_admin['keyId']}").status_code == 200
    both = {each["name"] for each in admin.get("/apiKeys", params={"pageSize": 200}).json()["apiKeys"]}
    assert {of_admin["name"], of_user["name"]} <= both


def test_keys_under_a_user_are_the_references_form_of_the_same(admin: httpx.Client, user: httpx.Client) -> None:
    made = admin.post("/users/user/apiKeys", json={"api_key": {"display_name": "laptop"}}).json()
    assert made["displayName"] == "laptop" and made["email"] == "user@acme.example" and made["key"]
    assert user.get(f"/apiKeys/{made['keyId']}").status_code == 200
    listed = user.get("/users/user/apiKeys", params={"filter": 'displayName = "laptop"'}).json()
    assert [each["keyId"] for each in listed["apiKeys"]] == [made["keyId"]]
    assert user.get("/users/admin/apiKeys").status_code == 403
    assert admin.post("/users/admin/apiKeys:delete", json={"keyId": made["keyId"]}).status_code == 404
    assert user.post("/users/user/apiKeys:delete", json={"keyId": made["keyId"]}).json() == {}
    assert user.get(f"/apiKeys/{made['keyId']}").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/users/user/apiKeys", {}, "apiKey"),
        ("/users/user/apiKeys", {"apiKey": {"displayName": "x" * 64}}, "apiKey.displayName"),
        ("/users/user/apiKeys", {"apiKey": {"expireTime": "2020-01-01T00:00:00Z"}}, "apiKey.expireTime"),
        ("/users/user/apiKeys:delete", {}, "keyId"),
        ("/users/user/apiKeys:delete", {"keyId": "\0"}, "keyId"),
    ],
)
def test_body_of_the_references_form_with_a_fault_is_refused(
    admin: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = admin.post(path, json=body)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["details"][0]["fieldViolations"]] == [field]


def test_use_of_a_key_is_noted_once_a_minute(admin: httpx.Client, served: Served, database: Database) -> None:
    made = new_key(admin)
    of_key = ApiKey.id == made["keyId"]

    def last_used() -> datetime | None:
        with database.transaction() as connection:
            return connection.execute(select(ApiKey.last_used_at).where(of_key)).scalar_one()

    with own_client(served, made["key"]) as client:
        client.get("/batchJobs")
        wait_until(lambda: last_used() is not None, 5, "its use is noted")
        first = last_used()
        for _ in range(20):
            client.get("/batchJobs")
        assert last_used() == first
    shown = admin.get(f"/apiKeys/{made['keyId']}").json()["lastUsedTime"]
    assert shown is not None and shown.endswith("Z")


def test_use_that_cannot_be_noted_holds_up_no_request(
    admin: httpx.Client, served: Served, database: Database
) -> None:
    made = new_key(admin)
    answered = threading.Event()
    with own_client(served, made["key"]) as client, database.transaction() as connection:
        connection.execute(select(ApiKey.id).where(ApiKey.id == made["keyId"]).with_for_update())

        def ask() -> None:
            if client.get("/batchJobs").status_code == 200:
                answered.set()

        thread = threading.Thread(target=ask)
        thread.start()
        assert answered.wait(5)
        thread.join()


def test_still_valid_of_many_keys_names_those_that_are(admin: httpx.Client, database: Database) -> None:
    kept, revoked, expired = (new_key(admin)["keyId"] for _ in range(3))
    assert still_valid(database, {kept, revoked, expired, "0" * 16}) == {kept, revoked, expired}
    admin.delete(f"/apiKeys/{revoked}")
    with database.transaction() as connection:
        connection.execute(update(ApiKey).where(ApiKey.id == expired).values(expires_at=func.now()))
    assert still_valid(database, {kept, revoked, expired}) == {kept}
    assert still_valid(database, ()) == set()
