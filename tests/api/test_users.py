"""Users of an account: who adds and changes them, and that an admin is always left."""

from __future__ import annotations

import json
import threading
from itertools import count
from typing import Any

import httpx
import pytest

from tests.api.conftest import ACCOUNT, Served, client_of
from tests.lab.platform import wait_until

_numbers = count(1)


def new_user(admin: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"email": f"jo{next(_numbers)}@acme.example", "role": "user", **fields}
    answer = admin.post("/users", json=body)
    assert answer.status_code == 200, answer.text
    return {**answer.json(), "id": answer.json()["name"].rpartition("/")[2]}


def new_key(admin: httpx.Client, user_id: str) -> str:
    key: str = admin.post("/apiKeys", json={"user": user_id}).json()["key"]
    return key


def test_user_that_an_admin_adds_is_answered_whole(admin: httpx.Client, user: httpx.Client) -> None:
    made = new_user(admin, email="Milton.W@acme.example", displayName="Milton")
    assert made["id"] == "milton-w" and made["name"] == f"accounts/{ACCOUNT}/users/milton-w"
    fields = {name: made[name] for name in ("email", "displayName", "role", "state", "status", "serviceAccount")}
    assert fields == {
        "email": "Milton.W@acme.example",
        "displayName": "Milton",
        "role": "user",
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "serviceAccount": False,
    }
    del made["id"]
    assert user.get("/users/milton-w").json() == made


@pytest.mark.parametrize(("spelling", "user_id"), [("userId", "bill"), ("user_id", "bob")])
def test_user_of_a_chosen_id_has_it(admin: httpx.Client, spelling: str, user_id: str) -> None:
    email = f"chosen-{user_id}@acme.example"
    answer = admin.post("/users", params={spelling: user_id}, json={"email": email, "role": "user"})
    assert answer.json()["name"] == f"accounts/{ACCOUNT}/users/{user_id}"
    assert admin.get(f"/users/{user_id}").json()["email"] == email


def test_users_of_like_emails_get_ids_of_their_own(admin: httpx.Client) -> None:
    ids = [new_user(admin, email=f"ann@{host}.example")["id"] for host in ("a", "b", "c")]
    assert ids == ["ann", "ann-2", "ann-3"]


@pytest.mark.parametrize("email", ["admin@acme.example", "ADMIN@Acme.Example"])
def test_email_that_a_user_of_the_account_has_is_refused(admin: httpx.Client, email: str) -> None:
    answer = admin.post("/users", json={"email": email, "role": "user"})
    assert answer.status_code == 409 and answer.json()["code"] == 6


def test_id_that_a_user_of_the_account_has_is_refused(admin: httpx.Client) -> None:
    made = new_user(admin)
    body = {"email": "other@acme.example", "role": "user"}
    assert admin.post("/users", params={"userId": made["id"]}, json=body).status_code == 409


def test_users_made_at_the_same_time_with_one_email_are_one(admin: httpx.Client, served: Served) -> None:
    statuses: list[int] = []

    def make(number: int) -> None:
        with client_of(f"{served.url}/v1/accounts/{ACCOUNT}", served.admin_key) as client:
            email = "Race@acme.example" if number % 2 else "race@acme.example"
            statuses.append(client.post("/users", json={"email": email, "role": "user"}).status_code)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [200] + [409] * 7


