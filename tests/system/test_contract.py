"""Every call of the contract, from the wire, against a running platform, with what it is for actually happening.

The operations come from the served document: one that the tour does not call fails it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from deploy.secret_keys import ensure_keys
from tests.lab.api_client import ENDED
from tests.lab.images import BUSYBOX, NOTEBOOK, ensure_busybox
from tests.lab.platform import ENGINE, Platform, wait_until
from tests.lab.servers import Servers

Json = dict[str, Any]
#: Resources that the contract has and this version does not serve: 501, whatever is asked.
UNSERVED = ("/environments", "/snapshots")


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    folder = tmp_path_factory.mktemp("contract")
    ensure_keys(folder / "secret-keys")
    started = Platform(servers, folder, secret_keys_file=folder / "secret-keys", listing_seconds=1)
    yield started
    started.stop()


class Tour:
    """Calls by path below `/v1`, and which operations of the document they were."""

    def __init__(self, url: str) -> None:
        self.url = url
        document = httpx.get(f"{url}/openapi.json").json()
        self.operations = {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
            if path.startswith("/v1")
        }
        self._patterns = {
            operation: re.compile(re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(operation[1])))
            for operation in self.operations
        }
        self.called: set[tuple[str, str]] = set()

    def call(
        self, key: str, method: str, path: str, body: Any = None, *, status: int = 200, **params: Any
    ) -> Json:
        """The answer, which must have that status."""
        answer = httpx.request(
            method,
            f"{self.url}/v1{path}",
            json=body,
            params=params,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        self.note(method, f"/v1{path}")
        return answer.json() if answer.content else {}

    def note(self, method: str, path: str) -> None:
        """That the operation of this path was called."""
        fitting = [op for op, pattern in self._patterns.items() if op[0] == method and pattern.fullmatch(path)]
        assert fitting, f"{method} {path} is no operation of the document"
        self.called.add(max(fitting, key=lambda op: len(op[1])))


class Account:
    """One account's calls, by one of its keys."""

    def __init__(self, tour: Tour, account: str, key: str) -> None:
        self.tour, self.account, self.key = tour, account, key

    def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200, **params: Any) -> Json:
        return self.tour.call(self.key, method, f"/accounts/{self.account}{path}", body, status=status, **params)

    def ended(self, job_id: str) -> Json:
        """The job, once it has ended."""
        wait_until(lambda: self("GET", f"/batchJobs/{job_id}")["state"] in ENDED, 60, f"{job_id} has ended")
        return self("GET", f"/batchJobs/{job_id}")


def id_of(resource: Mapping[str, Any]) -> str:
    return str(resource["name"]).rpartition("/")[2]


def test_every_call_of_the_contract_does_what_it_is_for(platform: Platform) -> None:
    tour = Tour(platform.url)
    operator_client = platform.new_account("operator", "root@operator.test", is_operator=True)
    operator_key = operator_client.http.headers["authorization"].removeprefix("Bearer ")
    operator_client.close()
    admin = tour_accounts(tour, operator_key)
    tour_users_and_keys(tour, admin)
    tour_pools_and_nodes(admin, platform)
    tour_bindings(admin)
    tour_secrets(admin)
    tour_jobs(admin, platform)
    tour_unserved(admin)
    tour_leaving(tour, admin, operator_key)
    assert tour.operations - tour.called == set()


def tour_accounts(tour: Tour, operator_key: str) -> Account:
    body = {
        "accountId": "initech",
        "account": {"displayName": "Initech", "email": "bill@initech.test", "mayOwnNodes": True},
    }
    made = tour.call(operator_key, "POST", "/accounts", body)
    assert made["name"] == "accounts/initech" and made["adminApiKey"].startswith("lsk_")
    listed = tour.call(operator_key, "GET", "/accounts", filter='displayName = "Initech"')
    assert [each["name"] for each in listed["accounts"]] == ["accounts/initech"]
    assert "adminApiKey" not in json.dumps(listed) or not listed["accounts"][0]["adminApiKey"]
    changed = tour.call(operator_key, "PATCH", "/accounts/initech", {"maxLiveJobs": 50})
    assert changed["maxLiveJobs"] == 50
    admin = Account(tour, "initech", made["adminApiKey"])
    assert admin("GET", "")["displayName"] == "Initech"
    return admin


