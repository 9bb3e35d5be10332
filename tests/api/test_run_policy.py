"""How a job is to run, over the wire: what was asked for is answered, stored, cloned, and found by filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api.batch_jobs.run_policy_in import FIELDS, read_run_policy, run_policy_violations
from api.wire.proto_json import Faults
from core.database import Database
from core.models import Job
from core.policies import Backoff, RankFailurePolicy, RetryAction, RetryPolicy, RetryRule
from core.spec import spec_from_json

ALL: dict[str, Any] = {
    "resources": {"cpu": "500m", "memory": "512Mi", "shmSize": 1 << 20},
    "timeouts": {"queue": "3600s", "pull": "90.5s", "run": "86400s"},
    "retryPolicy": {
        "maxAttempts": 4,
        "backoff": {"initial": "1.5s", "multiplier": 3, "maximum": "60s"},
        "rules": [
            {"action": "FAIL", "exitCodes": [2, "64-78"], "signals": ["KILL", "SIGSEGV", 15, 40]},
            {
                "action": 1,
                "outOfMemory": True,
                "nodeLost": True,
                "reasons": ["RUN_TIMEOUT"],
                "log_text": "quota ü",
            },
        ],
    },
    "rankFailurePolicy": "RESTART_ALL",
    "priority": -7,
    "workingDirectory": "/w ü/x",
    "ttlAfterFinished": "0s",
    "nodeLabels": {"disk": "ssd", "rack.example/row": "ü"},
}
ANSWERED: dict[str, Any] = {
    **ALL,
    "resources": {"cpu": "0.5", "memory": "512Mi", "shmSize": "1Mi"},
    "timeouts": {"queue": "3600s", "pull": "90.500s", "run": "86400s"},
    "retryPolicy": {
        "maxAttempts": 4,
        "backoff": {"initial": "1.500s", "multiplier": 3, "maximum": "60s"},
        "rules": [
            {
                "action": "FAIL",
                "exitCodes": ["2", "64-78"],
                "signals": ["SIGKILL", "SIGSEGV", "SIGTERM", "40"],
                "outOfMemory": False,
                "nodeLost": False,
                "reasons": [],
                "logText": "",
            },
            {
                "action": "RETRY",
                "exitCodes": [],
                "signals": [],
                "outOfMemory": True,
                "nodeLost": True,
                "reasons": ["RUN_TIMEOUT"],
                "logText": "quota ü",
            },
        ],
    },
}
PLAIN: dict[str, Any] = {
    "resources": None,
    "timeouts": None,
    "retryPolicy": None,
    "rankFailurePolicy": "FAIL_ALL",
    "priority": 0,
    "workingDirectory": "",
    "ttlAfterFinished": None,
    "nodeLabels": {},
}


def part(job: dict[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in PLAIN}


def stored(database: Database, job: dict[str, Any]) -> Any:
    with database.transaction() as connection:
        found = select(Job.spec).where(Job.batch_job_id == job["name"].rpartition("/")[2])
        return spec_from_json(connection.execute(found).scalar_one())


@pytest.fixture
def made(admin: httpx.Client) -> dict[str, Any]:
    answer = admin.post("/batchJobs", json={"nodePoolId": "imaged", **ALL})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_create_answers_and_stores_what_was_asked_for(
    admin: httpx.Client, database: Database, made: dict[str, Any]
) -> None:
    assert part(made) == ANSWERED
    assert part(admin.get(f"/batchJobs/{made['name'].rpartition('/')[2]}").json()) == ANSWERED
    spec = stored(database, made)
    assert spec.retry_policy == RetryPolicy(
        4,
        Backoff(1.5, 3, 60),
        (
            RetryRule(RetryAction.FAIL, ((2, 2), (64, 78)), (9, 11, 15, 40)),
            RetryRule(RetryAction.RETRY, (), (), True, True, ("RUN_TIMEOUT",), "quota ü"),
        ),
    )
    assert (spec.cpu_milli, spec.memory_bytes, spec.shm_bytes) == (500, 512 << 20, 1 << 20)
    assert (spec.queue_timeout_seconds, spec.pull_timeout_seconds, spec.run_timeout_seconds) == (
        3600,
        90.5,
        86_400,
    )
    assert spec.node_labels == {"disk": "ssd", "rack.example/row": "ü"}
    assert (spec.rank_failure_policy, spec.priority, spec.ttl_seconds) == (RankFailurePolicy.RESTART_ALL, -7, 0)


def test_clone_keeps_it_and_a_body_replaces_field_by_field(admin: httpx.Client, made: dict[str, Any]) -> None:
    path = f"/batchJobs/{made['name'].rpartition('/')[2]}:clone"
    assert part(admin.post(path, json={}).json()) == ANSWERED
    changes = {"timeouts": {"run": "1s"}, "rank_failure_policy": "IGNORE", "node_labels": {"disk": "hdd"}}
    changed = admin.post(path, json=changes).json()
    clocks = {"queue": None, "pull": None, "run": "1s"}
    expected = {"timeouts": clocks, "rankFailurePolicy": "IGNORE", "nodeLabels": {"disk": "hdd"}}
    assert part(changed) == {**ANSWERED, **expected}


@pytest.mark.parametrize(
    "given",
    [
        {},
        dict.fromkeys(PLAIN),
        {"resources": {}, "timeouts": {}, "rankFailurePolicy": 0, "priority": 0, "workingDirectory": ""},
        {"resources": {"cpu": "", "memory": "", "shmSize": ""}, "timeouts": {"run": None}},
    ],
    ids=["absent", "null", "zero", "empty"],
)
def test_create_with_zero_values_is_a_plain_job(admin: httpx.Client, given: dict[str, Any]) -> None:
    assert part(admin.post("/batchJobs", json={"nodePoolId": "imaged", **given}).json()) == PLAIN


def test_lists_are_filtered_by_it(admin: httpx.Client, create: Callable[..., str]) -> None:
    team = {"annotations": {"team": "policies"}}
    keen = create(**team, priority=9, timeouts={"run": "60s"}, rankFailurePolicy="IGNORE")
    wary = create(
        **team,
        resources={"cpu": 1},
        retryPolicy={"maxAttempts": 3},
        workingDirectory="/src",
        nodeLabels={"a": "1"},
    )
    for asked, found in {
        "priority > 5": {keen},
        "timeouts.run <= 60s": {keen},
        "timeouts:*": {keen},
        "rank_failure_policy = IGNORE": {keen},
        "rankFailurePolicy = FAIL_ALL": {wary},
        "resources:*": {wary},
        "retryPolicy:* AND retryPolicy.maxAttempts >= 3": {wary},
        'workingDirectory = "/src"': {wary},
        'node_labels.a = "1"': {wary},
        "nodeLabels:a": {wary},
    }.items():
        answer = admin.get("/batchJobs", params={"filter": f"annotations.team = policies AND ({asked})"})
        assert answer.status_code == 200, answer.text
        names = {job["name"].rpartition("/")[2] for job in answer.json()["batchJobs"]}
        assert names == found, asked


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"resources": {"cpu": 0.01, "memory": 6 << 20, "shmSize": 4096}}, []),
        ({"resources": {"cpu": 0.009}}, ["resources.cpu"]),
        ({"resources": {"cpu": 0.0125}}, ["resources.cpu"]),
        ({"retryPolicy": {"maxAttempts": 10, "rules": [{"action": "FAIL"}] * 20}}, []),
        (
            {"retryPolicy": {"rules": [{"action": "FAIL", "reasons": ["A"] * 51}]}},
            ["retryPolicy.rules[0].reasons"],
        ),
        ({"retryPolicy": {"rules": [{"action": "FAIL", "logText": "x" * 257}]}}, ["retryPolicy.rules[0].logText"]),
        ({"retryPolicy": {"backoff": {"initial": "86400s"}}}, []),
        ({"retryPolicy": {"backoff": {"initial": "86401s"}}}, ["retryPolicy.backoff.initial"]),
        ({"retryPolicy": {"backoff": {"multiplier": 1e300}}}, ["retryPolicy.backoff.multiplier"]),
        ({"retryPolicy": {"backoff": {"multiplier": "2"}}}, ["retryPolicy.backoff.multiplier"]),
        ({"retryPolicy": {"rules": [{"action": "FAIL", "signals": [0, 65, "64", "x" * 99]}]}}, [0, 1, 3]),
        ({"priority": 100, "ttlAfterFinished": "315360000s"}, []),
    ],
)
def test_rules_at_their_limits(given: dict[str, Any], fields: list[Any]) -> None:
    faults: Faults = []
    found = {name: FIELDS[name].read(value, name, faults) for name, value in given.items()}
    if not faults:
        faults += run_policy_violations(read_run_policy(found))
    named = [field if isinstance(field, str) else f"retryPolicy.rules[0].signals[{field}]" for field in fields]
    assert [fault.field for fault in faults] == named
