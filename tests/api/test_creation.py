"""Making jobs: ids of the client's choice, the same request twice, dry runs, clones, quotas."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from core.database import Database
from core.jobs import job_moves
from core.jobs.idempotency import forget_old_keys
from core.models import Account, IdempotencyKey, Job
from core.states import JobState
from deploy.embedded.places import free_port
from tests.api.conftest import ACCOUNT, IMAGE, Served
from tests.lab.platform import wait_until
from tests.lab.proxy import ReplyProxy

Create = Callable[..., str]
BODY: dict[str, Any] = {"nodePoolId": "default", "imageRef": IMAGE, "numRanks": 2}


def _post(
    client: httpx.Client, body: dict[str, Any] | None = None, key: str = "", **params: str
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/batchJobs", json=BODY if body is None else body, headers=headers, params=params)


def test_create_with_an_id_has_it_once(admin: httpx.Client, stranger: httpx.Client, served: Served) -> None:
    made = _post(admin, batchJobId="train-7")
    assert made.json()["name"] == f"accounts/{ACCOUNT}/batchJobs/train-7"
    assert admin.get("/batchJobs/train-7").json() == made.json()
    again = _post(admin, batch_job_id="train-7")
    assert again.status_code == 409 and again.json()["code"] == 6 and "train-7" in again.json()["message"]
    # Another account's ids are its own business.
    assert _post(stranger, batchJobId="train-7").status_code == 404
    theirs = stranger.post(
        f"{served.url}/v1/accounts/globex/batchJobs", json=BODY, params={"batchJobId": "train-7"}
    )
    assert theirs.status_code == 200


@pytest.mark.parametrize("job_id", ["A", "1a", "a_b", "a-", "a" * 64, "ä", "a/b", "a:b", "-a", "a b"])
def test_create_with_an_impossible_id_is_refused(
    admin: httpx.Client, count_jobs: Callable[[], int], job_id: str
) -> None:
    before = count_jobs()
    answer = _post(admin, batchJobId=job_id)
    assert answer.status_code == 400
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == "batchJobId"
    assert count_jobs() == before


def test_create_again_with_the_same_key_gives_the_same_job(
    admin: httpx.Client, count_jobs: Callable[[], int]
) -> None:
    before = count_jobs()
    first = _post(admin, key="once")
    assert first.status_code == 200
    assert _post(admin, key="once").json()["name"] == first.json()["name"]
    # The order of fields means nothing in JSON.
    turned = dict(reversed(BODY.items()))
    assert _post(admin, turned, key="once").json()["name"] == first.json()["name"]
    assert count_jobs() == before + 1


@pytest.mark.parametrize("change", [{"numRanks": 3}, {"displayName": "x"}, {"shared": True}])
def test_create_again_with_the_same_key_and_another_body_is_refused(
    admin: httpx.Client, count_jobs: Callable[[], int], change: dict[str, Any]
) -> None:
    key = f"other-{next(iter(change))}"
    assert _post(admin, key=key).status_code == 200
    before = count_jobs()
    answer = _post(admin, {**BODY, **change}, key=key)
    assert answer.status_code == 409 and "Idempotency-Key" in answer.json()["message"]
    assert _post(admin, key=key, batchJobId="another-id").status_code == 409
    assert count_jobs() == before


@pytest.mark.parametrize("key", ["a b", "x" * 256, "ü".encode().decode("latin-1")])
def test_create_with_a_malformed_key_is_refused(admin: httpx.Client, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = admin.post("/batchJobs", json=BODY, headers=headers)
    assert answer.status_code == 400 and "Idempotency-Key" in answer.json()["message"]


def test_create_with_the_key_of_a_deleted_job_makes_no_other(admin: httpx.Client) -> None:
    name = _post(admin, key="gone").json()["name"]
    admin.delete(f"/batchJobs/{name.rpartition('/')[2]}").raise_for_status()
    answer = _post(admin, key="gone")
    assert answer.status_code == 400 and answer.json()["code"] == 9


def test_key_of_another_account_is_another_key(
    admin: httpx.Client, stranger: httpx.Client, served: Served
) -> None:
    ours = _post(admin, key="shared-by-chance").json()["name"]
    url = f"{served.url}/v1/accounts/globex/batchJobs"
    theirs = stranger.post(url, json=BODY, headers={"Idempotency-Key": "shared-by-chance"})
    assert theirs.status_code == 200 and theirs.json()["name"] != ours


def test_key_that_is_old_is_forgotten(admin: httpx.Client, database: Database) -> None:
    first = _post(admin, key="old").json()["name"]
    assert forget_old_keys(database, 3600) == 0
    assert forget_old_keys(database, 0) > 0
    with database.transaction() as connection:
        assert connection.execute(select(func.count()).select_from(IdempotencyKey)).scalar_one() == 0
    assert _post(admin, key="old").json()["name"] != first


def test_a_hundred_creates_at_a_time_with_one_key_make_one_job(
    served: Served, count_jobs: Callable[[], int]
) -> None:
    before = count_jobs()
    url = f"{served.url}/v1/accounts/{ACCOUNT}/batchJobs"
    headers = {"Authorization": f"Bearer {served.admin_key}", "Idempotency-Key": "hundred"}

    def post(_: int) -> tuple[int, str]:
        answer = httpx.post(url, json=BODY, headers=headers, timeout=60)
        return answer.status_code, answer.json().get("name", answer.text)

    with ThreadPoolExecutor(32) as threads:
        answers = set(threads.map(post, range(100)))
    assert len(answers) == 1 and answers.pop()[0] == 200
    assert count_jobs() == before + 1


def test_create_whose_reply_is_lost_with_the_process_is_found_by_the_retry(
    served: Served, admin: httpx.Client, database_url: str, broker_url: str, count_jobs: Callable[[], int],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The commit's answer is withheld from the process, which is killed while the row is there for all to see."""
    head, _, rest = database_url.rpartition(":")
    proxy = ReplyProxy(int(rest.partition("/")[0]))
    port = free_port()
    environment = {
        **os.environ,
        "LONGSHORE_DATABASE_URL": f"{head}:{proxy.port}/{rest.partition('/')[2]}",
        "LONGSHORE_BROKER_URL": broker_url,
        "LONGSHORE_API_PORT": str(port),
    }
    with (tmp_path / "api.log").open("wb") as log:
        api = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    before = count_jobs()
    headers = {"Authorization": f"Bearer {served.admin_key}", "Idempotency-Key": "killed"}
    try:
        wait_until(ready, 30, "the API answers")
        proxy.withhold_after([b"INSERT INTO ranks", b"COMMIT"])
        with ThreadPoolExecutor(1) as threads:
            lost = threads.submit(
                httpx.post, f"{url}/v1/accounts/{ACCOUNT}/batchJobs", json=BODY, headers=headers, timeout=30
            )
            wait_until(lambda: count_jobs() == before + 1, 20, "the job is stored")
            assert not lost.done()
            api.kill()
            with pytest.raises(httpx.TransportError):
                lost.result(30)
    finally:
        api.kill()
        api.wait(10)
        proxy.close()
    assert proxy.withheld.is_set()
    retried = _post(admin, key="killed")
    assert retried.status_code == 200 and retried.json()["state"] == "QUEUED"
    assert count_jobs() == before + 1


