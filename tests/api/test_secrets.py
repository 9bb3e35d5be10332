"""Secrets over HTTP: a value goes in and is never answered, who may do what, and what a job may name."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.database import Database
from core.sealing import new_key_line
from core.settings import Settings
from tests.api.conftest import Served, serving

VALUE = "s3cr3t 'quoted' \n ünï ☃"


@pytest.fixture(scope="module")
def settings(database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    keys = tmp_path_factory.mktemp("keys") / "secret-keys"
    keys.write_text(new_key_line("k1"))
    return Settings(database_url=database_url, broker_url=broker_url, max_ranks=100, secret_keys_file=keys)


@pytest.fixture
def make(user: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Makes a secret, by default the plain user's."""

    def made(client: httpx.Client = user, **fields: Any) -> dict[str, Any]:
        body = {"keyName": "KEY", "value": VALUE, **fields}
        answer = client.post("/secrets", params={"secretId": unused()}, json=body)
        assert answer.status_code == 200, answer.text
        read: dict[str, Any] = answer.json()
        return {**read, "id": read["name"].rpartition("/")[2]}

    return made


def unused() -> str:
    return f"s-{secrets.token_hex(6)}"


def violations(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 400, answer.text
    detail = answer.json()["details"][0]
    return {fault["field"]: fault["description"] for fault in detail["fieldViolations"]}


def test_create_answers_everything_but_the_value(user: httpx.Client, database: Database) -> None:
    answer = user.post("/secrets", params={"secretId": "db"}, json={"keyName": "DB_PASSWORD", "value": VALUE})
    assert answer.status_code == 200
    read = answer.json()
    assert read["name"] == "accounts/acme/secrets/db"
    assert (read["keyName"], read["value"], read["createdBy"]) == ("DB_PASSWORD", "", "user@acme.example")
    assert read["createTime"] == read["updateTime"]
    assert user.get("/secrets/db").json() == read
    with database.transaction() as connection:
        sealed = connection.exec_driver_sql("SELECT sealed FROM secrets WHERE secret_id = 'db'").scalar_one()
    assert VALUE.encode() not in sealed
    assert len(sealed) == 12 + len(VALUE.encode()) + 16


@pytest.mark.parametrize(
    ("key_name", "secret_id"),
    [
        ("DB_PASSWORD", "db-password"),
        ("  My key! ", "my-key"),
        ("9lives", "secret-9lives"),
        ("X" * 80, "x" * 63),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_create_without_an_id_makes_one_of_the_keys_name(
    user: httpx.Client, key_name: str, secret_id: str
) -> None:
    body = {"keyName": key_name, "value": "v"}
    assert user.post("/secrets", json=body).json()["name"] == f"accounts/acme/secrets/{secret_id}"
    again = user.post("/secrets", json=body)
    assert (again.status_code, again.json()["code"]) == (409, 6)


def test_create_with_a_full_name_takes_its_id(user: httpx.Client) -> None:
    wanted = unused()
    body = {"name": f"accounts/acme/secrets/{wanted}", "key_name": "K", "value": "v"}
    assert user.post("/secrets", json=body).json()["name"] == f"accounts/acme/secrets/{wanted}"


def test_create_where_no_letter_is_in_the_name_makes_up_an_id(user: httpx.Client) -> None:
    name = user.post("/secrets", json={"keyName": "☃", "value": "v"}).json()["name"]
    assert name.startswith("accounts/acme/secrets/secret-")


@pytest.mark.parametrize(
    ("params", "body", "field"),
    [
        ({}, {"keyName": "K"}, "value"),
        ({}, {"keyName": "K", "value": ""}, "value"),
        ({}, {"keyName": "K", "value": 5}, "value"),
        ({}, {"keyName": "K", "value": "a\0b"}, "value"),
        ({}, {"keyName": "K", "value": "x" * 65_537}, "value"),
        ({}, {"keyName": "K", "value": "☃" * 21_846}, "value"),
        ({}, {"value": "v"}, "keyName"),
        ({}, {"keyName": "K" * 256, "value": "v"}, "keyName"),
        ({}, {"keyName": "K", "value": "v", "name": "accounts/globex/secrets/x"}, "name"),
        ({}, {"keyName": "K", "value": "v", "name": "x"}, "name"),
        ({}, {"keyName": "K", "value": "v", "valeu": "v"}, "valeu"),
        ({"secretId": "No"}, {"keyName": "K", "value": "v"}, "secretId"),
        ({"secretId": "a"}, {"keyName": "K", "value": "v", "name": "accounts/acme/secrets/b"}, "secretId"),
        ({"secretIds": "a"}, {"keyName": "K", "value": "v"}, "secretIds"),
    ],
)
def test_create_of_what_breaks_a_rule_names_the_field(
    user: httpx.Client, params: dict[str, str], body: dict[str, Any], field: str
) -> None:
    answer = user.post("/secrets", params=params, json=body)
    assert list(violations(answer)) == [field]
    value = str(body.get("value", ""))
    assert len(value) < 20 or value[:20] not in answer.text


def test_create_names_every_fault_at_once(user: httpx.Client) -> None:
    answer = user.post("/secrets", params={"secretId": "-"}, json={"value": 5})
    assert set(violations(answer)) == {"secretId", "keyName", "value"}


def test_value_of_64_kib_is_kept(make: Callable[..., dict[str, Any]]) -> None:
    assert make(value="x" * 65_536)["value"] == ""


def test_list_gives_the_accounts_secrets_by_name_and_page(
    user: httpx.Client, stranger: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    mine = {make(keyName="LISTED")["name"] for _ in range(3)}
    query: dict[str, str | int] = {"filter": 'keyName = "LISTED"', "pageSize": 2}
    first = user.get("/secrets", params=query).json()
    assert first["totalSize"] == 3
    second = user.get("/secrets", params={**query, "pageToken": first["nextPageToken"]}).json()
    found = [each["name"] for each in [*first["secrets"], *second["secrets"]]]
    assert found == sorted(mine)
    assert {each["value"] for each in first["secrets"]} == {""}
    assert second["nextPageToken"] == ""
    newest = user.get("/secrets", params={"orderBy": "create_time desc", "readMask": "key_name"}).json()
    assert newest["secrets"][0] == {"keyName": "LISTED"}
    assert stranger.get("/secrets").status_code == 404


def test_value_cannot_be_filtered_or_ordered_by(user: httpx.Client) -> None:
    for params in ({"filter": 'value = "a"'}, {"orderBy": "value"}):
        assert user.get("/secrets", params=params).status_code == 400


def test_get_with_a_read_mask_gives_what_it_names(user: httpx.Client, make: Callable[..., dict[str, Any]]) -> None:
    made = make()
    assert user.get(f"/secrets/{made['id']}", params={"readMask": "keyName,value"}).json() == {
        "keyName": "KEY",
        "value": "",
    }


def test_update_changes_what_the_body_has(
    user: httpx.Client, make: Callable[..., dict[str, Any]], database: Database
) -> None:
    made = make()
    before = sealed_of(database, made["id"])
    changed = user.patch(f"/secrets/{made['id']}", json={"keyName": "OTHER"}).json()
    assert (changed["keyName"], changed["createTime"]) == ("OTHER", made["createTime"])
    assert changed["updateTime"] > made["updateTime"]
    assert sealed_of(database, made["id"]) == before
    assert user.patch(f"/secrets/{made['id']}", json={"value": "new"}).json()["value"] == ""
    assert sealed_of(database, made["id"]) != before


def test_update_with_what_was_got_keeps_the_value(
    user: httpx.Client, make: Callable[..., dict[str, Any]], database: Database
) -> None:
    made = make()
    before = sealed_of(database, made["id"])
    got = user.get(f"/secrets/{made['id']}").json()
    body = {"name": got["name"], "keyName": "OTHER", "value": got["value"]}
    assert user.patch(f"/secrets/{made['id']}", json=body).json()["keyName"] == "OTHER"
    assert sealed_of(database, made["id"]) == before


@pytest.mark.parametrize(
    ("mask", "body", "field"),
    [
        ("value", {}, "value"),
        ("*", {"keyName": "K"}, "value"),
        ("keyName", {"value": "v"}, "keyName"),
        ("createTime", {}, "createTime"),
        ("nothing", {}, "updateMask"),
        ("", {"createdBy": "me"}, "createdBy"),
        ("", {"keyName": ""}, "keyName"),
    ],
)
def test_update_of_what_breaks_a_rule_names_the_field(
    user: httpx.Client, make: Callable[..., dict[str, Any]], mask: str, body: dict[str, Any], field: str
) -> None:
    made = make()
    answer = user.patch(f"/secrets/{made['id']}", params={"updateMask": mask}, json=body)
    assert list(violations(answer)) == [field]


def test_secret_of_another_user_is_the_admins_to_change(
    admin: httpx.Client, user: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    admins, users = make(admin), make(user)
    for method, body in (("PATCH", {"keyName": "X"}), ("DELETE", None)):
        refused = user.request(method, f"/secrets/{admins['id']}", json=body)
        assert (refused.status_code, user.get(f"/secrets/{admins['id']}").status_code) == (403, 200)
        assert admin.request(method, f"/secrets/{users['id']}", json=body).status_code == 200
    assert user.delete(f"/secrets/{make(user)['id']}").json() == {}


@pytest.mark.parametrize("call", ["get", "patch", "delete"])
def test_secret_that_is_not_there_and_anothers_are_the_same(
    user: httpx.Client, stranger: httpx.Client, make: Callable[..., dict[str, Any]], call: str
) -> None:
    made = make()
    body = {"json": {"keyName": "X"}} if call == "patch" else {}
    strange = getattr(stranger, call)(f"/secrets/{made['id']}", **body)
    absent = getattr(user, call)(f"/secrets/{made['id'][:-1]}", **body)
    assert strange.status_code == absent.status_code == 404
    assert strange.json()["message"] == f"there is no secret {made['name']}"
    assert absent.json()["message"] == f"there is no secret {made['name'][:-1]}"
    for impossible in ("%00", "UPPER", "a" * 64, "%ED%A0%80"):
        assert getattr(user, call)(f"/secrets/{impossible}", **body).status_code == 404


def test_delete_removes_it(user: httpx.Client, make: Callable[..., dict[str, Any]]) -> None:
    made = make()
    assert user.delete(f"/secrets/{made['id']}").json() == {}
    assert user.get(f"/secrets/{made['id']}").status_code == 404


def test_job_answers_the_names_of_its_secrets(
    admin: httpx.Client, create: Callable[..., str], make: Callable[..., dict[str, Any]]
) -> None:
    made = make()
    job_id = create(secretEnvVars={"TOKEN": made["id"]}, imagePullSecret=made["id"])
    read = admin.get(f"/batchJobs/{job_id}").json()
    assert read["secretEnvVars"] == {"TOKEN": made["id"]}
    assert read["imagePullSecret"] == made["id"]
    assert admin.get("/batchJobs/" + create()).json()["secretEnvVars"] == {}
    frozen = admin.patch(f"/batchJobs/{job_id}", json={"secretEnvVars": {}, "imagePullSecret": "x"})
    assert set(violations(frozen)) == {"secretEnvVars", "imagePullSecret"}


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"secretEnvVars": {"A": "nosuch", "B": "neither"}}, ['secretEnvVars["A"]', 'secretEnvVars["B"]']),
        ({"imagePullSecret": "nosuch"}, ["imagePullSecret"]),
        ({"secretEnvVars": {"1A": "x"}}, ['secretEnvVars["1A"]']),
        ({"secretEnvVars": {"A-B": "x"}}, ['secretEnvVars["A-B"]']),
        ({"secretEnvVars": {"É": "x"}}, ['secretEnvVars["É"]']),
        ({"secretEnvVars": {"A\n": "x"}}, ['secretEnvVars["A\\n"]']),
        ({"secretEnvVars": {"": "x"}}, ['secretEnvVars[""]']),
        ({"secretEnvVars": {"N" * 256: "x"}}, None),
        ({"secretEnvVars": {"RANK": "x"}}, ['secretEnvVars["RANK"]']),
        ({"secretEnvVars": {"LONGSHORE_X": "x"}}, ['secretEnvVars["LONGSHORE_X"]']),
        ({"secretEnvVars": {"OPTIND": "x"}}, ['secretEnvVars["OPTIND"]']),
        ({"secretEnvVars": {"BASH_ENV": "x"}}, ['secretEnvVars["BASH_ENV"]']),
        ({"secretEnvVars": {"A": ""}}, ['secretEnvVars["A"]']),
        ({"secretEnvVars": {"A": 5}}, ['secretEnvVars["A"]']),
        ({"secretEnvVars": {"A": "x\0"}}, ['secretEnvVars["A"]']),
        ({"secretEnvVars": {"A": "x"}, "envVars": {"A": "y"}}, ['secretEnvVars["A"]']),
        (
            {"secretEnvVars": {"A": "nosuch"}, "nodePoolId": "nosuch"},
            ["nodePoolId", 'secretEnvVars["A"]'],
        ),
    ],
)
def test_job_that_names_a_secret_wrongly_is_refused_by_field(
    admin: httpx.Client, fields: dict[str, Any], faults: list[str] | None
) -> None:
    answer = admin.post("/batchJobs", json={"nodePoolId": "default", "imageRef": "i:1", **fields})
    found = violations(answer)
    assert len(found) == 1 if faults is None else list(found) == faults


def test_job_cannot_name_another_accounts_secret(
    served: Served, stranger: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    made = make()
    answer = httpx.post(
        f"{served.url}/v1/accounts/globex/batchJobs",
        headers={"Authorization": f"Bearer {served.stranger_key}"},
        json={"nodePoolId": "default", "imageRef": "i:1", "secretEnvVars": {"A": made["id"]}},
    )
    assert list(violations(answer)) == ['secretEnvVars["A"]']


def test_job_whose_secrets_are_too_large_together_is_refused(
    admin: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    large = make(value="x" * 65_536)["id"]
    body = {"nodePoolId": "default", "imageRef": "i:1", "secretEnvVars": {f"A{i}": large for i in range(8)}}
    answer = admin.post("/batchJobs", json=body)
    assert "524,288 bytes together" in violations(answer)["secretEnvVars"]
    body["secretEnvVars"] = {f"A{i}": large for i in range(7)}
    assert admin.post("/batchJobs", params={"validateOnly": "true"}, json=body).status_code == 200


def test_clone_keeps_the_names_of_secrets(
    admin: httpx.Client, create: Callable[..., str], make: Callable[..., dict[str, Any]]
) -> None:
    made = make()
    job_id = create(secretEnvVars={"TOKEN": made["id"]}, imagePullSecret=made["id"])
    cloned = admin.post(f"/batchJobs/{job_id}:clone").json()
    assert (cloned["secretEnvVars"], cloned["imagePullSecret"]) == ({"TOKEN": made["id"]}, made["id"])


@pytest.fixture
def keyless(settings: Settings, served: Served, tmp_path: Path) -> Iterator[httpx.Client]:
    """The plain user at an API that has no keys."""
    with serving(settings.model_copy(update={"secret_keys_file": tmp_path / "none"})) as url:
        headers = {"Authorization": f"Bearer {served.user_key}"}
        with httpx.Client(base_url=f"{url}/v1/accounts/acme", headers=headers) as client:
            yield client


def test_create_without_keys_is_a_failed_precondition_and_all_else_works(
    keyless: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    made = make()
    refused = keyless.post("/secrets", json={"keyName": "K", "value": VALUE})
    assert (refused.status_code, refused.json()["code"]) == (400, 9)
    assert "secrets cannot be kept" in refused.json()["message"]
    assert VALUE not in refused.text
    assert keyless.patch(f"/secrets/{made['id']}", json={"value": "v"}).json()["code"] == 9
    assert keyless.patch(f"/secrets/{made['id']}", json={"keyName": "N"}).json()["keyName"] == "N"
    assert keyless.get("/secrets").status_code == 200
    assert keyless.delete(f"/secrets/{made['id']}").json() == {}


def sealed_of(database: Database, secret_id: str) -> bytes:
    with database.transaction() as connection:
        found = connection.exec_driver_sql(f"SELECT sealed FROM secrets WHERE secret_id = '{secret_id}'")
        return bytes(found.scalar_one())