def tour_users_and_keys(tour: Tour, admin: Account) -> None:
    milton = admin("POST", "/users", {"email": "milton@initech.test", "displayName": "Milton", "role": "user"})
    user_id = id_of(milton)
    assert admin("GET", f"/users/{user_id}") == milton
    assert admin("PATCH", f"/users/{user_id}", {"displayName": "M. W."})["displayName"] == "M. W."
    assert len(admin("GET", "/users", orderBy="email desc")["users"]) == 2
    made = admin("POST", "/apiKeys", {"displayName": "stapler", "user": user_id})
    user = Account(tour, admin.account, made["key"])
    assert user("GET", "/batchJobs")["batchJobs"] == []
    key_id = made["keyId"]
    assert "key" not in admin("GET", f"/apiKeys/{key_id}") or not admin("GET", f"/apiKeys/{key_id}")["key"]
    assert key_id in {each["keyId"] for each in admin("GET", "/apiKeys")["apiKeys"]}
    admin("DELETE", f"/apiKeys/{key_id}")
    wait_until(lambda: _is_refused(user), 1.5, "the revoked key is refused")
    nested = admin("POST", f"/users/{user_id}/apiKeys", {"apiKey": {"displayName": "nested"}})
    assert len(admin("GET", f"/users/{user_id}/apiKeys")["apiKeys"]) == 1
    admin("POST", f"/users/{user_id}/apiKeys:delete", {"keyId": nested["keyId"]})
    admin("DELETE", f"/users/{user_id}")
    admin("GET", f"/users/{user_id}", status=404)


def _is_refused(user: Account) -> bool:
    url = f"{user.tour.url}/v1/accounts/{user.account}/batchJobs"
    return httpx.get(url, headers={"Authorization": f"Bearer {user.key}"}).status_code == 401


def tour_pools_and_nodes(admin: Account, platform: Platform) -> None:
    docker_pool = {"ranksPerNode": 4, "defaultImageRef": BUSYBOX, "defaultResources": {"cpu": "0.5"}}
    body = {"nodePoolId": "basement", "nodePool": {"displayName": "Basement", "dockerNodePool": docker_pool}}
    pool = admin("POST", "/nodePools", body)
    assert pool["name"] == "accounts/initech/nodePools/basement" and pool["state"] == "READY"
    assert admin("PATCH", "/nodePools/basement", {"displayName": "B"})["displayName"] == "B"
    assert admin("GET", "/nodePools/basement")["displayName"] == "B"
    # An engine may be in one pool only.
    assert platform.client.http.delete("/nodePools/default/nodes/local").status_code == 200
    node = {"endpoint": ENGINE, "workerGroup": platform.installation}
    made = admin("POST", "/nodePools/basement/nodes", {"nodeId": "one", "node": node})
    assert made["state"] == "DOWN"
    path = "/nodePools/basement/nodes/one"
    wait_until(lambda: admin("GET", path)["state"] == "READY", 20, "the supervisor has found the node")
    assert admin("GET", path)["slots"] == 4
    assert len(admin("GET", "/nodePools/basement/nodes")["nodes"]) == 1
    admin("POST", f"{path}:drain")
    assert admin("GET", path)["state"] == "DRAINING"
    admin("POST", f"{path}:undrain")
    assert admin("PATCH", path, {"slots": 3})["slots"] == 3
    assert admin("GET", "/nodePools/basement:getStats")["nodeCount"] == 1
    for name in ("attic", "cellar"):
        admin("POST", "/nodePools", {"nodePoolId": name, "nodePool": {"dockerNodePool": {}}})
    assert admin("GET", "/nodePools", filter="displayName = B")["totalSize"] == 1
    admin("POST", "/nodePools:batchDelete", {"names": ["accounts/initech/nodePools/attic"]})
    admin("DELETE", "/nodePools/cellar")
    admin("DELETE", path)
    admin("POST", "/nodePools/basement/nodes", {"nodeId": "two", "node": node})
    wait_until(
        lambda: admin("GET", "/nodePools/basement/nodes/two")["state"] == "READY", 20, "the node is found again"
    )