def test_dry_run_answers_what_would_be_made_and_makes_nothing(
    admin: httpx.Client, count_jobs: Callable[[], int]
) -> None:
    before = count_jobs()
    body = {"nodePoolId": "imaged", "displayName": "x", "envVars": {"A": "1"}}
    job = _post(admin, body, key="dry", validateOnly="true").json()
    assert (job["name"], job["state"], job["createTime"]) == ("", "STATE_UNSPECIFIED", None)
    assert job["imageRef"] == IMAGE and job["displayName"] == "x" and job["createdBy"] == "admin@acme.example"
    # The pool has no node: said, not hidden.
    assert "never: needs 1 slot, the pool has 0" in job["status"]
    assert (job["reason"], job["queuePosition"], job["estimatedStartTime"]) == ("NO_NODE", 0, None)
    named = _post(admin, body, validateOnly="true", batchJobId="dry-run").json()
    assert named["name"] == f"accounts/{ACCOUNT}/batchJobs/dry-run"
    assert count_jobs() == before
    assert admin.get("/batchJobs/dry-run").status_code == 404
    assert _post(admin, key="dry").status_code == 200


def test_dry_run_refuses_what_a_creation_would(admin: httpx.Client, create: Create) -> None:
    assert _post(admin, {"nodePoolId": "nowhere"}, validateOnly="true").status_code == 400
    assert _post(admin, {**BODY, "numRanks": 0}, validateOnly="true").status_code == 400
    taken = _post(admin, validateOnly="true", batchJobId=create())
    assert taken.status_code == 409


def test_clone_is_the_same_job_anew(admin: httpx.Client, user: httpx.Client, create: Create) -> None:
    fields: dict[str, Any] = {
        "displayName": "first",
        "numRanks": 2,
        "envVars": {"A": "1"},
        "pythonExecutor": {"targetType": "MODULE", "target": "a.b", "args": ["x"]},
        "annotations": {"team": "t"},
        "stopGracePeriod": "5s",
        "shared": True,
    }
    source = create(**fields)
    answer = user.post(f"/batchJobs/{source}:clone")
    assert answer.status_code == 200, answer.text
    clone = answer.json()
    assert {name: clone[name] for name in fields} == fields
    assert not clone["name"].endswith(source)
    assert clone["createdBy"] == "user@acme.example" and clone["state"] == "QUEUED"


