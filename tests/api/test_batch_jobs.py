"""Create, get, list, cancel and delete as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis

from core.database import Database
from core.jobs import job_moves
from core.queue import CONTROL_QUEUE
from core.states import JobState
from tests.api.conftest import ACCOUNT, IMAGE
from tests.lab.broker_lists import lists_of
from tests.lab.platform import wait_until

Create = Callable[..., str]
UNSET = {"displayName": "", "envVars": {}, "annotations": {}, "shared": False, "role": "", "numRanks": 1}


def test_create_with_every_field_answers_and_stores_them(admin: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "displayName": "träining",
        "nodePoolId": "default",
        "numRanks": 3,
        "envVars": {"A": "1", "EMPTY": "", "PATH": "ü"},
        "pythonExecutor": {"targetType": "MODULE", "target": "train.main", "args": ["--lr", "", "ß"]},
        "imageRef": IMAGE,
        "annotations": {"team": "a", "example.com/x": "{}"},
        "shared": True,
        "stopGracePeriod": "1.500s",
    }
    answer = admin.post("/batchJobs", json=fields)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
    job = answer.json()
    assert {name: job[name] for name in fields} == fields
    assert job["name"].startswith(f"accounts/{ACCOUNT}/batchJobs/")
    assert (job["state"], job["status"], job["createdBy"]) == ("QUEUED", "queued", "admin@acme.example")
    assert job["startTime"] is None and job["endTime"] is None
    assert job["createTime"].endswith("Z") and job["updateTime"] == job["createTime"]
    assert (job["environmentId"], job["snapshotId"], job["role"]) == ("", "", "")
    assert (job["attempt"], job["reason"], job["imageDigest"]) == (1, "", "")
    assert "shellExecutor" not in job and "notebookExecutor" not in job
    assert admin.get(f"/batchJobs/{job['name'].rpartition('/')[2]}").json() == job


def test_create_with_only_the_required_field_answers_zero_values_and_the_pools_image(admin: httpx.Client) -> None:
    job = admin.post("/batchJobs", json={"nodePoolId": "imaged"}).json()
    assert {name: job[name] for name in UNSET} == UNSET
    assert job["imageRef"] == IMAGE and job["stopGracePeriod"] is None
    assert not [name for name in job if name.endswith("Executor")]


def test_create_in_snake_case_and_with_enum_numbers_is_the_same(admin: httpx.Client) -> None:
    body = {
        "node_pool_id": "default",
        "image_ref": IMAGE,
        "num_ranks": 2.0,
        "python_executor": {"target_type": 2, "target": "a.py"},
        "env_vars": {"keepMyCase": "x"},
        "display_name": None,
    }
    job = admin.post("/batchJobs", json=body).json()
    assert job["pythonExecutor"] == {"targetType": "FILENAME", "target": "a.py", "args": []}
    assert job["numRanks"] == 2 and job["envVars"] == {"keepMyCase": "x"} and job["displayName"] == ""


def test_create_with_output_only_fields_ignores_them(admin: httpx.Client) -> None:
    body = {
        "nodePoolId": "default",
        "imageRef": IMAGE,
        "name": "accounts/x/batchJobs/y",
        "state": "COMPLETED",
        "create_time": 5,
        "createdBy": "someone@else.example",
        "attempt": 7,
    }
    job = admin.post("/batchJobs", json=body).json()
    assert job["state"] == "QUEUED" and job["createdBy"] == "admin@acme.example" and job["attempt"] == 1
    assert job["name"] != body["name"]


def test_create_with_a_jobs_own_answer_makes_the_same_job(admin: httpx.Client, create: Create) -> None:
    first = admin.get(f"/batchJobs/{create(displayName='again', shellExecutor={'command': 'true'})}").json()
    second = admin.post("/batchJobs", json=first).json()
    assert second["name"] != first["name"]
    differing = {"name", "createTime", "updateTime"}
    assert {k: v for k, v in first.items() if k not in differing} == {
        k: v for k, v in second.items() if k not in differing
    }


def test_create_with_notebook_parameters_keeps_their_types(admin: httpx.Client) -> None:
    parameters = {"rate": 0.1, "steps": 3, "names": ["a", None, {"b": True}], "big": 2**70, "whole": 1.0}
    executor = {"notebookFilename": "/a.ipynb", "parameters": parameters}
    body = {"nodePoolId": "default", "imageRef": IMAGE, "notebookExecutor": executor}
    answer = admin.post("/batchJobs", json=body)
    assert answer.status_code == 200, answer.text
    job_id = answer.json()["name"].rpartition("/")[2]
    assert admin.get(f"/batchJobs/{job_id}").json()["notebookExecutor"]["parameters"] == parameters


def test_create_at_the_largest_sizes_is_accepted(admin: httpx.Client) -> None:
    fields = {
        "displayName": "ü" * 63,
        "envVars": {"A": "x" * 131_069},
        "shellExecutor": {"command": "y" * 131_071},
        "annotations": {"a": "z" * ((256 << 10) - 1)},
        "numRanks": 100,
    }
    assert admin.post("/batchJobs", json={"nodePoolId": "imaged", **fields}).status_code == 200


def test_create_rings_for_its_pool(broker_url: str, create: Create) -> None:
    path, _, number = broker_url.removeprefix("redis+socket://").partition("?virtual_host=")
    broker = redis.Redis(unix_socket_path=path, db=int(number))
    lists = lists_of(CONTROL_QUEUE)
    broker.delete(*lists)
    create()
    rung: list[bytes | str] = []

    def is_rung() -> bool:
        rung.extend(message for each in lists for message in broker.lrange(each, 0, -1))
        return bool(rung)

    wait_until(is_rung, 10, "something is rung")
    assert json.loads(rung[0])["headers"]["task"] == "longshore.schedule"


@pytest.mark.parametrize("job_id", ["nothing", "a%00b", "%F0%9F%92%A5", "x:unknownVerb"])
def test_get_of_an_unknown_job_answers_404(admin: httpx.Client, job_id: str) -> None:
    answer = admin.get(f"/batchJobs/{job_id}")
    assert answer.status_code == 404 and answer.json()["code"] == 5


def test_get_with_a_read_mask_answers_the_fields_it_names(admin: httpx.Client, create: Create) -> None:
    path = f"/batchJobs/{create()}"
    whole = admin.get(path).json()
    assert admin.get(path, params={"readMask": "*"}).json() == whole
    masked = admin.get(path, params={"read_mask": "name,node_pool_id,shellExecutor"}).json()
    assert masked == {"name": whole["name"], "nodePoolId": "default"}
    assert admin.get(path, params={"readMask": "nothing"}).status_code == 400


def test_list_by_pages_gives_every_job_once_newest_first(admin: httpx.Client, create: Create) -> None:
    made = [create() for _ in range(7)]
    total = admin.get("/batchJobs").json()["totalSize"]
    names: list[str] = []
    token, inserted = "", 0
    while True:
        params = {"pageSize": "3", "orderBy": "create_time desc", "pageToken": token}
        page = admin.get("/batchJobs", params=params).json()
        assert len(page["batchJobs"]) <= 3 and page["totalSize"] == total + inserted
        names += [job["name"].rpartition("/")[2] for job in page["batchJobs"]]
        token = page["nextPageToken"]
        if not token:
            break
        create()  # a newer job neither repeats nor hides one
        inserted += 1
    assert names[:7] == made[::-1]
    assert len(names) == len(set(names)) == total


@pytest.mark.parametrize(
    ("params", "status", "named"),
    [
        ({"pageSize": "-1"}, 400, "pageSize"),
        ({"pageSize": "x"}, 400, "pageSize"),
        ({"pageSize": "1.5"}, 400, "pageSize"),
        ({"pageSize": "99999999999"}, 400, "pageSize"),
        ({"pageSize": ["1", "2"]}, 400, "pageSize"),
        ({"pageToken": "x"}, 400, "pageToken"),
        ({"pageToken": "ü"}, 400, "pageToken"),
        ({"pageSizes": "1"}, 400, "pageSizes"),
        ({"filter": "state=RUNING"}, 400, "filter: column 7"),
        ({"orderBy": "nothing"}, 400, "orderBy"),
        ({"readMask": "nothing"}, 400, "readMask"),
        ({"filter": "state=RUNNING", "orderBy": "name", "readMask": "name"}, 200, ""),
        ({"pageSize": "0"}, 200, ""),
        ({"page_size": "5000"}, 200, ""),
        ({"orderBy": "createTime  desc", "readMask": "*", "filter": ""}, 200, ""),
    ],
)
def test_list_with_a_parameter_is_served_or_refused_naming_it(
    admin: httpx.Client, params: dict[str, Any], status: int, named: str
) -> None:
    answer = admin.get("/batchJobs", params=params)
    assert answer.status_code == status
    assert named in answer.json().get("message", "")


def test_list_with_a_token_of_another_query_is_refused(admin: httpx.Client, create: Create) -> None:
    create(), create()
    token = admin.get("/batchJobs", params={"pageSize": 1}).json()["nextPageToken"]
    assert admin.get("/batchJobs", params={"pageSize": 1, "pageToken": token}).status_code == 200
    assert admin.get("/batchJobs", params={"pageSize": 2, "pageToken": token}).status_code == 400
    bent = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert admin.get("/batchJobs", params={"pageSize": 1, "pageToken": bent}).status_code == 400


def test_cancel_of_a_queued_job_ends_it_and_again_is_no_error(admin: httpx.Client, create: Create) -> None:
    job_id = create(numRanks=2)
    bodies: list[dict[str, str] | None] = [{}, None, {}]
    for body in bodies:
        answer = admin.post(f"/batchJobs/{job_id}:cancel", json=body)
        assert (answer.status_code, answer.json()) == (200, {})
    job = admin.get(f"/batchJobs/{job_id}").json()
    assert job["state"] == "CANCELLED" and job["endTime"].endswith("Z")


def test_cancel_of_an_ended_job_is_a_failed_precondition(
    admin: httpx.Client, database: Database, create: Create
) -> None:
    job_id = create()
    with database.transaction() as connection:
        job_moves.move_job(connection, job_id, 1, JobState.FAILED, status="it failed")
    answer = admin.post(f"/batchJobs/{job_id}:cancel", json={})
    assert answer.status_code == 400 and answer.json()["code"] == 9


def test_cancel_with_a_field_is_refused(admin: httpx.Client, create: Create) -> None:
    job_id = create()
    assert admin.post(f"/batchJobs/{job_id}:cancel", json={"force": True}).status_code == 400
    assert admin.get(f"/batchJobs/{job_id}").json()["state"] == "QUEUED"


def test_delete_of_a_queued_job_removes_it(admin: httpx.Client, create: Create) -> None:
    job_id = create()
    answer = admin.delete(f"/batchJobs/{job_id}")
    assert (answer.status_code, answer.json()) == (200, {})
    assert admin.get(f"/batchJobs/{job_id}").status_code == 404
    assert admin.delete(f"/batchJobs/{job_id}").status_code == 404