def tour_bindings(admin: Account) -> None:
    binding = {"principal": "peter@initech.test", "nodePoolId": "basement"}
    assert admin("POST", "/nodePoolBindings", binding)["nodePoolId"] == "basement"
    assert admin("GET", "/nodePoolBindings")["nodePoolBindings"][0]["principal"] == "peter@initech.test"
    admin("POST", "/nodePoolBindings:delete", binding)
    role = {"principal": "peter@initech.test", "role": "arn:aws:iam::1:role/reader"}
    assert admin("POST", "/awsIamRoleBindings", role)["role"] == role["role"]
    assert admin("GET", "/awsIamRoleBindings")["totalSize"] == 1
    admin("POST", "/awsIamRoleBindings:delete", role)
    assert admin("GET", "/awsIamRoleBindings")["totalSize"] == 0


def tour_secrets(admin: Account) -> None:
    made = admin("POST", "/secrets", {"keyName": "TPS_TOKEN", "value": "first"}, secretId="tps")
    assert made["value"] == "" and made["keyName"] == "TPS_TOKEN"
    assert admin("PATCH", "/secrets/tps", {"value": "second"})["value"] == ""
    assert admin("GET", "/secrets/tps")["name"] == "accounts/initech/secrets/tps"
    assert admin("GET", "/secrets")["totalSize"] == 1