def test_clone_with_a_body_takes_its_fields(admin: httpx.Client, create: Create) -> None:
    source = create(displayName="first", shellExecutor={"command": "true"}, envVars={"A": "1"})
    body = {
        "display_name": "second",
        "python_executor": {"target_type": "FILENAME", "target": "a.py"},
        "env_vars": {"B": "2"},
        "numRanks": None,
    }
    clone = admin.post(f"/batchJobs/{source}:clone", json=body, params={"batchJobId": "second"}).json()
    assert clone["name"].endswith("/second") and clone["displayName"] == "second"
    assert clone["pythonExecutor"]["target"] == "a.py" and "shellExecutor" not in clone
    assert clone["envVars"] == {"B": "2"} and clone["numRanks"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [({"numRanks": 0}, "numRanks"), ({"numRank": 1}, "numRank"), ({"nodePoolId": "nowhere"}, "nodePoolId")],
)
def test_clone_with_a_bad_field_is_refused(
    admin: httpx.Client, create: Create, body: dict[str, Any], field: str
) -> None:
    answer = admin.post(f"/batchJobs/{create()}:clone", json=body)
    assert answer.status_code == 400
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == field


def test_clone_of_another_users_job_needs_it_to_be_shared(user: httpx.Client, create: Create) -> None:
    assert user.post(f"/batchJobs/{create()}:clone").status_code == 403
    assert user.post("/batchJobs/nothing:clone").status_code == 404


def test_clone_twice_with_one_key_is_one_clone(admin: httpx.Client, create: Create) -> None:
    source = create()
    headers = {"Idempotency-Key": "clone"}
    first = admin.post(f"/batchJobs/{source}:clone", headers=headers).json()
    assert admin.post(f"/batchJobs/{source}:clone", headers=headers).json()["name"] == first["name"]
    assert admin.post(f"/batchJobs/{create()}:clone", headers=headers).status_code == 409


@pytest.fixture
def quota(database: Database) -> Any:
    def set_quota(jobs: int | None, ranks: int | None) -> None:
        with database.transaction() as connection:
            connection.execute(
                update(Account).where(Account.id == ACCOUNT).values(max_live_jobs=jobs, max_live_ranks=ranks)
            )

    yield set_quota
    set_quota(None, None)


def _live(database: Database) -> tuple[int, int]:
    live = ~Job.state.in_(["COMPLETED", "FAILED", "CANCELLED"])
    with database.transaction() as connection:
        row = connection.execute(
            select(func.count(), func.coalesce(func.sum(Job.num_ranks), 0)).where(Job.account_id == ACCOUNT, live)
        ).one()
        return row[0], row[1]


def test_create_past_a_quota_is_refused_until_a_job_ends(
    admin: httpx.Client, database: Database, create: Create, quota: Callable[..., None]
) -> None:
    held = create(numRanks=3)
    jobs, ranks = _live(database)
    quota(jobs, None)
    refused = _post(admin)
    assert refused.status_code == 429 and refused.json()["code"] == 8 and int(refused.headers["Retry-After"]) >= 1
    assert f"{jobs} jobs" in refused.json()["message"]
    assert _post(admin, validateOnly="true").status_code == 429
    quota(None, ranks + 1)
    assert "ranks" in _post(admin).json()["message"]
    assert _post(admin, {**BODY, "numRanks": 1}).status_code == 200
    with database.transaction() as connection:
        key = connection.execute(select(Job.id).where(Job.batch_job_id == held)).scalar_one()
        job_moves.move_job(connection, key, 1, JobState.FAILED, status="it failed")
    assert _post(admin).status_code == 200


def test_create_that_was_made_before_is_answered_in_a_flood_past_the_quota(
    admin: httpx.Client, database: Database, quota: Callable[..., None]
) -> None:
    def create() -> httpx.Response:
        return admin.post("/batchJobs", json=BODY, headers={"Idempotency-Key": "before-the-flood"})

    made = create().json()["name"]
    quota(_live(database)[0], None)
    assert {_post(admin).status_code for _ in range(70)} == {429}
    assert create().json()["name"] == made
    quota(None, None)
    wait_until(lambda: _post(admin).status_code == 200, 5, "there is room again")


def test_creates_at_a_time_near_a_quota_never_pass_it(
    admin: httpx.Client, database: Database, quota: Callable[..., None]
) -> None:
    jobs, _ = _live(database)
    quota(jobs + 5, None)
    with ThreadPoolExecutor(16) as threads:
        statuses = sorted(answer.status_code for answer in threads.map(lambda _: _post(admin), range(24)))
    assert statuses == [200] * 5 + [429] * 19
    assert _live(database)[0] == jobs + 5