@pytest.mark.parametrize(
    ("query", "body", "fields"),
    [
        ({}, {}, {"email", "role"}),
        ({}, {"email": "x", "role": "owner"}, {"email", "role"}),
        ({}, {"email": "a@b", "role": "admin", "displayName": "x" * 64}, {"displayName"}),
        ({"userId": "-bad"}, {"email": "a@b", "role": "user"}, {"userId"}),
        ({}, {"email": "a@b", "role": "user", "accountId": "globex"}, {"accountId"}),
        ({}, {"email": "a@b", "role": "user", "isOperator": True}, {"isOperator"}),
        ({}, {"email": "a\ud800@b", "role": "user"}, {"email"}),
        ({}, {"email": "a" * 255 + "@b", "role": "user"}, {"email"}),
    ],
)
def test_user_with_faults_is_refused_naming_each(
    admin: httpx.Client, query: dict[str, str], body: dict[str, Any], fields: set[str]
) -> None:
    before = admin.get("/users").json()["totalSize"]
    answer = admin.post(
        "/users", params=query, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert {each["field"] for each in answer.json()["details"][0]["fieldViolations"]} == fields
    assert admin.get("/users").json()["totalSize"] == before


def test_service_accounts_are_not_served(admin: httpx.Client) -> None:
    body = {"email": "bot@acme.example", "role": "user", "serviceAccount": True}
    assert admin.post("/users", json=body).status_code == 501


def test_list_of_users_is_ordered_paged_and_filtered(admin: httpx.Client, user: httpx.Client) -> None:
    for _ in range(3):
        new_user(admin)
    names, token = [], ""
    while True:
        page = user.get("/users", params={"pageSize": 2, "pageToken": token}).json()
        names += [each["name"] for each in page["users"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert names == sorted(names) and len(set(names)) == len(names) == page["totalSize"]
    found = user.get("/users", params={"filter": 'email = "admin@acme.example" AND role = "admin"'}).json()
    assert [each["email"] for each in found["users"]] == ["admin@acme.example"]


def test_user_who_is_no_admin_changes_his_own_name_and_nothing_else(admin: httpx.Client, served: Served) -> None:
    made, other = new_user(admin), new_user(admin)
    with client_of(f"{served.url}/v1/accounts/{ACCOUNT}", new_key(admin, made["id"])) as jo:
        assert jo.patch(f"/users/{made['id']}", json={"displayName": "Jo"}).json()["displayName"] == "Jo"
        for body in ({"role": "admin"}, {"displayName": "x", "role": "admin"}):
            assert jo.patch(f"/users/{made['id']}", json=body).status_code == 403
        assert (
            jo.patch(f"/users/{made['id']}", params={"updateMask": "role"}, json={"role": "admin"}).status_code
            == 403
        )
        assert (
            jo.patch(f"/users/{made['id']}", params={"updateMask": "*"}, json={"role": "user"}).status_code == 403
        )
        assert jo.patch(f"/users/{other['id']}", json={"displayName": "x"}).status_code == 403
        assert jo.delete(f"/users/{made['id']}").status_code == 403
        assert jo.post("/users", json={"email": "friend@acme.example", "role": "admin"}).status_code == 403
    found = admin.get(f"/users/{made['id']}").json()
    assert (found["displayName"], found["role"]) == ("Jo", "user")


@pytest.mark.parametrize("field", ["email", "serviceAccount", "createTime", "state"])
def test_fields_of_a_user_that_do_not_change_are_named(admin: httpx.Client, field: str) -> None:
    made = new_user(admin)
    answer = admin.patch(f"/users/{made['id']}", json={"displayName": "x", field: made[field] or True})
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["details"][0]["fieldViolations"]] == [field]


def test_role_that_an_admin_gives_holds_within_a_second(admin: httpx.Client, served: Served) -> None:
    made = new_user(admin)
    with client_of(f"{served.url}/v1/accounts/{ACCOUNT}", new_key(admin, made["id"])) as jo:
        body = {"email": f"by-jo-{made['id']}@acme.example", "role": "user"}
        assert jo.post("/users", json=body).status_code == 403
        assert admin.patch(f"/users/{made['id']}", json={"role": "admin"}).json()["role"] == "admin"
        wait_until(lambda: jo.post("/users", json=body).status_code == 200, 1, "he is an admin")
        admin.patch(f"/users/{made['id']}", json={"role": "user"})
        wait_until(lambda: jo.post("/users", json=body).status_code == 403, 1, "he is an admin no more")


def test_user_that_is_deleted_loses_his_keys_and_is_gone(admin: httpx.Client, served: Served) -> None:
    made = new_user(admin)
    with client_of(f"{served.url}/v1/accounts/{ACCOUNT}", new_key(admin, made["id"])) as jo:
        assert jo.get("/users").status_code == 200
        assert admin.delete(f"/users/{made['id']}").json() == {}
        wait_until(lambda: jo.get("/users").status_code == 401, 1, "his key is refused")
    assert admin.get(f"/users/{made['id']}").status_code == 404
    assert admin.delete(f"/users/{made['id']}").status_code == 404


def test_last_admin_is_neither_deleted_nor_demoted(stranger: httpx.Client, served: Served) -> None:
    with client_of(f"{served.url}/v1/accounts/globex", served.stranger_key) as admin:
        for answer in (admin.delete("/users/admin"), admin.patch("/users/admin", json={"role": "user"})):
            assert answer.status_code == 400 and answer.json()["code"] == 9
        assert admin.get("/users/admin").json()["role"] == "admin"


def test_two_last_admins_who_remove_each_other_leave_one(operator: httpx.Client, served: Served) -> None:
    for number in range(5):
        account = f"duel-{number}"
        body = {"account": {"email": "one@duel.example"}, "accountId": account}
        first = operator.post("/accounts", json=body).json()["adminApiKey"]
        url = f"{served.url}/v1/accounts/{account}"
        with client_of(url, first) as one:
            one.post("/users", json={"email": "two@duel.example", "role": "admin"})
            second = one.post("/apiKeys", json={"user": "two"}).json()["key"]
            with client_of(url, second) as two:
                threads = [
                    threading.Thread(target=one.delete, args=("/users/two",)),
                    threading.Thread(target=two.patch, args=("/users/one",), kwargs={"json": {"role": "user"}}),
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
                users = _users_seen_by(one, two)
        assert [each["role"] for each in users].count("admin") == 1


def _users_seen_by(*clients: httpx.Client) -> list[dict[str, Any]]:
    """The users as whoever is left sees them."""
    for client in clients:
        answer = client.get("/users")
        if answer.status_code == 200:
            users: list[dict[str, Any]] = answer.json()["users"]
            return users
    raise AssertionError("nobody is left")