def tour_jobs(admin: Account, platform: Platform) -> None:
    shell = {
        "command": "echo rank $RANK has $(printf %s $TPS | wc -c) bytes; sleep $NAP;"
        " echo cover sheet >$LONGSHORE_OUTPUT_DIR/cover.txt"
    }
    body = {
        "nodePoolId": "basement",
        "displayName": "tps",
        "numRanks": 2,
        "envVars": {"NAP": "0"},
        "secretEnvVars": {"TPS": "tps"},
        "shellExecutor": shell,
        "annotations": {"initech.test/cover": "yes"},
    }
    assert "would start now" in admin("POST", "/batchJobs", body, validateOnly="true")["status"]
    made = admin("POST", "/batchJobs", body, batchJobId="tps-report")
    assert made["imageRef"] == BUSYBOX and made["state"] == "QUEUED"
    assert _streamed(admin, "tps-report", "watch")[0] == "job"
    job = admin("GET", "/batchJobs/tps-report", readMask="state,status,start_time")
    assert job["state"] == "COMPLETED" and set(job) == {"state", "status", "startTime"}
    entries = admin("GET", "/batchJobs/tps-report:getLogs", startFromHead="true")["entries"]
    assert sorted(each["message"] for each in entries) == [f"rank {rank} has 6 bytes" for rank in (0, 1)]
    assert _streamed(admin, "tps-report", "streamLogs") == ["log", "end"]
    downloaded = _downloaded(admin, "tps-report:downloadLogs")
    assert sorted(downloaded.splitlines()) == [b"[%d] rank %d has 6 bytes" % (rank, rank) for rank in (0, 1)]
    (left,) = admin("GET", "/batchJobs/tps-report/ranks/1/outputs")["outputs"]
    assert (left["path"], left["sizeBytes"]) == ("cover.txt", "12")
    assert _downloaded(admin, "tps-report/ranks/1/outputs/cover.txt") == b"cover sheet\n"
    assert b"cover sheet\n" in _downloaded(admin, "tps-report/ranks/1:downloadOutputs")
    ranks = admin("GET", "/batchJobs/tps-report/ranks")["ranks"]
    assert [(each["state"], each["exitCode"], each["nodeId"]) for each in ranks] == [("SUCCEEDED", 0, "two")] * 2
    assert admin("GET", "/batchJobs/tps-report/ranks/1") == ranks[1]
    # What ran for a moment may have ended before it could be sampled.
    assert admin("GET", "/batchJobs/tps-report:getUsage")["totalSize"] == 2
    assert admin("GET", "/batchJobs/tps-report/ranks/1/usage")["usage"]["rank"] == 1
    events = admin("GET", "/batchJobs/tps-report/events")["events"]
    moves = [each["state"] for each in events if each["rank"] is None]
    assert moves == ["QUEUED", "PENDING", "RUNNING", "COMPLETED"]
    found = admin("GET", "/batchJobs", filter='annotations."initech.test/cover" = yes AND state = COMPLETED')
    assert [id_of(each) for each in found["batchJobs"]] == ["tps-report"]
    assert admin("PATCH", "/batchJobs/tps-report", {"shared": True})["shared"] is True
    changes = {"envVars": {"NAP": "60"}, "files": {"a.json": '{"a": 1}'}}
    clone = id_of(admin("POST", "/batchJobs/tps-report:clone", changes))
    assert admin("GET", f"/batchJobs/{clone}/files/a.json") == {"a": 1}
    wait_until(lambda: admin("GET", f"/batchJobs/{clone}")["state"] == "RUNNING", 30, "the clone runs")
    admin("POST", f"/batchJobs/{clone}:cancel", {})
    assert admin.ended(clone)["state"] == "CANCELLED"
    notebook = {"notebookFilename": "/samples/missing.ipynb"}
    failed = id_of(
        admin("POST", "/batchJobs", {"nodePoolId": "basement", "imageRef": NOTEBOOK, "notebookExecutor": notebook})
    )
    assert admin.ended(failed)["state"] == "FAILED"
    admin("GET", f"/batchJobs/{failed}/ranks/0/notebook", status=404)
    admin("DELETE", f"/batchJobs/{failed}")
    names = [f"accounts/initech/batchJobs/{job_id}" for job_id in (clone, "tps-report")]
    admin("POST", "/batchJobs:batchDelete", {"names": names})
    wait_until(lambda: admin("GET", "/batchJobs")["totalSize"] == 0, 30, "the jobs are gone")
    platform.wait_at_rest()


def _streamed(admin: Account, job_id: str, what: str) -> list[str]:
    """The names of a stream's events, up to its end."""
    path = f"/v1/accounts/{admin.account}/batchJobs/{job_id}:{what}"
    headers = {"Authorization": f"Bearer {admin.key}"}
    with httpx.stream("GET", admin.tour.url + path, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        names = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    assert names[-1] == "end"
    admin.tour.note("GET", path)
    return names


def _downloaded(admin: Account, what: str) -> bytes:
    path = f"/v1/accounts/{admin.account}/batchJobs/{what}"
    answer = httpx.get(admin.tour.url + path, headers={"Authorization": f"Bearer {admin.key}"}, timeout=60)
    assert answer.status_code == 200
    admin.tour.note("GET", path)
    return answer.content


def tour_unserved(admin: Account) -> None:
    for method, path in sorted(admin.tour.operations):
        below = path.removeprefix("/v1/accounts/{account_id}")
        if below.startswith(UNSERVED):
            answer = admin(method, re.sub(r"\{\w+\}", "x", below), {} if method != "GET" else None, status=501)
            assert answer["code"] == 12


def tour_leaving(tour: Tour, admin: Account, operator_key: str) -> None:
    tour.call(operator_key, "DELETE", "/accounts/initech", status=400)
    admin("DELETE", "/nodePools/basement/nodes/two")
    admin("DELETE", "/nodePools/basement")
    admin("DELETE", "/secrets/tps")
    tour.call(operator_key, "DELETE", "/accounts/initech")
    wait_until(lambda: _is_refused(admin), 1.5, "the account's keys are refused")
